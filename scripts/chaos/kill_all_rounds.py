"""Kills every process of a cluster at once, under load, round after round, and counts rows.

Run by kill-all.sh. Each round: start the cluster, write unique rows through the proxy, kill all of
its processes with one `kill -9`, start it again while the writers still wait for their answers,
then compare. The table has no key: a row that was applied twice is there twice.
"""

# ruff: noqa: T201  (printing is what this program is for)
from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from processes import wait_until_gone

import raftzmq
from raftzmq.chaos.trouble import ChaosError
from raftzmq.config import ClusterConfig, NodeConfig, ProxyConfig, load, to_toml
from raftzmq.errors import Outcome, RaftzmqError, RequestError
from raftzmq.observe.ask import Asker
from raftzmq.observe.survey import digests
from raftzmq.transport.free_ports import free_ports

START_S = 60.0
"""From the start of the processes to the first answer, and to equal replicas."""
AFTERMATH_S = 0.5
"""How long the writers go on after the cluster serves again."""
_COLUMNS = (
    "round", "pids", "killed at", "acked before", "in flight", "acked later", "unknown",
    "serving after", "rows", "lost", "twice", "never sent", "replicas", "result",
)  # fmt: skip


@dataclass(slots=True)
class Tally:
    """What one writer sent in one round and what became of it."""

    sent: list[str] = field(default_factory=list)
    acknowledged: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    rejected: list[str] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class Verdict:
    """One line of the table."""

    number: int
    pids: int
    killed_after_ms: int
    acknowledged_before: int
    in_flight: int
    acknowledged_later: int
    unknown: int
    serving_after_ms: int
    rows: int
    lost: int
    twice: int
    never_sent: int
    replicas: str
    complaints: list[str]

    def cells(self) -> list[str]:
        """The line as text, in the order of the columns."""
        return [
            str(self.number), str(self.pids), f"{self.killed_after_ms} ms",
            str(self.acknowledged_before), str(self.in_flight), str(self.acknowledged_later),
            str(self.unknown), f"{self.serving_after_ms} ms", str(self.rows), str(self.lost),
            str(self.twice), str(self.never_sent), self.replicas,
            "FAILED" if self.complaints else "ok",
        ]  # fmt: skip


class Cluster:
    """The processes of `raftzmq start` with a nodes.toml in a temporary folder."""

    def __init__(self, folder: Path) -> None:
        ports = free_ports(7)
        self.config = ClusterConfig(
            cluster="chaos",
            nodes={
                f"n{n}": NodeConfig(
                    name=f"n{n}",
                    peer=f"tcp://127.0.0.1:{ports[n]}",
                    client=f"tcp://127.0.0.1:{ports[3 + n]}",
                    data=folder / f"n{n}",
                )
                for n in (1, 2, 3)
            },
            proxies={"proxy": ProxyConfig(name="proxy", address=f"tcp://127.0.0.1:{ports[0]}")},
        )
        self.entrance = f"tcp://127.0.0.1:{ports[0]}"
        self.file = folder / "nodes.toml"
        self.file.write_text(to_toml(self.config), encoding="utf-8")
        load(self.file)
        self.log = folder / "cluster.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start all of it, in a process group of its own."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "raftzmq.cli.main", "start", "--config", str(self.file)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def pids(self) -> list[int]:
        """The process that was started and all its descendants."""
        if self._process is None:
            return []
        return [self._process.pid, *descendants(self._process.pid)]

    def kill(self) -> int:
        """`kill -9` for all at once; returns how many there were."""
        pids = self.pids()
        if pids:
            # Children die with their parent, so some may be gone before their turn: no error.
            subprocess.run(
                ["/bin/kill", "-9", *map(str, pids)], stderr=subprocess.DEVNULL, check=False
            )
        if self._process is not None:
            self._process.wait()
            self._process = None
        for pid in pids:
            wait_until_gone(pid)
        return len(pids)

    def stop(self) -> int:
        """SIGTERM to the process that was started; returns its exit code."""
        if self._process is None:
            return 0
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(timeout=30)
        finally:
            self.kill()

    def tail(self) -> str:
        """The end of what the processes said."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-40:])


def descendants(root: int) -> list[int]:
    """Processes below ``root`` now, from /proc."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, IndexError, ValueError):
                continue
            children.setdefault(parent, []).append(int(entry.name))
    found: list[int] = []
    queue = [root]
    while queue:
        below = children.get(queue.pop(), [])
        found += below
        queue += below
    return found


