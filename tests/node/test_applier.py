"""What the applier makes of entries that come twice, or beyond a gap, around an install."""

from __future__ import annotations

from pathlib import Path

import pytest

from raftzmq.invariants import InvariantBroken
from raftzmq.node.applier import Applied, Applier, Installed, InstallJob, Report
from raftzmq.node.gate import StateGate
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
