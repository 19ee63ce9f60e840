"""Makes the leader of a cluster of its own go, again and again under load, and measures the hole.

Run by failover.sh, which explains it.
"""

# ruff: noqa: T201  (printing is what this program is for)
from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cutting import CutterError
from failover_load import Load, audit
from failover_report import FaultResult, Round, document, longest_wait_ms, table
from own_cluster import NAMES, OwnCluster, equal_digests, wait_for_leader, wait_until_whole
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from raftzmq.chaos.trouble import ChaosError
from raftzmq.errors import RaftzmqError
from raftzmq.observe.ask import Asker
from raftzmq.observe.survey import look
from raftzmq.wire.status import NodeStatus

FAULTS = ("kill", "term", "stop", "cut", "wake")
BEFORE_S = 1.0
"""What is looked at before each fault, to know whether there was traffic."""


@dataclass(frozen=True, slots=True)
class Fault:
    """How a leader goes and comes back.

    Attributes:
        strike: makes it go; returns at once.
        evidence: proof that it is gone, given the term of its successor; raises ChaosError when
            it is not.
        mend: brings it back.
        hold_s: how long it stays away at least.
    """

    strike: Callable[[OwnCluster, str], None]
    evidence: Callable[[OwnCluster, str, int], str]
    mend: Callable[[OwnCluster, str], None]
    hold_s: float


def _killed(cluster: OwnCluster, name: str, _: int) -> str:
    code = cluster.end(name)
    if code != -signal.SIGKILL:
        raise ChaosError(f"{name} ended with {code}, not by SIGKILL")
    return "died by SIGKILL"


def _ended_well(cluster: OwnCluster, name: str, _: int) -> str:
    code = cluster.end(name)
    if code:
        raise ChaosError(f"{name} ended with exit code {code} after SIGTERM")
    return "exit code 0"


def _stopped(cluster: OwnCluster, name: str, _: int) -> str:
    if not cluster.is_stopped(name):
        raise ChaosError(f"{name} is not stopped")
    return "state T"


def _cut(cluster: OwnCluster, name: str, term: int) -> str:
    """Asked past the cut, the old leader must still be in its old term."""
    with Asker({name: cluster.direct[name]}) as asker:
        seen = look(asker, timeout_ms=1_000).get(name)
    if seen is None:
        raise ChaosError(f"{name} does not answer past the cut")
    if seen.term >= term:
        raise ChaosError(f"{name} knows term {seen.term}: the cut lets something through")
    return f"{seen.role} in term {seen.term} of {term}, heard nobody"


def _stop_and_cut(cluster: OwnCluster, name: str) -> None:
    cluster.signal(name, signal.SIGSTOP)
    cluster.cut_off(name)


def _woken(cluster: OwnCluster, name: str, term: int) -> str:
    """Woken up behind the cut it must believe to lead, or nothing was put to the test."""
    _stopped(cluster, name, term)
    cluster.signal(name, signal.SIGCONT)
    woke = time.monotonic()
    believed = False
    with Asker({name: cluster.direct[name]}) as asker:
        while time.monotonic() < woke + 10:
            seen = look(asker, timeout_ms=200).get(name)
            if seen is not None and seen.term >= term:
                raise ChaosError(f"{name} knows term {seen.term}: the cut lets something through")
            if seen is not None and seen.role == "leader":
                believed = True
            elif seen is not None:
                break
        else:
            raise ChaosError(f"{name} has not stepped down within 10 s")
    if not believed:
        raise ChaosError(f"{name} was not seen to believe that it leads")
    return f"believed to lead for {(time.monotonic() - woke) * 1000:.0f} ms"


def _mend_both(cluster: OwnCluster, name: str) -> None:
    cluster.signal(name, signal.SIGCONT)
    cluster.heal()


ALL = {
    "kill": Fault(OwnCluster.kill, _killed, OwnCluster.start, 0.5),
    "term": Fault(
        lambda cluster, name: cluster.signal(name, signal.SIGTERM),
        _ended_well,
        OwnCluster.start,
        0.5,
    ),
    "stop": Fault(
        lambda cluster, name: cluster.signal(name, signal.SIGSTOP),
        _stopped,
        lambda cluster, name: cluster.signal(name, signal.SIGCONT),
        2.0,
    ),
    "cut": Fault(
        lambda cluster, name: cluster.cut_off(name),
        _cut,
        lambda cluster, name: cluster.heal(),
        2.0,
    ),
    "wake": Fault(_stop_and_cut, _woken, _mend_both, 1.0),
}


def run_round(
    number: int, fault: Fault, cluster: OwnCluster, load: Load, asker: Asker, rng: random.Random,
    least: int,
) -> Round:  # fmt: skip
    """One fault; the cluster is whole before and after."""
    time.sleep(BEFORE_S + rng.uniform(0.0, 0.3))
    old = wait_for_leader(asker)
    load.suspect = old.node
    struck = time.monotonic()
    fault.strike(cluster, old.node)
    others = [name for name in NAMES if name != old.node]
    complaints: list[str] = []
    new: NodeStatus | None = None
    evidence = "?"
    try:
        new = wait_for_leader(asker, others, beyond_term=old.term)
        _wait_for_ack(load, new.node, struck)
        time.sleep(max(0.0, struck + fault.hold_s - time.monotonic()))
        evidence = fault.evidence(cluster, old.node, new.term)
    except ChaosError as error:
        complaints.append(str(error))
    mending = time.monotonic()
    fault.mend(cluster, old.node)
    whole = wait_until_whole(asker)
    over = time.monotonic()
    load.suspect = None
    moments = sorted(at for at, _ in load.ledger.acks)
    before = sum(struck - BEFORE_S < at <= struck for at in moments)
    after = sum(struck < at <= over for at in moments)
    if min(before, after) < least:
        complaints.append(f"only {min(before, after)} writes before or after; needs {least}")
    return Round(
        number=number,
        old=old.node,
        new=new.node if new else "nobody",
        wait_ms=longest_wait_ms(moments, struck - 0.02, mending),
        mend_wait_ms=longest_wait_ms(moments, mending, over),
        usual_wait_ms=longest_wait_ms(moments, struck - BEFORE_S, struck - 0.02),
        elections=whole.term - old.term,
        before=before,
        after=after,
        evidence=evidence,
        complaints=tuple(complaints),
    )