def write_rows(
    entrance: str, number: int, writer: int, tally: Tally, over: threading.Event
) -> None:
    """One writer: a row at a time until ``over``; never sends the same row in two calls."""
    with raftzmq.connect(entrance, timeout_ms=int(START_S * 1000)) as database:
        serial = 0
        while not over.is_set():
            serial += 1
            value = f"{number}/{writer}/{serial}"
            tally.sent.append(value)
            try:
                database.write("INSERT INTO chaos (round, value) VALUES (?, ?)", [number, value])
            except RequestError as error:
                kind = {
                    Outcome.NOT_EXECUTED: tally.refused,
                    Outcome.REJECTED: tally.rejected,
                    Outcome.UNKNOWN: tally.unknown,
                }[error.outcome]
                kind.append(value)
            else:
                tally.acknowledged.append(value)


def wait_for_service(cluster: Cluster, statement: str) -> None:
    """Until ``statement``, harmless when repeated, is acknowledged through the proxy."""
    with raftzmq.connect(cluster.entrance, timeout_ms=int(START_S * 1000)) as database:
        database.write(statement)


def read_values(cluster: Cluster, number: int) -> Counter[str]:
    """All values of a round, by a linearizable read, a page at a time."""
    found: Counter[str] = Counter()
    last = 0
    with raftzmq.connect(cluster.entrance) as database:
        while True:
            rows = database.read(
                "SELECT rowid, value FROM chaos WHERE round = ? AND rowid > ? "
                "ORDER BY rowid LIMIT 10000",
                [number, last],
            ).rows
            if not rows:
                return found
            for rowid, value in rows:
                found[str(value)] += 1
                last = int(str(rowid))


def replicas_agree(cluster: Cluster) -> str:
    """ "equal" once all nodes have the same content at the same index; else what they have."""
    nodes = {name: node.client for name, node in cluster.config.nodes.items()}
    deadline = time.monotonic() + START_S
    seen: dict[str, tuple[int, str]] = {}
    with Asker(nodes) as asker:
        while time.monotonic() < deadline:
            try:
                seen = digests(asker, timeout_ms=5_000)
            except RequestError:
                seen = {}
            if len(seen) == len(nodes) and len(set(seen.values())) == 1:
                return "equal"
            time.sleep(0.1)
    return "DIFFER " + " ".join(f"{n}:{i}:{d[:8]}" for n, (i, d) in sorted(seen.items()))


def run_round(
    cluster: Cluster, number: int, arguments: argparse.Namespace, rng: random.Random
) -> Verdict:
    """One kill and what was there afterwards; the cluster serves before and after."""
    tallies = [Tally() for _ in range(arguments.writers)]
    over = threading.Event()
    threads = [
        threading.Thread(
            target=write_rows, args=(cluster.entrance, number, writer, tally, over), daemon=True
        )
        for writer, tally in enumerate(tallies)
    ]
    for thread in threads:
        thread.start()
    load_s = rng.uniform(arguments.load_least, arguments.load_most)
    began = time.monotonic()
    time.sleep(load_s)
    before = sum(len(tally.acknowledged) for tally in tallies)
    pids = cluster.kill()
    killed_at = time.monotonic()
    acknowledged_dead = sum(len(tally.acknowledged) for tally in tallies)
    in_flight = sum(len(tally.sent) for tally in tallies) - acknowledged_dead
    cluster.start()
    wait_for_service(cluster, f"DELETE FROM chaos WHERE round = -{number}")
    serving = time.monotonic()
    time.sleep(AFTERMATH_S)
    over.set()
    for thread in threads:
        thread.join(START_S + 10)
    complaints: list[str] = []
    if any(thread.is_alive() for thread in threads):
        complaints.append("a writer got no answer within its deadline")
    found = read_values(cluster, number)
    acknowledged = [value for tally in tallies for value in tally.acknowledged]
    surely_not = {value for tally in tallies for value in (*tally.refused, *tally.rejected)}
    unknown = [value for tally in tallies for value in tally.unknown]
    sent = {value for tally in tallies for value in tally.sent}
    lost = [value for value in acknowledged if not found[value]]
    twice = [value for value, count in found.items() if count > 1]
    ghosts = [value for value in found if value not in sent or value in surely_not]
    replicas = replicas_agree(cluster)
    for what, values in (
        ("acknowledged and lost", lost),
        ("there more than once", twice),
        ("there though refused or never sent", ghosts),
        ("rejected", [value for tally in tallies for value in tally.rejected]),
    ):
        if values:
            complaints.append(f"{what}: {len(values)}, for instance {values[:3]}")
    if before < arguments.acknowledged_min:  # not counting what came while they died
        complaints.append(
            f"only {before} writes were acknowledged before the kill; a round needs "
            f"{arguments.acknowledged_min} to mean anything"
        )
    if replicas != "equal":
        complaints.append(f"the replicas are not equal after {START_S:.0f} s: {replicas}")
    if pids < arguments.processes:
        complaints.append(f"{pids} processes were there to kill, not {arguments.processes}")
    return Verdict(
        number=number,
        pids=pids,
        killed_after_ms=int((killed_at - began) * 1000),
        acknowledged_before=acknowledged_dead,
        in_flight=in_flight,
        acknowledged_later=len(acknowledged) - acknowledged_dead,
        unknown=len(unknown),
        serving_after_ms=int((serving - killed_at) * 1000),
        rows=sum(found.values()),
        lost=len(lost),
        twice=len(twice),
        never_sent=len(ghosts),
        replicas=replicas,
        complaints=complaints,
    )


