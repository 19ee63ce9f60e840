"""Measures writes on a cluster of its own whose disks and links are slow.

Run by slow.sh, which explains it.
"""

# ruff: noqa: T201  (printing is what this program is for)
from __future__ import annotations

import argparse
import itertools
import json
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from raftzmq.chaos.cluster import ChaosCluster, Wish
from raftzmq.chaos.links import Rule
from raftzmq.errors import RaftzmqError

CASES = ("quiet", "disk", "network", "both")
DISK_MB = 512
WARM_UP_S = 2
WHOLE_S = 30.0
DATABASES = ("/raft.db-wal", "/raft.db", "/state.db-wal", "/state.db")
GOAL = 5_000


class Wrong(Exception):
    """Something that must hold does not."""


@dataclass(slots=True)
class Measured:
    """One case in one round; milliseconds."""

    case: str
    writes_per_s: float
    p50_ms: float
    p99_ms: float
    fsyncs_per_write: float


def main() -> int:
    """Run the command line; returns the exit code."""
    arguments = parse()
    # Whoever stops this script must not leave a cluster behind: finally clauses have to run.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    folder = Path(tempfile.mkdtemp(prefix="raftzmq-slow."))
    measured: list[Measured] = []
    failed = True
    try:
        wish = Wish(proxies=1, disk_mb=DISK_MB)
        with ChaosCluster(folder / "cluster", wish) as cluster:
            cluster.stand.wait_until_whole(WHOLE_S)
            for _, case in itertools.product(range(arguments.rounds), arguments.case or CASES):
                found = measure(cluster, case, arguments)
                console.print(
                    f"{case}: {found.writes_per_s:,.0f} writes/s, p50 {found.p50_ms:.1f} ms"
                )
                measured.append(found)
        failed = False
    except (Wrong, RaftzmqError) as error:
        console.print(f"{type(error).__name__}: {error}", style="red", markup=False)
    finally:
        if arguments.keep or failed:
            console.print(f"logs are kept in {folder}")
        else:
            shutil.rmtree(folder)
    if arguments.json:
        print(json.dumps([asdict(each) for each in measured], indent=2))
    else:
        Console(highlight=False, width=max(100, console.width)).print(table_of(measured, arguments))
    return 1 if failed else 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="slow.sh", add_help=False)
    parser.add_argument("--case", choices=CASES, action="append")
    parser.add_argument("--fsync-ms", type=int, default=20)
    parser.add_argument("--rtt-ms", type=int, default=50)
    parser.add_argument("--clients", type=int, default=256)
    parser.add_argument("--seconds", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--keep", action="store_true")
    arguments = parser.parse_args()
    for name in ("fsync_ms", "rtt_ms", "clients", "seconds", "rounds"):
        if getattr(arguments, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1")
    return arguments


def measure(cluster: ChaosCluster, case: str, arguments: argparse.Namespace) -> Measured:
    """Raises:
    Wrong: the load failed, an election came of it, or what should be slow was not.
    """
    stand = cluster.stand
    with slow(cluster, case, arguments):
        before = stand.leader().term
        command = [
            sys.executable, "-m", "raftzmq.cli.main", "bench", "writes",
            "--clients", str(arguments.clients), "--seconds", str(arguments.seconds),
            "--warm-up", str(WARM_UP_S), "--json",
            "--connect", next(iter(stand.config.proxies.values())).address,
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Wrong(f"{case}: raftzmq bench ended with {done.returncode}: {done.stderr}")
        after = stand.leader().term
    if after != before:
        raise Wrong(f"{case}: {after - before} elections")
    metrics: dict[str, Any] = json.loads(done.stdout)["metrics"]

    def median(name: str) -> float:
        return float(metrics[name]["median"]) if name in metrics else float("nan")

    return Measured(
        case,
        median("writes per second"),
        median("writes p50 ms"),
        median("writes p99 ms"),
        median("fsyncs per write, leader"),
    )


@contextmanager
def slow(cluster: ChaosCluster, case: str, arguments: argparse.Namespace) -> Iterator[None]:
    """Make it slow inside, and see that it was.

    Raises:
        Wrong: not one fsync, or not one packet, was slow.
    """
    stand = cluster.stand
    nodes = list(stand.config.nodes)
    disk, network = case in ("disk", "both"), case in ("network", "both")
    fired = {name: stand.shim(name).fired("slow") for name in nodes}
    if disk:
        for name in nodes:
            stand.shim(name).add("slow", DATABASES, arguments.fsync_ms)
    if network:
        links = itertools.permutations(nodes, 2)
        stand.switch().set("slow", links, Rule(delay_ms=arguments.rtt_ms / 2))
    try:
        yield
    finally:
        touched = stand.switch().clear("slow") if network else {}
        for name in nodes:
            stand.shim(name).remove("slow")
    if disk and any(stand.shim(name).fired("slow") == fired[name] for name in nodes):
        raise Wrong(f"{case}: there is a node of which no fsync was slow")
    if network and not touched["slow"].delayed:
        raise Wrong(f"{case}: no packet was late")


def table_of(measured: list[Measured], arguments: argparse.Namespace) -> Table:
    """Median of the rounds, with the least and the most."""
    table = Table()
    for title in ("case", "writes/s", "p50 ms", "p99 ms", "no more than", "goal"):
        table.add_column(title)
    for case in dict.fromkeys(each.case for each in measured):
        mine = [each for each in measured if each.case == case]
        rates = [each.writes_per_s for each in mine]
        median = statistics.median(rates)
        waits_ms = {
            "network": arguments.rtt_ms,
            "disk": arguments.fsync_ms,
            "both": arguments.rtt_ms + arguments.fsync_ms,
        }.get(case)
        bound = f"{arguments.clients * 1000 / waits_ms:,.0f}" if waits_ms else ""
        goal = "" if case == "quiet" else "met" if median >= GOAL else f"{GOAL:,}: missed"
        table.add_row(
            case,
            f"{median:,.0f} ({min(rates):,.0f} to {max(rates):,.0f})",
            f"{statistics.median(each.p50_ms for each in mine):.1f}",
            f"{statistics.median(each.p99_ms for each in mine):.1f}",
            bound,
            goal,
        )
    return table


if __name__ == "__main__":
    sys.exit(main())
