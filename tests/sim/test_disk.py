"""The fake disks do what real ones do: without that every run would prove nothing."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from raftzmq.errors import NoRoom, StorageDamaged, StorageFailed
from raftzmq.raft.types import Entry, EntryKind, HardState
from raftzmq.sim.chance import Chance
from raftzmq.sim.disk import DiskHabits, SimFolder, SimLogStore
from raftzmq.sim.power import PowerFiles


class Clock:
    """The time within a round."""

    def __init__(self) -> None:
        self.now = 0

    def take(self, microseconds: int) -> int:
        self.now += microseconds
        return self.now


def entry(index: int) -> Entry:
    return Entry(index, 1, EntryKind.COMMAND, b"data")


def store_on(clock: Clock, **habits: int) -> SimLogStore:
    folder = SimFolder(path=Path("nowhere"), incarnation=1, chance=Chance(1, "folder"))
    store = SimLogStore(folder, DiskHabits(**habits), clock.take)
    store.load()
    return store


def test_a_power_cut_before_the_end_of_an_fsync_loses_the_transaction() -> None:
    kept = lost = 0
    for seed in range(40):
        clock = Clock()
        store = store_on(clock, sync_us=100)
        store.save(HardState(1, "n1"), [entry(1)])
        store.save(None, [entry(2)])
        store.crash(150, Chance(seed, "crash"), power=True)
        found = store.load()
        assert found.hard_state == HardState(1, "n1"), "what was synced is there"
        assert len(found.entries) in (1, 2)
        kept += len(found.entries) == 2
        lost += len(found.entries) == 1
    assert kept, "a disk may have written what was not synced"
    assert lost


def test_a_power_cut_after_the_fsync_loses_nothing() -> None:
    for seed in range(20):
        store = store_on(Clock(), sync_us=100)
        store.save(HardState(1, "n1"), [entry(1)])
        assert store.crash(100, Chance(seed, "crash"), power=True) == 0
        assert [each.index for each in store.load().entries] == [1]


def test_what_lies_ahead_of_a_crash_never_happened() -> None:
    """A round takes place in one event; a kill may fall into the middle of its time."""
    store = store_on(Clock(), sync_us=100)
    store.save(HardState(1, "n1"), [entry(1)])
    store.save(HardState(2, "n2"), [entry(2)])
    store.crash(50, Chance(1, "crash"), power=False)
    found = store.load()
    assert found.hard_state == HardState(1, "n1"), "the kernel has what was written"
    assert [each.index for each in found.entries] == [1]


def test_a_failed_fsync_is_final_for_this_life() -> None:
    clock = Clock()
    habits = DiskHabits()
    folder = SimFolder(path=Path("nowhere"), incarnation=1, chance=Chance(1, "folder"))
    store = SimLogStore(folder, habits, clock.take)
    store.load()
    habits.fail = True
    for _ in range(2):
        with pytest.raises(StorageFailed):
            store.save(HardState(1, None), [])


def test_no_room_leaves_everything_as_it_was() -> None:
    store = store_on(Clock())
    store._folder.free = 10
    with pytest.raises(NoRoom):
        store.save(HardState(1, None), [entry(1)])
    store._folder.free = 1 << 20
    store.save(HardState(1, None), [entry(1)])
    assert store.last_index == 1


def test_bit_rot_is_noticed_at_the_next_start() -> None:
    store = store_on(Clock())
    store.rot("a bit flipped")
    with pytest.raises(StorageDamaged):
        store.load()


@pytest.mark.parametrize("synchronous", ["NORMAL", "FULL"])
def test_state_db_loses_what_was_not_synced(tmp_path: Path, synchronous: str) -> None:
    """WAL with NORMAL may lose committed transactions at a power cut; with FULL never."""
    least = 20
    for seed in range(12):
        folder = tmp_path / f"{synchronous}{seed}"
        folder.mkdir()
        files = PowerFiles(f"test-{synchronous}-{seed}")
        connection = apsw.Connection(str(folder / "state.db"), vfs=files.name)
        connection.execute("PRAGMA journal_mode = WAL").fetchall()
        connection.execute("PRAGMA wal_autocheckpoint = 0").fetchall()
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        connection.execute("CREATE TABLE t(x)")
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        for number in range(20):
            connection.execute("INSERT INTO t VALUES (?)", (number,))
        contents = files.contents(folder, Chance(seed, "cut"))
        files.off = True
        connection.close(True)
        after = folder / "after"
        after.mkdir()
        for name, content in contents.items():
            (after / name).write_bytes(content)
        found = apsw.Connection(str(after / "state.db"))
        rows = [row[0] for row in found.execute("SELECT x FROM t ORDER BY x")]
        assert found.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        found.close(True)
        files.unregister()
        assert rows == list(range(len(rows))), "what is left is a prefix"
        least = min(least, len(rows))
    assert least == 20 if synchronous == "FULL" else least < 20
