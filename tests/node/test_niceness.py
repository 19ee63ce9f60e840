"""Long work asks for less of the processor, and what comes after it gets its share again."""

from __future__ import annotations

import os
import queue
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import cast

import pytest

from raftzmq.node.applier import Applied, Applier, Checkpointed, Report, Tired
from raftzmq.node.gate import StateGate
from raftzmq.node.niceness import LONG_MS, NICE, REST_EVERY_S, LongWork, Rests, be_nice
from raftzmq.node.startup import open_machine
from raftzmq.raft.types import Entry, EntryKind
from raftzmq.statemachine.machine import EntryResult, LogEntry, Machine
from tests.node.lone_worker import lone_worker, send_slow_read
from tests.statemachine.world import anonymous, entry, payload

WAIT_S = 60
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="niceness of a thread is Linux")


def test_work_is_long_when_the_same_is_seen_for_long() -> None:
    watch = LongWork(20)
    first, second = (1, 0), (2, 0)
    assert [watch.is_long(first, now_ms) for now_ms in (100, 119, 120, 200)] == [
        False, False, True, True,
    ]  # fmt: skip
    assert [watch.is_long(second, now_ms) for now_ms in (200, 219, 220)] == [False, False, True]
    assert not watch.is_long(None, 240)
    assert not watch.is_long(None, 1_000)
    # Equal is not the same: a statement that is repeated is not one that is long.
    assert not watch.is_long([1, 0], 1_000)
    assert not watch.is_long([1, 0], 2_000)


def test_a_rest_is_as_short_as_can_be_and_not_sooner_than_it_is_due() -> None:
    now_s = 100.0
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        nonlocal now_s
        slept.append(now_s)
        assert 0 < seconds <= 1e-6
        now_s += 10  # who has to wait for a processor has not worked meanwhile

    rests = Rests(lambda: now_s, sleep)
    rests()
    assert slept == []
    for _ in range(2):
        now_s += REST_EVERY_S * 0.99
        rests()
        assert slept == []
        now_s += REST_EVERY_S * 0.02
        due_s = now_s
        rests()
        rests()
        assert slept == [due_s]
        slept.clear()


@on_linux
def test_a_long_write_and_a_long_read_let_others_have_the_processor(tmp_path: Path) -> None:
    sql = (
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000)"
        " SELECT max(i) FROM n"
    )
    machine = open_machine(tmp_path / "state.db")
    try:
        before = waits_of(threading.get_native_id())
        machine.apply([entry(1, anonymous(f"CREATE TABLE t AS {sql}"))])
        # 19 million steps: some 240 rests where a step takes 7 ns.
        assert waits_of(threading.get_native_id()) - before > 20
    finally:
        machine.close()
    with lone_worker(tmp_path, b"slow-0") as (router, _):
        (thread,) = (each for each in threading.enumerate() if each.name == "slow-0")
        assert thread.native_id is not None
        before = waits_of(thread.native_id)
        send_slow_read(router, b"slow-0", payload(sql))
        assert router.poll(WAIT_S * 1000)
        assert waits_of(thread.native_id) - before > 20


def waits_of(thread: int) -> int:
    """How often a thread of this process has let go of its processor."""
    status = Path(f"/proc/self/task/{thread}/status").read_text(encoding="ascii")
    (line,) = (each for each in status.splitlines() if each.startswith("voluntary_ctxt_switches"))
    return int(line.partition(":")[2])


@on_linux
def test_a_sandbox_that_forbids_it_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that ended here would leave the node waiting for it, neither up nor down."""

    def forbidden(*_: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "setpriority", forbidden)
    be_nice(NICE)


class SlowMachine:
    """Stands at entry 1 until it is let go, and notes who applied what at which niceness."""

    def __init__(self) -> None:
        self.applied = (0, 0)
        self.doing: tuple[object, int] | None = None
        self.began = threading.Event()
        self.go_on = threading.Event()
        self.by: list[tuple[int, int]] = []
        self.closed = False

    def apply(
        self, entries: Sequence[LogEntry], committed: Callable[[list[EntryResult]], None]
    ) -> list[EntryResult]:
        self.doing = ((entries[0].index, 0, b"", b""), 0)
        if entries[0].index == 1:
            self.began.set()
            assert self.go_on.wait(WAIT_S)
        thread = threading.get_native_id()
        self.by.append((entries[-1].index, os.getpriority(os.PRIO_PROCESS, thread)))
        self.applied = (entries[-1].index, 1)
        results = [EntryResult(entry.index, 1, []) for entry in entries]
        committed(results)
        self.doing = None
        return results

    def checkpoint(self) -> int:
        return self.applied[0]

    def interrupt(self) -> None:
        self.go_on.set()

    def close(self) -> None:
        self.closed = True


class Host:
    def __init__(self, folder: Path) -> None:
        self.machine = SlowMachine()
        self.mail: queue.Queue[Report] = queue.Queue()
        machine = cast(Machine, self.machine)
        path = folder / "state.db"
        self.applier = Applier(path, machine, lambda _: machine, self.mail.put, StateGate(path))
        # A CHECKSUM ends a transaction: three of them.
        self.applier.apply([Entry(index, 1, EntryKind.CHECKSUM, b"") for index in (1, 2, 3)])
        self.applier.checkpoint()
        self.applier.apply([Entry(4, 1, EntryKind.CHECKSUM, b"")])
        self.applier.start()
        assert self.machine.began.wait(WAIT_S)

    def next(self) -> Report:
        return self.mail.get(timeout=WAIT_S)

    def applied(self) -> int:
        report = self.next()
        assert isinstance(report, Applied)
        return report.results[-1].index


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    made = Host(tmp_path)
    yield made
    made.applier.stop()
    assert made.machine.closed


@on_linux
def test_who_was_long_at_one_request_is_relieved_after_it(host: Host) -> None:
    usual = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    host.applier.tick(1_000)
    host.applier.tick(1_000 + LONG_MS)
    host.applier.tick(2_000)  # once is enough
    host.machine.go_on.set()
    assert host.applied() == 1
    assert isinstance(host.next(), Tired)
    host.applier.relieve()
    assert [host.applied(), host.applied()] == [2, 3]
    assert host.next() == Checkpointed(3)
    assert host.applied() == 4
    assert host.machine.by == [(1, usual + NICE), (2, usual), (3, usual), (4, usual)]


def test_short_work_stays_with_its_thread(host: Host) -> None:
    host.applier.tick(1_000)
    host.applier.tick(1_000 + LONG_MS - 1)
    host.machine.go_on.set()
    assert [host.applied(), host.applied(), host.applied()] == [1, 2, 3]
    assert host.next() == Checkpointed(3)
    assert host.applied() == 4
    assert len({niceness for _, niceness in host.machine.by}) == 1


def test_a_tired_thread_can_be_stopped(host: Host) -> None:
    host.applier.tick(1_000)
    host.applier.tick(1_000 + LONG_MS)
    host.machine.go_on.set()
    assert host.applied() == 1
    assert isinstance(host.next(), Tired)
