"""What the applier makes of entries that come twice, or beyond a gap, around an install."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from raftzmq.errors import NoRoom, StorageDamaged, StorageFailed
from raftzmq.invariants import InvariantBroken
from raftzmq.node.applier import (
    Applied,
    Applier,
    Failed,
    Installed,
    InstallJob,
    Report,
    Stuck,
)
from raftzmq.node.gate import StateGate
from raftzmq.node.short_turns import PAUSE_MS, TURN_MS_MAX, ShortTurns
from raftzmq.raft.types import Configuration, Entry, EntryKind, Snapshot
from raftzmq.statemachine.machine import LogEntry, Machine


def entries(first: int, last: int) -> list[Entry]:
    return [Entry(index, 1, EntryKind.NOOP, b"") for index in range(first, last + 1)]


def state_at(path: Path, index: int) -> Path:
    """A state.db that has applied up to ``index``."""
    machine = Machine(path)
    machine.apply([LogEntry(each, 1, b"") for each in range(1, index + 1)])
    machine.close()
    return path


class Host:
    """An applier without its thread, rebuilding from a snapshot at ``snapshot``."""

    def __init__(self, folder: Path, *, applied: int, snapshot: int) -> None:
        self.reports: list[Report] = []
        self.path = state_at(folder / "state.db", applied)
        source = state_at(folder / "other.db", snapshot)
        self.applier = Applier(
            self.path, Machine(self.path), Machine, self.reports.append, StateGate(self.path)
        )
        self.job = InstallJob(
            snapshot=Snapshot(
                index=snapshot, term=1, configuration=Configuration(voters=frozenset(("n1",)))
            ),
            sender="n2",
            term=1,
            verify=lambda: None,
            swap=lambda: self._swap(source),
            rebuild=True,
        )

    def _swap(self, source: Path) -> None:
        source.replace(self.path)

    def work(self) -> None:
        while self.applier.work():
            pass

    def applied(self) -> list[int]:
        return [
            result.index
            for report in self.reports
            if isinstance(report, Applied)
            for result in report.results
        ]

    def close(self) -> None:
        self.applier._close_machine()


def test_an_entry_that_is_handed_out_twice_is_applied_once(tmp_path: Path) -> None:
    """Simulator seed 246: committed before the install was heard of, and again after it."""
    host = Host(tmp_path, applied=5, snapshot=8)
    host.applier.install(host.job)
    assert host.applier.work()
    host.applier.apply(entries(6, 9))
    host.applier.apply(entries(9, 9))
    host.work()
    assert host.applied() == [9]
    host.close()


def test_what_lies_beyond_the_gap_waits_for_what_fills_it(tmp_path: Path) -> None:
    host = Host(tmp_path, applied=9, snapshot=5)
    host.applier.install(host.job)
    host.applier.apply(entries(10, 10))
    host.work()
    assert host.applied() == []
    host.applier.apply(entries(6, 10))
    host.applier.apply(entries(11, 12))
    host.work()
    assert host.applied() == [6, 7, 8, 9, 10, 11, 12]
    assert type(host.reports[0]) is Installed
    host.close()


def test_a_gap_that_nothing_explains_stops_the_node(tmp_path: Path) -> None:
    host = Host(tmp_path, applied=5, snapshot=5)
    host.applier.apply(entries(7, 7))
    with pytest.raises(InvariantBroken):
        host.work()
    host.close()


def spoil(path: Path) -> None:
    """Every page but the first is garbage."""
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"Z" * (len(content) - 4096))


def test_a_snapshot_of_a_malformed_state_is_refused_and_the_next_one_is_installed(
    tmp_path: Path,
) -> None:
    """Its digest is right: what it was copied from was malformed already."""
    host = Host(tmp_path, applied=5, snapshot=8)
    spoil(tmp_path / "other.db")
    host.applier.install(replace(host.job, rebuild=False))
    host.applier.apply(entries(6, 8))
    host.work()
    failed, installed = host.reports
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, StorageDamaged)
    assert isinstance(installed, Installed)
    assert (installed.why, installed.swapped) == (str(failed.error), False)
    whole = state_at(tmp_path / "whole.db", 9)
    host.applier.install(replace(host.job, swap=lambda: (whole.replace(host.path), None)[1]))
    host.applier.apply(entries(9, 10))
    host.work()
    assert host.applied() == [10]
    host.close()


def test_damage_that_ends_the_thread_ends_the_node(tmp_path: Path) -> None:
    """As StorageDamaged the node would go on without anybody to apply or to install."""
    host = Host(tmp_path, applied=5, snapshot=8)

    def swap() -> None:
        raise StorageDamaged("the plan cannot be read")

    host.applier.start()
    host.applier.install(replace(host.job, swap=swap))
    until = time.monotonic() + 10
    while not host.reports and time.monotonic() < until:
        time.sleep(0.01)
    (failed,) = host.reports
    host.applier.stop()
    assert isinstance(failed, Failed)
    assert type(failed.error) is StorageFailed


def test_a_damaged_state_waits_for_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the node takes no entries for as long as nothing is applied."""
    host = Host(tmp_path, applied=5, snapshot=8)
    errors: list[Exception] = [NoRoom("full"), StorageDamaged("malformed")]

    def fail(self: Machine, *_: object) -> None:
        raise errors.pop(0)

    monkeypatch.setattr(Machine, "apply", fail)
    monkeypatch.setattr("raftzmq.node.applier.NO_ROOM_WAIT_S", 0.0)
    host.applier.apply(entries(6, 6))
    host.work()
    assert [type(each) for each in host.reports] == [Stuck, Stuck, Failed]
    assert host.reports[1] == Stuck(None)
    host.close()


