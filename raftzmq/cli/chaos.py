"""raftzmq chaos: a cluster, a workload, faults from a seed, and a verdict."""

from __future__ import annotations

import os
import shlex
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from raftzmq.chaos.kinds import KINDS, Need, expand, possible
from raftzmq.chaos.record import Run
from raftzmq.chaos.shim import compiler
from raftzmq.chaos.trouble import ChaosError
from raftzmq.cli import exit_codes
from raftzmq.errors import ConfigError, RequestError, StartError

if TYPE_CHECKING:
    from raftzmq.chaos.cluster import ChaosCluster

_KEEP_S = 1.0
_WORDS = {True: "ok", False: "VIOLATED", None: "UNDECIDED"}


def chaos(
    minutes: Annotated[
        float, typer.Option(min=0.05, max=10_000, help="How long faults go on.")
    ] = 5.0,
    faults: Annotated[
        str,
        typer.Option(
            metavar="KIND,...",
            help="Kinds of faults, or beginnings of their names: partition,clock. --list shows "
            "them.",
        ),
    ] = "all",
    seed: Annotated[
        int | None,
        typer.Option(min=0, max=2**32 - 1, help="Of faults and requests; random by default."),
    ] = None,
    nodes: Annotated[int, typer.Option(min=1, max=7, help="Of the cluster.")] = 3,
    clients: Annotated[int, typer.Option(min=1, max=64, help="Per workload; there are four.")] = 4,
    think_ms: Annotated[
        float, typer.Option(min=0, max=1_000, help="Pause of a client between two requests.")
    ] = 25.0,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Takes report, histories and logs.", show_default=False),
    ] = None,
    loopback: Annotated[
        bool,
        typer.Option("--loopback", help="No namespaces, no rights needed, fewer kinds of faults."),
    ] = False,
    hold: Annotated[
        bool,
        typer.Option("--hold", help="Only start the cluster and keep it, for scripts/chaos/*.sh."),
    ] = False,
    list_: Annotated[bool, typer.Option("--list", help="Show the kinds of faults.")] = False,
) -> None:
    """Break a cluster of its own in every way for a while, under load, and judge what it did.

    Starts nodes and two proxies in network namespaces of their own, lets clients work (registers
    with compare-and-set, lists, counters, bank transfers), injects faults at random from a seed,
    heals, and judges: linearizable, nothing lost, nothing doubled, replicas equal. Needs root and
    /dev/net/tun; --loopback needs neither. No other cluster is touched.

    Exit codes: 0 all properties hold; 1 one is violated or could not be decided, a fault did not
    fire, or there was too little traffic; 2 wrong usage; 9 no verdict, as it could not begin or
    could not be carried to its end; 130 interrupted.

    Example: sudo raftzmq chaos --minutes 30

    Example: raftzmq chaos --loopback --minutes 1 --faults kill,pause --seed 7
    """
    if list_:
        for kind in KINDS.values():
            needs = f" (needs {', '.join(sorted(kind.needs))})" if kind.needs else ""
            typer.echo(f"{kind.name:<18} {kind.says}{needs}")
        return
    # Imported here: the other commands would pay for it at each start.
    from raftzmq.chaos.cluster import (
        DISK_MB,
        ChaosCluster,
        Wish,
        disk_mb,
        empty_folder,
    )
    from raftzmq.chaos.run import Order, run
    from raftzmq.chaos.schedule import plan

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    if seed is None:
        seed = int.from_bytes(os.urandom(4), "big")
    folder = (out or Path(f"raftzmq-chaos-{datetime.now(UTC):%Y%m%d-%H%M%S}")).absolute()
    room_mb = DISK_MB if hold else disk_mb(minutes, clients, think_ms)
    wish = Wish(nodes=nodes, loopback=loopback, seed=seed, disk_mb=room_mb)
    try:
        kinds = _kinds(faults, loopback=loopback)
        if not hold:
            plan(seed, minutes * 60, kinds)
    except ConfigError as error:
        raise typer.BadParameter(str(error)) from error
    with _without_verdict(folder):
        empty_folder(folder)
        if hold:
            _hold(ChaosCluster(folder, wish))
            return
    command = shlex.join(
        ["raftzmq", "chaos", "--minutes", f"{minutes:g}", "--seed", str(seed), "--faults", faults]
        + ["--nodes", str(nodes), "--clients", str(clients), "--think-ms", f"{think_ms:g}"]
        + (["--loopback"] if loopback else [])
    )
    typer.echo(f"seed {seed}; everything is kept in {folder}")
    order = Order(command, seed, minutes * 60, kinds, wish, folder, clients, think_ms)
    with _without_verdict(folder):
        result = run(order, typer.echo)
    _show(result, folder)
    if not result.passed:
        raise typer.Exit(exit_codes.FAILED)


@contextmanager
def _without_verdict(folder: Path) -> Iterator[None]:
    """A run that could not begin leaves nothing behind, and is not taken for one that FAILED."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("interrupted: no verdict", err=True)
        raise
    except (StartError, RequestError, OSError) as error:
        with suppress(OSError):
            folder.rmdir()
        if isinstance(error, ChaosError):
            raise
        raise ChaosError(f"no verdict: {error}") from error


def _kinds(faults: str, *, loopback: bool) -> tuple[str, ...]:
    words = [word.strip() for word in faults.split(",") if word.strip()]
    wanted = expand(words)
    have = frozenset(Need)
    if loopback:
        have = frozenset({Need.SHIM} if compiler() else ())
    can, cannot = possible(wanted, have)
    if cannot and "all" not in words:
        raise ConfigError(
            "; ".join(f"{kind} {why}" for kind, why in cannot.items()) + ": leave out --loopback"
        )
    if cannot:
        typer.echo(f"left out, since this is --loopback: {', '.join(cannot)}", err=True)
    return can


def _show(result: Run, folder: Path) -> None:
    typer.echo("")
    for verdict in result.verdicts:
        typer.echo(f"{_WORDS[verdict.holds]:<9} {verdict.name}: {verdict.detail}")
    typer.echo("")
    typer.echo(f"{'PASSED' if result.passed else 'FAILED'}; report: {folder / 'report.html'}")
    if not result.passed:
        typer.echo(f"again: {result.command}")


def _hold(starting: ChaosCluster) -> None:
    with starting as cluster:
        cluster.stand.wait_until_whole()
        file = cluster.stand.config.source
        typer.echo(f"a cluster for faults runs; nodes.toml: {file}")
        if cluster.network is not None:
            inside = shlex.join(cluster.network.inside("out"))
            typer.echo(f"commands have to run in its network: {inside} raftzmq status -c {file}")
        typer.echo(f"break it: scripts/chaos/kill-leader.sh --config {file}")
        typer.echo("whoever dies is started again after a second; Ctrl-C ends all")
        try:
            while True:
                time.sleep(_KEEP_S)
                for name in cluster.processes.start_ended():
                    typer.echo(f"{name} had ended and is started again")
        except KeyboardInterrupt:
            typer.echo("stopping")
