"""Power cuts lose nothing that was acknowledged; a failed write or sync ends the store."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from raftzmq.errors import StorageFailed
from raftzmq.raft.types import Entry, HardState, LogPosition
from raftzmq.storage.memory_log import MemoryLogStore
from raftzmq.storage.sqlite_log import SqliteLogStore
from tests.storage.power_cut_vfs import CutVfs, Disk
from tests.storage.suite import entries, entry


@pytest.mark.parametrize("keep", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("seed", range(6))
def test_acknowledged_survives_a_power_cut(tmp_path: Path, seed: int, keep: float) -> None:
    chance = random.Random(seed)
    disk = Disk()
    name = f"cut-{seed}-{keep}"
    vfs = CutVfs(disk, name)
    before = tmp_path / "before"
    before.mkdir()
    store = SqliteLogStore(before / "raft.db", vfs=name, wal_bytes=0, wal_pages_max=40)
    store.load()
    log: list[Entry] = []
    base = 0
    hard_state = HardState()
    for term in range(1, chance.randrange(20, 120)):
        first = chance.randint(max(base + 1, base + len(log) - 1), base + len(log) + 1)
        added = [entry(first + n, term, b"x" * chance.randrange(1, 6000)) for n in range(3)]
        hard_state = HardState(term, "n1")
        store.save(hard_state, added)
        log = log[: first - base - 1] + added
        if chance.random() < 0.1:
            store.compact(LogPosition(log[1].index, log[1].term))
            base, log = log[1].index, log[2:]
    disk.cut(chance, keep=keep, tear=True)
    # The dead process must not touch the files any more: look at a copy of them.
    after = tmp_path / "after"
    shutil.copytree(before, after)
    again = SqliteLogStore(after / "raft.db", wal_bytes=0)
    held = again.load()
    assert (held.hard_state, held.base.index, held.entries) == (hard_state, base, log)
    again.close()
    with pytest.raises(StorageFailed):
        store.save(HardState(9999), [])
    store.close()
    del vfs


Break = Callable[[Disk], None]


def _fail_sync_of_log(disk: Disk) -> None:
    disk.fail_sync_of = "-wal"


def _fail_sync_of_database(disk: Disk) -> None:
    disk.fail_sync_of = "raft.db"


def _fail_write(disk: Disk) -> None:
    disk.fail_write_of = "-wal"


@pytest.mark.parametrize("fault", [_fail_sync_of_log, _fail_sync_of_database, _fail_write])
def test_a_failed_disk_ends_the_store(tmp_path: Path, fault: Break) -> None:
    disk = Disk()
    name = f"fail-{fault.__name__}"
    vfs = CutVfs(disk, name)
    path = tmp_path / "raft.db"
    store = SqliteLogStore(path, vfs=name, wal_bytes=0, wal_pages_max=20)
    store.load()
    store.save(HardState(1, "n1"), entries(1, 3, 1))
    fault(disk)
    with pytest.raises(StorageFailed, match=r"raft\.db: save failed"):
        _save_until_the_first_checkpoint(store)
    disk.fail_sync_of = disk.fail_write_of = None
    # The disk is well again, and still nothing is tried: a second fsync proves nothing.
    for call in (
        lambda: store.save(HardState(2), []),
        lambda: store.save(None, []),
        lambda: store.compact(LogPosition(1, 1)),
        lambda: store.reset(LogPosition(5, 1)),
    ):
        with pytest.raises(StorageFailed):
            call()
    store.close()
    del vfs


def _save_until_the_first_checkpoint(store: SqliteLogStore) -> None:
    for index in range(4, 100):
        store.save(None, [entry(index, 1)])


def test_memory_store_fails_on_order() -> None:
    store = MemoryLogStore()
    store.save(None, entries(1, 2, 1))
    store.fail_next("no room")
    for _ in range(2):
        with pytest.raises(StorageFailed, match="no room"):
            store.save(None, entries(3, 3, 1))
    assert store.load().entries == entries(1, 2, 1)


def test_the_write_ahead_log_stays_bounded(tmp_path: Path) -> None:
    path = tmp_path / "raft.db"
    store = SqliteLogStore(path, wal_bytes=1 << 18, wal_pages_max=50)
    store.load()
    wal = tmp_path / "raft.db-wal"
    assert wal.stat().st_size == 1 << 18
    for index in range(1, 600):
        store.save(None, [entry(index, 1, bytes(500))])
        assert wal.stat().st_size == 1 << 18
    # One large transaction may be longer; the file shrinks again when the log starts over.
    store.save(None, [entry(600, 1, bytes(1 << 20))])
    store.save(None, [entry(601, 1)])
    store.save(None, [entry(602, 1)])
    assert wal.stat().st_size <= 1 << 18
    store.close()
    again = SqliteLogStore(path, wal_bytes=0)
    assert len(again.load().entries) == 602
    again.close()


def test_compacted_rows_go_little_by_little_and_all_of_them(tmp_path: Path) -> None:
    path = tmp_path / "raft.db"
    store = SqliteLogStore(path, wal_bytes=0)
    store.load()
    store.save(None, entries(1, 1000, 1))
    store.compact(LogPosition(950, 1))
    store.save(None, [entry(1001, 1)])
    store.close()
    left = _rows_left(path)
    assert 51 < left < 1000, "one save drops some of them"
    store = SqliteLogStore(path, wal_bytes=0)
    store.load()
    for index in range(1002, 1010):
        store.save(None, [entry(index, 1)])
    store.close()
    assert _rows_left(path) == 1009 - 950


def _rows_left(path: Path) -> int:
    connection = apsw.Connection(str(path))
    count: int = connection.execute("SELECT count(*) FROM entry").fetchall()[0][0]
    connection.close()
    return count