def test_a_thread_that_cannot_be_started_does_not_keep_the_node_from_ending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No more threads than the service manager allows: the raft thread meets it in relieve."""
    host = Host(tmp_path, applied=5, snapshot=8)
    host.applier.start()

    def fail(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", fail)
    host.applier._is_nice = True
    host.applier.checkpoint()
    with pytest.raises(RuntimeError):
        host.applier.relieve()
    host.applier.stop()


class Clock:
    now_ms = 0

    def __call__(self) -> int:
        return self.now_ms


def here(folder: Path, *, applied: int = 5) -> tuple[Host, Clock]:
    host, clock = Host(folder, applied=applied, snapshot=3), Clock()
    host.applier._turns = ShortTurns(clock)
    return host, clock


def test_an_entry_is_applied_here_only_while_the_thread_has_nothing_to_do(tmp_path: Path) -> None:
    host, _ = here(tmp_path)
    host.applier.apply(entries(6, 6))
    assert host.applier.apply_here(entries(7, 7), 6) is None
    host.work()
    report = host.applier.apply_here(entries(7, 8), 6)
    assert report is not None
    assert [result.index for result in report.results] == [7, 8]
    assert host.applied() == [6], "who applies here need not be told by mail"
    host.applier.checkpoint()
    assert host.applier.apply_here(entries(9, 9), 8) is None
    host.work()
    assert host.applier.apply_here(entries(9, 9), 8) is not None
    host.close()


def test_nothing_is_applied_here_while_something_is_left_over(tmp_path: Path) -> None:
    """``_gather`` took entries and what followed on them, which is still to be done."""
    host, _ = here(tmp_path)
    host.applier.apply(entries(6, 6))
    host.applier.checkpoint()
    assert host.applier.work()
    assert host.applier.apply_here(entries(7, 7), 6) is None
    assert host.applier.work()
    assert host.applier.apply_here(entries(7, 7), 6) is not None
    host.close()


def test_nothing_is_applied_here_before_what_the_thread_did_was_heard(tmp_path: Path) -> None:
    """Simulator seed 854 on 5 nodes: the report of an earlier entry came after a later one."""
    host, _ = here(tmp_path)
    host.applier.apply(entries(6, 6))
    host.work()
    assert host.applier.apply_here(entries(7, 7), 5) is None
    assert host.applier.apply_here(entries(7, 7), 6) is not None
    host.close()


def test_nothing_is_applied_here_before_an_install_was_heard(tmp_path: Path) -> None:
    """At the very index that was applied, so that no index tells."""
    host, _ = here(tmp_path, applied=3)
    host.applier.install(host.job)
    host.work()
    assert host.applier.apply_here(entries(4, 4), 3) is None
    host.applier.apply(entries(4, 4))
    host.work()
    assert host.applier.apply_here(entries(5, 5), 4) is not None
    host.close()


def test_nothing_is_applied_here_beyond_a_gap_or_twice(tmp_path: Path) -> None:
    host, _ = here(tmp_path)
    assert host.applier.apply_here(entries(5, 6), 4) is None
    assert host.applier.apply_here(entries(7, 7), 6) is None
    host.applier.install(host.job)  # back to 3
    host.work()
    assert host.applier.apply_here(entries(6, 6), 5) is None
    assert host.applier.apply_here(entries(4, 4), 3) is None, "the thread fills the gap"
    host.close()


def test_an_entry_that_is_hashed_is_not_applied_here(tmp_path: Path) -> None:
    """The hash begins before anything later is written; the applier's thread sees to it."""
    host, _ = here(tmp_path)
    assert host.applier.apply_here([Entry(6, 1, EntryKind.CHECKSUM, b"")], 5) is None
    host.close()


def test_what_took_longer_than_a_tick_is_left_to_the_thread_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, clock = here(tmp_path)
    apply_short = Machine.apply_short

    def slowly(self: Machine, group: list[LogEntry]) -> object:
        clock.now_ms += TURN_MS_MAX + 1
        return apply_short(self, group)

    monkeypatch.setattr(Machine, "apply_short", slowly)
    assert host.applier.apply_here(entries(6, 6), 5) is not None
    assert host.applier.apply_here(entries(7, 7), 6) is None
    clock.now_ms += PAUSE_MS
    assert host.applier.apply_here(entries(7, 7), 6) is not None
    host.close()


def test_without_room_the_thread_waits_and_not_the_caller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, _ = here(tmp_path)

    def full(self: Machine, *_: object) -> None:
        raise NoRoom("full")

    monkeypatch.setattr(Machine, "apply_short", full)
    assert host.applier.apply_here(entries(6, 6), 5) is None
    host.applier.apply(entries(6, 6))
    host.work()
    assert host.applied() == [6]
    host.close()


def test_damage_that_is_found_here_is_reported_like_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, _ = here(tmp_path)

    def malformed(self: Machine, *_: object) -> None:
        raise StorageDamaged("malformed")

    monkeypatch.setattr(Machine, "apply_short", malformed)
    assert host.applier.apply_here(entries(6, 6), 5) is None
    assert host.applier.apply_here(entries(6, 6), 5) is None
    assert [type(each) for each in host.reports] == [Failed]
    host.applier.apply(entries(6, 6))
    host.work()
    assert host.applied() == []
    host.close()
