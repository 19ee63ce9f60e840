"""A leader that is cut off with a minority: what it may not do, what is seen, how it ends."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from raftzmq.errors import WIRE_ERRORS, Outcome
from tests.e2e.cluster import ask, statements, wait_for
from tests.e2e.cut_cluster import CutCluster

pytestmark = pytest.mark.e2e
MakeCut = Callable[..., CutCluster]
LINEARIZABLE, STALE, LEADER = 0, 2, 3


@pytest.fixture
def make_cut(tmp_path: Path) -> Iterator[MakeCut]:
    """Makes clusters that are reaped after the test, their logs shown when it fails."""
    made: list[CutCluster] = []

    def make(limits: str = "") -> CutCluster:
        made.append(CutCluster(tmp_path, limits=limits))
        made[-1].start()
        made[-1].wait_for_leader()
        code, _, body = made[-1].write("CREATE TABLE t (v)", "INSERT INTO t VALUES ('before')")
        assert code == 0, body
        made[-1].wait_caught_up()
        return made[-1]

    yield make
    for cluster in made:
        cluster.close()
        for log in sorted(cluster.folder.glob("*.log")):
            print(f"--- {log.name}\n{log.read_text()[-4000:]}")


def outcome(code: int) -> Outcome:
    return WIRE_ERRORS[code].outcome


def values(cluster: CutCluster, name: str) -> set[Any]:
    return {value for (value,) in cluster.read("SELECT v FROM t", at=name, level=STALE)}


def show(cluster: CutCluster, *options: str) -> str:
    """What `raftzmq status` prints, asking past the cuts."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "raftzmq.cli.main", "status"),
            *("--config", str(cluster.config), *options),
        ],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return done.stdout


class DirectClients:
    """Ask one node past the cut, again and again, from several threads; nothing is retried."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._over = threading.Event()
        self.writes: dict[str, int | None] = {}
        self.reads: list[tuple[float, int | None, Any]] = []
        jobs: list[Callable[[], None]] = [self._write, self._read]
        self._threads = [threading.Thread(target=job) for job in jobs]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def reads_since(self, since: float) -> list[tuple[int | None, Any]]:
        """Code and body of the answered reads that began after `since` (time.monotonic())."""
        return [(code, body) for began, code, body in self.reads if began > since]

    def _write(self) -> None:
        while not self._over.is_set():
            value = f"direct {len(self.writes)}"
            self.writes[value] = None
            self.writes[value] = self._ask(1, f"INSERT INTO t VALUES ('{value}')")[0]

    def _read(self) -> None:
        level = LINEARIZABLE
        while not self._over.is_set():
            began = time.monotonic()
            code, body = self._ask(2, "SELECT v FROM t WHERE v = 'after'", level)
            self.reads.append((began, code, body))
            level = LEADER - level

    def _ask(self, kind: int, sql: str, level: int = LINEARIZABLE) -> tuple[int | None, Any]:
        try:
            code, _, body = ask(self._address, kind, statements(sql), level=level, timeout_ms=300)
        except TimeoutError:
            return None, None
        return code, body


def test_cut_off_leader_serves_nothing_steps_down_and_forgets_its_tail(make_cut: MakeCut) -> None:
    cluster = make_cut()
    stale = cluster.wait_for_leader()
    others = [name for name in cluster.names if name != stale]
    before = cluster.status(stale)
    assert before is not None
    cluster.cutter.tell("drop", *cluster.links_of(stale))
    cut = time.monotonic()
    clients = DirectClients(cluster.clients[stale])
    try:
        leader = cluster.wait_for_leader(*others)
        code, _, body = cluster.write("INSERT INTO t VALUES ('after')")
        assert code == 0, body
        acknowledged = time.monotonic()
        state = wait_for(
            lambda: (seen := cluster.status(stale)) and seen["role"] != "leader" and seen,
            "the step-down by check-quorum",
        )
        assert state["term"] == before["term"], "it heard of nothing, and still gave up"
        wait_for(lambda: len(clients.reads_since(acknowledged)) > 4, "reads after the other write")
    finally:
        clients.stop()
    assert "no quorum answers" in (cluster.folder / f"{stale}.log").read_text()

    # Acknowledged nothing, and what it says about each write is true.
    assert clients.writes, "the fault was not put to the test"
    assert 0 not in clients.writes.values()
    in_log = [value for value, code in clients.writes.items() if code is None or maybe(code)]
    assert in_log, "a leader that does not know yet takes writes"
    # Served no linearizable read that had to see the write of the other side.
    late = clients.reads_since(acknowledged)
    assert late
    assert all(code != 0 for code, _ in late), late
    assert all(began < cut + 1 for began, code, _ in clients.reads if code == 0)
    assert cluster.status(stale)["last_index"] > before["last_index"], "its tail"  # type: ignore[index]
    assert values(cluster, stale) == {"before"}, "nothing of its tail was applied"

    cluster.cutter.tell("heal")
    wait_for(lambda: (seen := cluster.status(stale)) and seen["leader"] == leader, "its new leader")
    cluster.wait_caught_up()
    for name in cluster.names:
        assert values(cluster, name) == {"before", "after"}
    assert len(cluster.digests()) == 1


def maybe(code: int) -> bool:
    return code != 0 and outcome(code) is Outcome.UNKNOWN


def test_status_shows_two_that_believe_to_lead(make_cut: MakeCut) -> None:
    """A leader wakes up behind a cut: for an election timeout nothing tells it that it is over."""
    cluster = make_cut("election_ticks = 300")
    stale = cluster.wait_for_leader()
    others = [name for name in cluster.names if name != stale]
    cluster.signal(stale, signal.SIGSTOP)
    try:
        cluster.cutter.tell("drop", *cluster.links_of(stale))
        leader = cluster.wait_for_leader(*others)
    finally:
        cluster.signal(stale, signal.SIGCONT)
    shown = json.loads(show(cluster, "--json", "--timeout", "2"))
    assert shown["leader"] == leader
    assert shown["old_leaders"] == [stale]
    assert {shown["nodes"][name]["role"] for name in (stale, leader)} == {"leader"}
    code, _, body = ask(cluster.clients[stale], 2, statements("SELECT v FROM t"), timeout_ms=300)
    assert code != 0, f"an old leader served a linearizable read: {body}"
    lines = show(cluster, "--timeout", "2").splitlines()
    (line,) = [line for line in lines if line.startswith(stale) and "tcp://" in line]
    assert "old leader" in line

    def gave_up() -> bool:
        found = json.loads(show(cluster, "--json", "--timeout", "2"))
        return found["old_leaders"] == [] and "no leader" in found["nodes"][stale]["conditions"]

    wait_for(gave_up, "the step-down, and that status says what is wrong")
    assert f"{stale}: no leader" in show(cluster, "--timeout", "2")
    cluster.cutter.tell("heal")
    cluster.wait_caught_up()
    wait_for(lambda: not cluster.status(stale)["conditions"], "the end of it")  # type: ignore[index]
