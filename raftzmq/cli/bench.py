"""raftzmq bench: throughput, latency and cost."""

from __future__ import annotations

import json
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from raftzmq import limits
from raftzmq.bench.isolation import IsolationRun
from raftzmq.bench.isolation_report import make_isolation_report, show_isolation
from raftzmq.bench.meter import local_pids, read_meters
from raftzmq.bench.report import Report, make_report, show_report
from raftzmq.bench.run import Run, Samples
from raftzmq.bench.workload import Mix, Workload
from raftzmq.cli import exit_codes
from raftzmq.cli.local_cluster import LocalCluster
from raftzmq.cli.read import LevelName
from raftzmq.client.connection import open_pipeline
from raftzmq.observe.ask import Asker
from raftzmq.observe.survey import statuses_behind
from raftzmq.wire.client import Level

WARM_UP_S = 1.0
STATUS_MS = 2_000


class Subject(StrEnum):
    """What a run is about."""

    WRITES = "writes"
    READS = "reads"
    MIXED = "mixed"
    ISOLATION = "isolation"


def bench(
    subject: Annotated[
        Subject,
        typer.Argument(
            help="writes, reads, mixed: what is asked of the database. isolation: how much slow "
            "statements slow the point reads of others."
        ),
    ] = Subject.WRITES,
    clients: Annotated[
        int, typer.Option("--clients", "-n", min=1, max=20_000, help="Requests in flight.")
    ] = 64,
    value_size: Annotated[
        int, typer.Option(min=0, max=limits.REQUEST_BYTES_MAX // 2, help="Bytes of a row's value.")
    ] = 100,
    seconds: Annotated[float, typer.Option(min=0.1, max=86_400, help="Measured time.")] = 5.0,
    read_share: Annotated[
        float, typer.Option(min=0, max=1, help="Of mixed, the part that reads.")
    ] = 0.9,
    level: Annotated[LevelName, typer.Option(help="Of the reads.")] = LevelName.LINEARIZABLE,
    nodes: Annotated[
        int, typer.Option(min=1, max=7, help="Of the cluster started for the run.")
    ] = 3,
    connect: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Load this proxy or node, in a table named bench; else a cluster is started "
            "for the run.",
            show_default=False,
        ),
    ] = None,
    rate: Annotated[
        float,
        typer.Option(min=1, max=10_000, help="Of isolation: reads per second and level."),
    ] = 100.0,
    check: Annotated[
        bool,
        typer.Option("--check", help="Of isolation: exit with 1 if p99 grows more than fivefold."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The figures as JSON.")] = False,
) -> None:
    """Load a cluster with single-row inserts and reads by key, and say what it did and cost.

    Every request is one transaction, as durable or as fresh as any other. One process makes
    the load and needs a processor too, so on a small machine it is a part of the result.

    isolation times point reads at three levels alone for --seconds, then for as long again beside
    one client that runs 2-second SELECTs without pause and one that applies a 2-second UPDATE every
    10 seconds; 20 seconds are the least that says something. It counts elections, too.

    Exit codes: 1 requests failed or, with --check, the slow harmed the others; 3, 4, 5 as for
    a write.

    Example: raftzmq bench writes --clients 256 --seconds 10

    Example: raftzmq bench isolation --seconds 60 --check

    Example: raftzmq bench reads --connect tcp://127.0.0.1:7100 --json
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    if subject is Subject.ISOLATION:
        _isolation(connect, nodes, rate, seconds, check=check, as_json=as_json)
        return
    workload = Workload(
        Mix(subject.value),
        value_size=value_size,
        read_share=read_share,
        level=Level[level.name],
        rng=random.Random(1),
    )
    with _target(connect, nodes) as (address, pids):
        report = _measure(workload, address, pids, clients, value_size, seconds)
    if as_json:
        typer.echo(json.dumps(report.as_dict(), indent=2))
    else:
        Console(highlight=False).print(show_report(report))
    if report.errors:
        raise typer.Exit(exit_codes.FAILED)


def _isolation(
    connect: str | None, nodes: int, rate: float, seconds: float, *, check: bool, as_json: bool
) -> None:
    with _target(connect, nodes) as (address, _):
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


@contextmanager
def _target(connect: str | None, nodes: int) -> Iterator[tuple[str, dict[str, int]]]:
    """Address to load, and the pids known beforehand."""
    if connect is not None:
        yield connect, {}
        return
    folder = Path(tempfile.mkdtemp(prefix="raftzmq-bench-"))
    try:
        with LocalCluster(folder, nodes=nodes, proxies=1) as cluster:
            yield cluster.doors[0], {child.name: child.pid for child in cluster.children}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _measure(
    workload: Workload,
    address: str,
    pids: dict[str, int],
    clients: int,
    value_size: int,
    seconds: float,
) -> Report:
    with (
        open_pipeline(address) as pipeline,
        Asker({"door": address}) as asker,
        Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not sys.stderr.isatty(),
            transient=True,
        ) as bar,
    ):
        task = bar.add_task("preparing", total=seconds)
        workload.prepare(pipeline)
        run = Run(pipeline, workload, clients=clients)
        run.warm_up(min(WARM_UP_S, seconds))
        statuses = statuses_behind(asker, timeout_ms=STATUS_MS)
        pids = pids or local_pids(statuses)
        before = read_meters(pids, statuses)

        began = time.monotonic()

        def progress(samples: Samples) -> None:
            done_s = time.monotonic() - began
            bar.update(task, completed=done_s, description=f"{samples.done:,} requests")

        samples = run.measure(seconds, progress)
        after = read_meters(pids, statuses_behind(asker, timeout_ms=STATUS_MS))
        run.drain()
    return make_report(samples, before, after, clients=clients, value_size=value_size)
