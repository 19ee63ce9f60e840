"""raftzmq bench: throughput, latency and cost."""

from __future__ import annotations

import json
import random
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from raftzmq import limits
from raftzmq.bench.compare import compare, show_comparison
from raftzmq.bench.idle import SETTLE_S, measure_idle, show_idle
from raftzmq.bench.isolation import IsolationRun
from raftzmq.bench.isolation_report import make_isolation_report, show_isolation
from raftzmq.bench.machine import machine
from raftzmq.bench.measure import OPEN_IN_FLIGHT, Load, measure
from raftzmq.bench.meter import local_pids
from raftzmq.bench.plot import page
from raftzmq.bench.report import Report
from raftzmq.bench.result import Result, Setup, UnreadableResult, as_dict, from_dict, load
from raftzmq.bench.run import Samples
from raftzmq.bench.show import show
from raftzmq.bench.workload import Mix, Workload
from raftzmq.cli import exit_codes
from raftzmq.cli.local_cluster import LocalCluster
from raftzmq.cli.read import LevelName
from raftzmq.observe.ask import Asker
from raftzmq.observe.survey import statuses_behind
from raftzmq.wire.client import Level
from raftzmq.wire.status import NodeStatus

STATUS_MS: Final = 2_000
ISOLATION_RATE: Final = 100.0
CLIENTS: Final = 64
_OF_ISOLATION: Final = {
    "subject", "seconds", "nodes", "connect_to", "folder", "rate", "check", "as_json",
}  # fmt: skip
_OF_IDLE: Final = {"subject", "seconds", "nodes", "connect_to", "folder", "as_json"}
_OF_COMPARISON: Final = {"compare_files", "plot", "as_json"}


class Subject(StrEnum):
    """What a run is about."""

    WRITES = "writes"
    READS = "reads"
    MIXED = "mixed"
    ISOLATION = "isolation"
    IDLE = "idle"