def _wait_for_ack(load: Load, node: str, since: float) -> None:
    """Until a writer was answered by ``node`` after ``since``."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if any(at > since and by == node for at, by in load.ledger.acks[-200:]):
            return
        time.sleep(0.002)
    raise ChaosError(f"{node} leads, but no write was acknowledged by it within 30 s")


def run_fault(
    name: str, arguments: argparse.Namespace, folder: Path, say: Callable[[str], None],
    progress: Callable[[], None],
) -> FaultResult:  # fmt: skip
    """All rounds of one fault on a cluster of its own, and the audit."""
    rng = random.Random(f"{arguments.seed}/{name}")
    result = FaultResult(fault=name)
    cluster = OwnCluster(folder, cuttable=name in ("cut", "wake"))
    try:
        cluster.start()
        with Asker(cluster.direct) as asker:
            wait_until_whole(asker)
            load = Load(
                cluster.entrance,
                cluster.direct,
                clients=arguments.clients,
                think_s=arguments.think_ms / 1000,
                rng=rng,
            )
            load.prepare()
            load.start()
            try:
                for number in range(1, arguments.rounds + 1):
                    one = run_round(
                        number, ALL[name], cluster, load, asker, rng, arguments.acknowledged_min
                    )
                    result.rounds.append(one)
                    say(f"{name} {one.line()}")
                    progress()
            finally:
                if not load.stop():
                    result.complaints.append("a client got no answer within its deadline")
            _take_over(result, load)
            found = audit(cluster.entrance, load.ledger)
            result.acknowledged, result.unknown = found.acknowledged, found.unknown
            result.lost, result.twice, result.ghosts = found.lost, found.twice, found.ghosts
            result.replicas = equal_digests(asker)
    except (RaftzmqError, ChaosError, CutterError, subprocess.TimeoutExpired) as error:
        result.complaints.append(f"{type(error).__name__}: {error}")
    finally:
        cluster.close()
    if result.failures():
        say(cluster.tail())
    return result


def _take_over(result: FaultResult, load: Load) -> None:
    ledger = load.ledger
    result.reads, result.direct_reads = ledger.reads, ledger.direct_reads
    result.direct_writes = len(ledger.direct)
    # A Counter does not survive dataclasses.asdict.
    result.errors, result.refused = dict(ledger.errors), dict(ledger.refused)
    result.stale = ledger.stale
    if ledger.reads < 20 * len(result.rounds):
        result.complaints.append(f"only {ledger.reads} reads: too few to judge")
    if ledger.direct_reads < len(result.rounds):
        result.complaints.append(f"only {ledger.direct_reads} direct reads: too few to judge")


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Make leaders go under load, and measure.")
    parser.add_argument("--fault", choices=(*FAULTS, "all"), default="all")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--think-ms", type=float, default=40.0)
    parser.add_argument("--acknowledged-min", type=int, default=100)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--keep", action="store_true")
    arguments = parser.parse_args()
    if arguments.rounds < 1 or arguments.clients < 1 or arguments.think_ms < 0:
        parser.error("--rounds and --clients must be at least 1, --think-ms at least 0")
    if arguments.seed is None:
        arguments.seed = int.from_bytes(os.urandom(4), "big")
    return arguments


def main() -> int:
    """Run the command line; returns the exit code."""
    arguments = parse()
    # Whoever stops this script must not leave a cluster behind: finally clauses have to run.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.setswitchinterval(0.0005)  # 5 ms, the default, would be seen in the figures
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    faults = FAULTS if arguments.fault == "all" else (arguments.fault,)
    folder = Path(tempfile.mkdtemp(prefix="raftzmq-failover."))
    console.print(f"seed {arguments.seed}, {folder}")
    results: list[FaultResult] = []
    failed = True
    try:
        bar = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
            TimeRemainingColumn(), console=console, disable=not console.is_terminal,
        )  # fmt: skip
        with bar:
            for name in faults:
                task = bar.add_task(name, total=arguments.rounds)
                place = folder / name
                place.mkdir()
                results.append(
                    run_fault(
                        name, arguments, place,
                        lambda line: bar.console.print(line, markup=False),
                        partial(bar.advance, task),
                    )
                )  # fmt: skip
        failed = any(each.failures() for each in results)
    finally:
        if arguments.keep or failed:
            console.print(f"data and logs are kept in {folder}")
        else:
            shutil.rmtree(folder)
    if arguments.json:
        settings = {key: value for key, value in vars(arguments).items() if key != "json"}
        print(json.dumps(document(results, settings), indent=2))
    else:
        Console(highlight=False, width=max(120, console.width)).print(table(results))
    for each in results:
        for failure in each.failures():
            console.print(f"{each.fault}: {failure}", style="red", markup=False)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
