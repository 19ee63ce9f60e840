"""A log store without room keeps what it has, stores nothing else, and goes on when there is."""

from __future__ import annotations

import random
from pathlib import Path
from zlib import crc32

import apsw
import pytest

from raftzmq.errors import NoRoom, StorageFailed
from raftzmq.raft.types import HardState, LogPosition
from raftzmq.storage.memory_log import MemoryLogStore
from raftzmq.storage.snapshot_file import IncomingSnapshot
from raftzmq.storage.sqlite_log import SqliteLogStore
from tests.small_disk import Ballast, small_disk
from tests.storage.power_cut_vfs import CutVfs, Disk
from tests.storage.suite import entries, entry


@pytest.mark.parametrize("room_bytes", [0, 24, 4000, 4120, 9000, 40_000])
def test_a_save_without_room_changes_nothing_and_may_be_repeated(
    tmp_path: Path, room_bytes: int
) -> None:
    disk = Disk()
    vfs = CutVfs(disk, f"full-{room_bytes}")
    store = SqliteLogStore(tmp_path / "raft.db", vfs=f"full-{room_bytes}", wal_bytes=0)
    store.load()
    store.save(HardState(1, "n1"), entries(1, 30, 1))
    store.compact(LogPosition(10, 1))
    disk.full_for, disk.room_bytes = "-wal", room_bytes
    big = entry(25, 2, bytes(60_000))
    for _ in range(3):
        disk.room_bytes = room_bytes
        with pytest.raises(NoRoom, match=r"raft\.db: save failed: no room"):
            store.save(HardState(2, "n2"), [big])
        disk.room_bytes = 0
        with pytest.raises(NoRoom):
            store.compact(LogPosition(12, 1))
        with pytest.raises(NoRoom):
            store.reset(LogPosition(99, 2))
    assert disk.refused_writes >= 9
    disk.full_for = None
    store.save(HardState(2, "n2"), [big])
    store.compact(LogPosition(12, 1))
    for index in (26, 27):
        store.save(None, [entry(index, 2)])
    # What was given up must not come back after a power cut either.
    again = SqliteLogStore(_after_power_cut(disk, store, tmp_path), wal_bytes=0)
    held = again.load()
    assert (held.hard_state, held.base) == (HardState(2, "n2"), LogPosition(12, 1))
    assert held.entries == [*entries(13, 24, 1), big, entry(26, 2), entry(27, 2)]
    again.close()
    connection = apsw.Connection(str(tmp_path / "after" / "raft.db"))
    lowest = connection.execute("SELECT min(idx) FROM entry").fetchall()
    connection.close()
    assert lowest == [(13,)], "what was compacted is dropped in the end"
    del vfs


def test_without_room_in_the_database_the_write_ahead_log_counts(tmp_path: Path) -> None:
    disk = Disk()
    vfs = CutVfs(disk, "full-database")
    path = tmp_path / "raft.db"
    store = SqliteLogStore(path, vfs="full-database", wal_bytes=0, wal_pages_max=20)
    store.load()
    disk.full_for = "raft.db"
    for index in range(1, 60):
        store.save(None, [entry(index, 1, bytes(3000))])
    assert disk.refused_writes > 1, "a checkpoint was tried, and again"
    assert (tmp_path / "raft.db-wal").stat().st_size > 59 * 4096
    disk.full_for = None
    store.save(None, [entry(60, 1)])
    store.close()
    again = SqliteLogStore(path, wal_bytes=0)
    assert len(again.load().entries) == 60
    again.close()
    del vfs


def test_a_real_full_disk(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", megabytes=16) as folder:
        store = SqliteLogStore(folder / "raft.db", wal_bytes=1 << 20, wal_pages_max=300)
        twin = MemoryLogStore()
        store.load()
        twin.load()
        ballast = Ballast(folder)
        index = refused = 0
        for _ in range(3):
            for _ in range(40):
                index += 1
                made = [entry(index, 1, bytes(20_000))]
                store.save(None, made)
                twin.save(None, made)
            ballast.fill()
            wanted = [entry(index + 1, 1, random.Random(index).randbytes(3_000_000))]
            with pytest.raises(NoRoom):
                store.save(HardState(index), wanted)
            refused += 1
            ballast.remove()
            store.save(HardState(index), wanted)
            twin.save(HardState(index), wanted)
            index += 1
            base = LogPosition(index - 2, 1)
            store.compact(base)
            twin.compact(base)
        store.close()
        store = SqliteLogStore(folder / "raft.db", wal_bytes=1 << 20)
        assert store.load()[:3] == twin.load()[:3]
        store.close()
        assert refused == 3


def test_what_an_earlier_life_may_not_have_synced_is_written_once_more(tmp_path: Path) -> None:
    """After a failed fsync the kernel may hold clean pages that are not on the disk. A restart
    reads them; it must write them again before anybody is told that they are durable."""
    disk = Disk()
    vfs = CutVfs(disk, "sync-lost")
    path = tmp_path / "raft.db"
    store = SqliteLogStore(path, wal_bytes=0)
    store.load()
    store.save(HardState(1, "n1"), entries(1, 30, 1))
    left = tmp_path / "left"
    left.mkdir()
    for file in tmp_path.glob("raft.*"):
        (left / file.name).write_bytes(file.read_bytes())
    store.close()
    again = SqliteLogStore(left / "raft.db", vfs="sync-lost", wal_bytes=0)
    again.load()
    after = _after_power_cut(disk, again, left)
    # As if no byte of the old write-ahead log had ever reached the disk.
    after.with_name("raft.db-wal").unlink()
    last = SqliteLogStore(after, wal_bytes=0)
    assert last.load().entries == entries(1, 30, 1)
    last.close()
    del vfs


def _after_power_cut(disk: Disk, store: SqliteLogStore, folder: Path) -> Path:
    """raft.db as the next start finds it: all that was not synced is gone."""
    disk.cut(random.Random(1), keep=0.0, tear=False)
    after = folder / "after"
    after.mkdir()
    for file in folder.glob("raft.*"):
        (after / file.name).write_bytes(file.read_bytes())
    with pytest.raises(StorageFailed):
        store.save(HardState(9999), [])
    store.close()
    return after / "raft.db"


def test_a_received_snapshot_that_does_not_fit(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", megabytes=2) as folder:
        incoming = IncomingSnapshot.open(folder, index=5, term=1, size=4 << 20, digest=bytes(32))
        Ballast(folder).fill(leave_bytes=300_000)
        chunk = bytes(256 << 10)
        incoming.append(0, chunk, crc32(chunk))
        with pytest.raises(NoRoom, match="no room on the disk"):
            incoming.append(incoming.received_bytes, chunk, crc32(chunk))
        assert incoming.received_bytes >= len(chunk)
        incoming.discard()
        assert list((folder / "incoming").iterdir()) == []