def bench(
    context: typer.Context,
    subject: Annotated[
        Subject,
        typer.Argument(
            help="writes, reads, mixed: what is asked of the database. isolation: how much slow "
            "statements slow the point reads of others. idle: what the processes use while nobody "
            "asks anything."
        ),
    ] = Subject.WRITES,
    clients: Annotated[
        int | None,
        typer.Option(
            "--clients",
            "-n",
            min=1,
            max=20_000,
            help=f"Requests in flight over one connection; {CLIENTS} by default. With --rate the "
            f"most there may be, {OPEN_IN_FLIGHT:,} by default.",
            show_default=False,
        ),
    ] = None,
    connections: Annotated[
        int,
        typer.Option(
            min=0,
            max=limits.CONNECTIONS_MAX,
            metavar="N",
            help="So many clients with a connection each and one request in flight each, instead "
            "of --clients.",
            show_default=False,
        ),
    ] = 0,
    rate: Annotated[
        float | None,
        typer.Option(
            min=1,
            max=1_000_000,
            help="Requests a second, sent when they are due whatever became of earlier ones, and "
            "timed from when they were due. Else the next one is sent when one is answered. "
            f"Of isolation: reads a second and level, {ISOLATION_RATE:.0f} by default.",
            show_default=False,
        ),
    ] = None,
    value_size: Annotated[
        int, typer.Option(min=0, max=limits.REQUEST_BYTES_MAX // 2, help="Bytes of a row's value.")
    ] = 100,
    seconds: Annotated[float, typer.Option(min=0.1, max=86_400, help="Measured time.")] = 5.0,
    warm_up: Annotated[
        float, typer.Option(min=0, max=3_600, metavar="SECONDS", help="Load before, not measured.")
    ] = 1.0,
    repeats: Annotated[
        int,
        typer.Option(
            min=1, max=100, help="How often; each on a new cluster, unless --connect names one."
        ),
    ] = 1,
    read_share: Annotated[
        float, typer.Option(min=0, max=1, help="Of mixed, the part that reads.")
    ] = 0.9,
    level: Annotated[LevelName, typer.Option(help="Of the reads.")] = LevelName.LINEARIZABLE,
    nodes: Annotated[
        int, typer.Option(min=1, max=7, help="Of the cluster started for the run.")
    ] = 3,
    connect_to: Annotated[
        str | None,
        typer.Option(
            "--connect",
            metavar="ADDRESS",
            help="Load this proxy or node, in a table named bench; else a cluster is started "
            "for the run.",
            show_default=False,
        ),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            exists=True,
            file_okay=False,
            writable=True,
            help="For the data of the cluster started for the run, removed afterwards; else the "
            "folder for temporary files. It decides what an fsync costs.",
            show_default=False,
        ),
    ] = None,
    check: Annotated[
        bool,
        typer.Option("--check", help="Of isolation: exit with 1 if p99 grows more than fivefold."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The figures as JSON.")] = False,
    save: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", dir_okay=False, help="Write the JSON there, too.", show_default=False
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            dir_okay=False,
            help="Write a page with pictures there (HTML).",
            show_default=False,
        ),
    ] = None,
    compare_files: Annotated[
        tuple[Path, Path] | None,
        typer.Option(
            "--compare",
            metavar="A B",
            help="Measure nothing: print the ratios of two results that --save wrote, and which "
            "of them are within noise.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Load a cluster with single-row inserts and reads by key, and say what it did and cost.

    Every request is one transaction, as durable or as fresh as any other. One process makes
    the load and needs a processor too, so on a small machine it is a part of the result.

    isolation times point reads at three levels alone for --seconds, then for as long again beside
    one client that runs 2-second SELECTs without pause and one that applies a 2-second UPDATE every
    10 seconds; 20 seconds are the least that says something. It counts elections, too.

    idle watches the processes for --seconds and sends nothing; 20 seconds are the least that says
    something.

    Exit codes: 1 requests failed or, with --check, the slow harmed the others; 2 wrong usage, or
    a file that --compare cannot read; 3, 4, 5 as for a write.

    Example: raftzmq bench writes --clients 256 --repeats 5 --save before.json

    Example: raftzmq bench --compare before.json after.json

    Example: raftzmq bench mixed --rate 5000 --connections 256 --plot run.html

    Example: raftzmq bench isolation --seconds 60 --check

    Example: raftzmq bench idle --seconds 60

    Example: raftzmq bench reads --connect tcp://127.0.0.1:7100 --json
    """
    if compare_files is not None:
        _only(context, _OF_COMPARISON, "has no use with --compare, which measures nothing")
        _compare(compare_files, plot, as_json=as_json)
        return
    if connect_to is not None and (_given(context, "nodes") or folder is not None):
        raise typer.BadParameter("--nodes and --folder are of a cluster of its own, not --connect")
    if subject is Subject.ISOLATION:
        _only(context, _OF_ISOLATION, "has no use for isolation")
        _isolation(
            connect_to, nodes, folder, rate or ISOLATION_RATE, seconds, check=check, as_json=as_json
        )
        return
    if subject is Subject.IDLE:
        _only(context, _OF_IDLE, "has no use for idle")
        _idle(connect_to, nodes, folder, seconds, as_json=as_json)
        return
    if check:
        raise typer.BadParameter("--check is of isolation")
    if connections and clients is not None:
        raise typer.BadParameter(
            "--clients are requests over one connection, --connections as many clients: choose one"
        )
    for path in (save, plot):
        if path is not None and not path.resolve().parent.is_dir():
            raise typer.BadParameter(f"there is no folder {path.resolve().parent} for {path.name}")
    setup = Setup(
        subject=subject.value,
        loop="open" if rate else "closed",
        in_flight=connections or clients or (OPEN_IN_FLIGHT if rate else CLIENTS),
        connections=connections,
        rate=rate or 0.0,
        value_size=value_size,
        read_share={Subject.WRITES: 0.0, Subject.READS: 1.0}.get(subject, read_share),
        level=level.value,
        warm_up_s=warm_up,
        seconds=seconds,
        repeats=repeats,
        nodes=nodes,
        target=connect_to or "",
    )
    started = datetime.now(UTC).isoformat(timespec="seconds")
    where = machine(None if connect_to else folder or Path(tempfile.gettempdir()))
    reports = _reports(setup, folder)
    stored = as_dict(started, where, setup, reports)
    if save is not None:
        save.write_text(json.dumps(stored) + "\n", encoding="utf-8")
    result = from_dict(stored)
    if plot is not None:
        plot.write_text(page([result], [subject.value]), encoding="utf-8")
    if as_json:
        typer.echo(json.dumps(stored))
    else:
        Console(highlight=False).print(show(result))
    if any(report.errors for report in reports):
        raise typer.Exit(exit_codes.FAILED)


def _given(context: typer.Context, name: str) -> bool:
    # By name, since typer brings a click of its own or takes the one that is installed.
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _only(context: typer.Context, allowed: set[str], why: str) -> None:
    """Refuse options that would be ignored: whoever gave them expects something of them."""
    for parameter in context.command.params:
        name = parameter.name or ""
        if name not in allowed and _given(context, name):
            raise typer.BadParameter(why, param_hint=f"'{parameter.opts[0]}'")


def _compare(paths: tuple[Path, Path], plot: Path | None, *, as_json: bool) -> None:
    results: list[Result] = []
    for path in paths:
        try:
            results.append(load(path))
        except UnreadableResult as error:
            raise typer.BadParameter(str(error), param_hint="'--compare'") from None
    comparison = compare(results[0], results[1])
    names = (str(paths[0]), str(paths[1]))
    if plot is not None:
        plot.write_text(page(results, [f"A {names[0]}", f"B {names[1]}"]), encoding="utf-8")
    if as_json:
        typer.echo(json.dumps(comparison.as_dict(), indent=2))
    else:
        Console(highlight=False).print(show_comparison(comparison, names))


def _isolation(
    connect_to: str | None,
    nodes: int,
    folder: Path | None,
    rate: float,
    seconds: float,
    *,
    check: bool,
    as_json: bool,
) -> None:
    with _target(connect_to, nodes, folder) as (address, _, _):
        run = IsolationRun(
            address, rate=rate, seconds=seconds, say=lambda line: typer.echo(line, err=True)
        )
        report = make_isolation_report(run.run(), rate=rate, seconds=seconds)
    if as_json:
        typer.echo(json.dumps(report.as_dict(), indent=2))
    else:
        Console(highlight=False).print(show_isolation(report))
    if report.errors or (check and report.broken):
        raise typer.Exit(exit_codes.FAILED)


def _idle(
    connect_to: str | None, nodes: int, folder: Path | None, seconds: float, *, as_json: bool
) -> None:
    with _target(connect_to, nodes, folder) as (_, known, statuses):
        pids = known or local_pids(statuses())
        if not pids:
            raise typer.BadParameter("no node behind --connect runs on this machine")
        report = measure_idle(pids, settle_s=SETTLE_S, seconds=seconds)
    if as_json:
        typer.echo(json.dumps(report.as_dict(), indent=2))
    else:
        Console(highlight=False).print(show_idle(report))


_Statuses = Callable[[], dict[str, NodeStatus]]


@contextmanager
def _target(
    connect_to: str | None, nodes: int, folder: Path | None
) -> Iterator[tuple[str, dict[str, int], _Statuses]]:
    """Address to load, the pids known beforehand, and what asks the nodes."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    if connect_to is not None:
        with Asker({"door": connect_to}) as asker:
            yield connect_to, {}, lambda: statuses_behind(asker, timeout_ms=STATUS_MS)
        return
    place = Path(tempfile.mkdtemp(prefix="raftzmq-bench-", dir=folder))
    try:
        with LocalCluster(place, nodes=nodes, proxies=1) as cluster:
            pids = {child.name: child.pid for child in cluster.children}
            yield cluster.doors[0], pids, lambda: cluster.look(STATUS_MS)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _reports(setup: Setup, folder: Path | None) -> list[Report]:
    reports = []
    with _bar() as bar:
        task = bar.add_task("preparing", total=setup.seconds * setup.repeats)
        for number in range(setup.repeats):
            bar.update(task, completed=number * setup.seconds, description="preparing")
            place = None if setup.target else folder or Path(tempfile.gettempdir())
            with _target(setup.target or None, setup.nodes, place) as (address, pids, statuses):
                reports.append(
                    measure(
                        _workload(setup),
                        Load(
                            in_flight=setup.in_flight,
                            connections=setup.connections,
                            rate=setup.rate,
                            warm_up_s=setup.warm_up_s,
                            seconds=setup.seconds,
                        ),
                        address,
                        pids=pids,
                        statuses=statuses,
                        folder=place,
                        progress=_shown(bar, task, setup, number),
                    )
                )
    return reports


def _workload(setup: Setup) -> Workload:
    return Workload(
        Mix(setup.subject),
        value_size=setup.value_size,
        read_share=setup.read_share,
        level=Level[LevelName(setup.level).name],
        rng=random.Random(1),
    )


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
        transient=True,
    )


def _shown(bar: Progress, task: Any, setup: Setup, number: int) -> Callable[[Samples], None]:
    """What a run calls as it goes on."""

    def progress(samples: Samples) -> None:
        done_s = number * setup.seconds + min(samples.seconds, setup.seconds)
        bar.update(task, completed=done_s, description=f"{samples.done:,} requests")

    return progress
