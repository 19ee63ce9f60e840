"""Both log stores against the suite, and against a list with random operations."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw
from hypothesis import given, settings
from hypothesis import strategies as st

from raftzmq.raft.types import Entry, HardState, LogPosition
from raftzmq.storage.contract import LogStore, StoredLog
from raftzmq.storage.memory_log import MemoryLogStore
from raftzmq.storage.sqlite_log import LARGE_ENTRY_BYTES, SqliteLogStore
from tests.storage.suite import LogStoreSuite, Reopen, entry


@contextmanager
def sqlite_opener() -> Iterator[Reopen]:
    with tempfile.TemporaryDirectory() as folder:
        opened: list[SqliteLogStore] = []

        def reopen() -> tuple[LogStore, StoredLog]:
            if opened:
                opened.pop().close()
            store = SqliteLogStore(Path(folder) / "raft.db", wal_bytes=1 << 16, wal_pages_max=8)
            opened.append(store)
            return store, store.load()

        yield reopen
        for store in opened:
            store.close()


@contextmanager
def memory_opener() -> Iterator[Reopen]:
    store = MemoryLogStore()

    def reopen() -> tuple[LogStore, StoredLog]:
        store.close()
        return store, store.load()

    yield reopen


class TestSqliteLogStore(LogStoreSuite):
    @contextmanager
    def opener(self) -> Iterator[Reopen]:
        with sqlite_opener() as opening:
            yield opening


class TestMemoryLogStore(LogStoreSuite):
    @contextmanager
    def opener(self) -> Iterator[Reopen]:
        with memory_opener() as opening:
            yield opening


def _random_operations(opener: Callable[[], object], data: st.DataObject) -> None:
    """Carry the same operations out on a store and on plain values; compare after each reopen."""
    with opener() as reopen:  # type: ignore[attr-defined]
        store, _ = reopen()
        hard_state, base, log, term = HardState(), LogPosition(0, 0), list[Entry](), 1
        for step in range(data.draw(st.integers(1, 25))):
            last = base.index + len(log)
            what = data.draw(st.sampled_from(["save", "save", "save", "compact", "reset", "open"]))
            if what == "save":
                term += data.draw(st.integers(0, 1))
                vote = data.draw(st.sampled_from([None, "n1"]))
                new = HardState(term, vote) if term > hard_state.term else None
                first = data.draw(st.integers(base.index + 1, last + 1))
                count = data.draw(st.integers(0, 6))
                size = data.draw(st.sampled_from([0, 1, 300, 9000]))
                added = [entry(first + n, term, bytes([step]) * size) for n in range(count)]
                store.save(new, added)
                hard_state = new or hard_state
                if added:
                    log = log[: first - base.index - 1] + added
            elif what == "compact" and log:
                at = data.draw(st.integers(0, len(log) - 1))
                new_base = LogPosition(log[at].index, log[at].term)
                store.compact(new_base)
                base, log = new_base, log[at + 1 :]
            elif what == "reset":
                base = LogPosition(base.index + data.draw(st.integers(0, 12)), term)
                store.reset(base)
                log = []
            else:
                store, held = reopen()
                assert held[:3] == (hard_state, base, log)
        _, held = reopen()
        assert held[:3] == (hard_state, base, log)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_sqlite_store_agrees_with_a_list(data: st.DataObject) -> None:
    _random_operations(sqlite_opener, data)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_memory_store_agrees_with_a_list(data: st.DataObject) -> None:
    _random_operations(memory_opener, data)


def test_the_sqlite_store_keeps_nothing_of_a_large_entry_in_memory(tmp_path: Path) -> None:
    store = SqliteLogStore(tmp_path / "raft.db", wal_bytes=1 << 16)
    store.load()
    large = bytes(4 * LARGE_ENTRY_BYTES)
    store.save(HardState(term=1), [entry(1, 1, large)])
    store.save(None, [entry(2, 1, large), entry(3, 1, large)])
    used = store._connection.status(apsw.SQLITE_DBSTATUS_STMT_USED)[0]
    assert used < LARGE_ENTRY_BYTES
    store.close()