def run(arguments: argparse.Namespace, folder: Path) -> int:
    """All rounds; returns the exit code."""
    rng = random.Random(arguments.seed)
    cluster = Cluster(folder)
    verdicts: list[Verdict] = []
    print(
        f"{arguments.rounds} rounds, {arguments.writers} writers, seed {arguments.seed}, {folder}"
    )
    print(" | ".join(_COLUMNS), flush=True)
    try:
        cluster.start()
        wait_for_service(cluster, "CREATE TABLE IF NOT EXISTS chaos (round INTEGER, value TEXT)")
        wait_for_service(cluster, "CREATE INDEX IF NOT EXISTS chaos_round ON chaos (round)")
        for number in range(1, arguments.rounds + 1):
            verdict = run_round(cluster, number, arguments, rng)
            verdicts.append(verdict)
            line = (
                cell.rjust(len(name)) for cell, name in zip(verdict.cells(), _COLUMNS, strict=True)
            )
            print(" | ".join(line), flush=True)
            for complaint in verdict.complaints:
                print(f"  round {number}: {complaint}", flush=True)
        for verdict in verdicts:
            rows = sum(read_values(cluster, verdict.number).values())
            if rows != verdict.rows:
                verdict.complaints.append("later rounds changed it")
                print(f"  round {verdict.number}: {verdict.rows} rows then, {rows} at the end")
        code = cluster.stop()
        if code:
            print(f"error: the graceful stop at the end gave exit code {code}")
            return 1
    except (RaftzmqError, ChaosError, subprocess.TimeoutExpired) as error:
        print(f"error after {len(verdicts)} rounds: {type(error).__name__}: {error}")
        print(f"what the processes said last:\n{cluster.tail()}")
        return 1
    finally:
        cluster.kill()
    failed = [verdict.number for verdict in verdicts if verdict.complaints]
    acknowledged = sum(v.acknowledged_before + v.acknowledged_later for v in verdicts)
    print(
        f"{len(verdicts)} rounds, {len(failed)} failed; {acknowledged} acknowledged writes, "
        f"{sum(v.lost for v in verdicts)} lost, {sum(v.twice for v in verdicts)} twice, "
        f"{sum(v.unknown for v in verdicts)} with unknown outcome"
    )
    return 1 if failed else 0


def main() -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description="Kill all processes at once, under load.")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--writers", type=int, default=64)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--acknowledged-min", type=int, default=200)
    parser.add_argument("--processes", type=int, default=5)
    parser.add_argument("--load-least", type=float, default=0.5)
    parser.add_argument("--load-most", type=float, default=2.0)
    parser.add_argument("--keep", action="store_true")
    arguments = parser.parse_args()
    if arguments.seed is None:
        arguments.seed = int.from_bytes(os.urandom(4), "big")
    if arguments.rounds < 1 or arguments.writers < 1:
        parser.error("--rounds and --writers must be at least 1")
    # Whoever stops this script must not leave a cluster behind: finally clauses have to run.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder = Path(tempfile.mkdtemp(prefix="raftzmq-kill-all."))
    code = 1
    try:
        code = run(arguments, folder)
    finally:
        if arguments.keep or code:
            print(f"data and logs are kept in {folder}")
        else:
            shutil.rmtree(folder)
    return code


if __name__ == "__main__":
    sys.exit(main())
