"""What every log store must do; each implementation runs all of it (see test_log_stores)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from raftzmq.invariants import InvariantBroken
from raftzmq.raft.types import Entry, EntryKind, HardState, LogPosition
from raftzmq.storage.contract import Identity, LogStore, Memory, StoredLog

Reopen = Callable[[], tuple[LogStore, StoredLog]]


def entry(index: int, term: int, data: bytes = b"") -> Entry:
    return Entry(index, term, EntryKind.COMMAND, data or b"%d.%d" % (index, term))


def entries(first: int, last: int, term: int) -> list[Entry]:
    return [entry(index, term) for index in range(first, last + 1)]


class LogStoreSuite:
    """Subclasses provide ``opener``: a context in which a store can be opened again and again."""

    @contextmanager
    def opener(self) -> Iterator[Reopen]:
        raise NotImplementedError
        yield

    @pytest.fixture
    def reopen(self) -> Iterator[Reopen]:
        with self.opener() as opening:
            yield opening

    def test_a_new_store_is_empty(self, reopen: Reopen) -> None:
        _, held = reopen()
        assert held == StoredLog(HardState(), LogPosition(0, 0), [])

    def test_holds_what_was_saved(self, reopen: Reopen) -> None:
        store, _ = reopen()
        first = Entry(1, 1, EntryKind.NOOP, b"")
        second = Entry(2, 1, EntryKind.CONFIGURATION, bytes(range(256)) * 40)
        store.save(HardState(1, "n1"), [first, second])
        _, held = reopen()
        assert held == StoredLog(HardState(1, "n1"), LogPosition(0, 0), [first, second])

    def test_hard_state_alone_and_entries_alone(self, reopen: Reopen) -> None:
        store, _ = reopen()
        store.save(HardState(3, None), [])
        store.save(None, entries(1, 2, 3))
        store.save(HardState(3, "n2"), [])
        store.save(None, [])
        _, held = reopen()
        assert held.hard_state == HardState(3, "n2")
        assert held.entries == entries(1, 2, 3)

    def test_first_index_truncates_the_rest(self, reopen: Reopen) -> None:
        store, _ = reopen()
        store.save(None, entries(1, 9, 1))
        store.save(HardState(2), [entry(4, 2)])
        store.save(None, entries(5, 6, 2))
        _, held = reopen()
        assert held.entries == entries(1, 3, 1) + entries(4, 6, 2)

    def test_truncates_down_to_the_base(self, reopen: Reopen) -> None:
        store, _ = reopen()
        store.save(None, entries(1, 5, 1))
        store.compact(LogPosition(2, 1))
        store.save(None, [entry(3, 2)])
        _, held = reopen()
        assert held[1:3] == (LogPosition(2, 1), [entry(3, 2)])

    def test_reads_back_what_was_saved(self, reopen: Reopen) -> None:
        store, _ = reopen()
        saved = [entry(index, 1 + index // 5, bytes([index]) * 10_000) for index in range(1, 10)]
        store.save(HardState(2), saved)
        store.compact(LogPosition(2, 1))
        assert store.read(3, 9, 1 << 20) == saved[2:]
        assert store.read(4, 6, 1 << 20) == saved[3:6]
        assert store.read(4, 9, 30_000) == saved[3:6]
        assert store.read(9, 9, 1) == saved[8:]
        for first, last in ((2, 5), (8, 10)):
            with pytest.raises(InvariantBroken):
                store.read(first, last, 1 << 20)

    def test_compact_moves_the_base(self, reopen: Reopen) -> None:
        store, _ = reopen()
        store.save(HardState(2, "n3"), entries(1, 5, 1) + entries(6, 8, 2))
        store.compact(LogPosition(6, 2))
        store.compact(LogPosition(5, 1))
        store.save(None, entries(9, 9, 2))
        _, held = reopen()
        assert held == StoredLog(HardState(2, "n3"), LogPosition(6, 2), entries(7, 9, 2))

    def test_compact_of_everything_and_on(self, reopen: Reopen) -> None:
        store, _ = reopen()
        store.save(None, entries(1, 5, 1))
        store.compact(LogPosition(5, 1))
        store, held = reopen()
        assert held[1:3] == (LogPosition(5, 1), [])
        store.save(None, entries(6, 7, 1))
        _, held = reopen()
        assert held.entries == entries(6, 7, 1)

    def test_compacted_rows_do_not_come_back(self, reopen: Reopen) -> None:
        store, _ = reopen()
        store.save(None, entries(1, 2000, 1))
        store.compact(LogPosition(1990, 1))
        for index in range(2001, 2020):
            store.save(None, [entry(index, 1)])
        store.compact(LogPosition(2010, 1))
        store.save(None, entries(2020, 2020, 1))
        _, held = reopen()
        assert held[1:3] == (LogPosition(2010, 1), entries(2011, 2020, 1))

    def test_reset_keeps_the_hard_state_only(self, reopen: Reopen) -> None:
        store, _ = reopen()
        store.save(HardState(4, "n1"), entries(1, 5, 1))
        store.reset(LogPosition(100, 3))
        _, held = reopen()
        assert held == StoredLog(HardState(4, "n1"), LogPosition(100, 3), [])

    def test_goes_on_after_a_reset(self, reopen: Reopen) -> None:
        store, _ = reopen()
        store.save(None, entries(1, 5, 1))
        store.compact(LogPosition(3, 1))
        store.reset(LogPosition(4, 2))
        store.save(None, entries(5, 6, 2))
        _, held = reopen()
        assert held[1:3] == (LogPosition(4, 2), entries(5, 6, 2))

    def test_recovering_is_remembered_until_it_is_over(self, reopen: Reopen) -> None:
        store, held = reopen()
        assert not held.recovering
        store.save(HardState(3, "n1"), entries(1, 2, 3))
        store.set_recovering(True)
        store, held = reopen()
        assert held == StoredLog(
            HardState(3, "n1"), LogPosition(0, 0), entries(1, 2, 3), Memory.LOST
        )
        store.save(HardState(4), entries(3, 3, 3))
        store.compact(LogPosition(1, 3))
        store.reset(LogPosition(9, 4))
        store, held = reopen()
        assert held.recovering, "only set_recovering ends it"
        store.set_recovering(False)
        _, held = reopen()
        assert held == StoredLog(HardState(4), LogPosition(9, 4), [], Memory.REGAINED)
        assert not held.recovering

    def test_the_last_identity_of_each_peer_is_remembered(self, reopen: Reopen) -> None:
        store, _ = reopen()
        store.remember("n3", Identity(1 << 63, (1 << 64) - 1))
        store.remember("n2", Identity(7, 1))
        store.remember("n2", Identity(8, 0))
        store.save(HardState(1), entries(1, 5, 1))
        store.reset(LogPosition(9, 1))
        _, held = reopen()
        assert held.identities == (
            ("n2", Identity(8, 0)),
            ("n3", Identity(1 << 63, (1 << 64) - 1)),
        )

    @pytest.mark.parametrize(
        ("wrong", "why"),
        [
            ([entry(7, 3)], "a gap after the end"),
            ([entry(2, 3)], "inside the compacted part"),
            ([entry(6, 3), entry(8, 3)], "a gap between entries"),
            ([entry(6, 3), entry(6, 3)], "the same index twice"),
            ([entry(6, 2)], "a lower term than the entry before"),
            ([entry(4, 1)], "a lower term than the entry before, replacing"),
            ([entry(6, 4), entry(7, 3)], "terms decrease"),
        ],
    )
    def test_a_log_that_raft_forbids(self, reopen: Reopen, wrong: list[Entry], why: str) -> None:
        store, _ = reopen()
        store.save(HardState(3), entries(1, 3, 2) + entries(4, 5, 3))
        store.compact(LogPosition(2, 2))
        with pytest.raises(InvariantBroken):
            store.save(HardState(5), wrong)
        _, held = reopen()
        assert held == StoredLog(
            HardState(3), LogPosition(2, 2), [entry(3, 2), *entries(4, 5, 3)]
        ), why

    @pytest.mark.parametrize("wrong", [HardState(4, "n1"), HardState(5, "n2"), HardState(5, None)])
    def test_a_vote_is_not_changed_or_forgotten(self, reopen: Reopen, wrong: HardState) -> None:
        store, _ = reopen()
        store.save(HardState(5, "n1"), [])
        with pytest.raises(InvariantBroken):
            store.save(wrong, [])
        _, held = reopen()
        assert held.hard_state == HardState(5, "n1")

    @pytest.mark.parametrize("base", [LogPosition(3, 2), LogPosition(9, 1)])
    def test_compact_needs_an_entry_it_knows(self, reopen: Reopen, base: LogPosition) -> None:
        store, _ = reopen()
        store.save(None, entries(1, 5, 1))
        with pytest.raises(InvariantBroken):
            store.compact(base)
        _, held = reopen()
        assert held.entries == entries(1, 5, 1)

    def test_reset_does_not_go_back(self, reopen: Reopen) -> None:
        store, _ = reopen()
        store.reset(LogPosition(10, 2))
        with pytest.raises(InvariantBroken):
            store.reset(LogPosition(9, 2))

    def test_a_closed_store_is_not_written_to(self, reopen: Reopen) -> None:
        store, _ = reopen()
        store.close()
        store.close()
        with pytest.raises(InvariantBroken):
            store.save(None, [entry(1, 1)])
