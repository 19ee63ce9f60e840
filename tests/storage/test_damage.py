"""What was damaged while the node was down is found at start, named, and left as it is."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import apsw
import pytest

from raftzmq.errors import REBUILD, StorageDamaged, StorageFailed
from raftzmq.raft.types import HardState, LogPosition
from raftzmq.storage.contract import Identity
from raftzmq.storage.sqlite_log import SqliteLogStore
from tests.storage.suite import entries, entry


@pytest.fixture
def closed(tmp_path: Path) -> Path:
    """A cleanly closed raft.db: entries 11 to 30, term 2, vote n1."""
    path = tmp_path / "raft.db"
    store = SqliteLogStore(path, wal_bytes=0)
    store.load()
    store.save(HardState(2, "n1"), entries(1, 10, 1) + entries(11, 30, 2))
    store.compact(LogPosition(10, 1))
    store.remember("n2", Identity(3, 5))
    store.close()
    return path


@pytest.fixture
def killed(tmp_path: Path) -> Path:
    """raft.db as a killed process leaves it: 20 commits, all in the write-ahead log."""
    living = tmp_path / "living"
    living.mkdir()
    store = SqliteLogStore(living / "raft.db", wal_bytes=1 << 18)
    store.load()
    for index in range(1, 21):
        store.save(HardState(index), [entry(index, index, b"payload of %d" % index * 30)])
    left = tmp_path / "left"
    shutil.copytree(living, left)
    store.close()
    return left / "raft.db"


def _flip(path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)
        file.seek(offset)
        file.write(bytes([byte[0] ^ 0x40]))


def _refused(path: Path, says: str) -> None:
    # Twice: a refusal must not fold the damage into something that looks well.
    for _ in range(2):
        with pytest.raises(StorageDamaged, match=says) as refusal:
            SqliteLogStore(path, wal_bytes=0).load()
        assert str(path) in str(refusal.value)
        assert REBUILD in str(refusal.value)


def _sql(path: Path, *statements: str) -> None:
    connection = apsw.Connection(str(path))
    for statement in statements:
        connection.execute(statement)
    connection.close()


def test_a_killed_log_is_whole(killed: Path) -> None:
    held = SqliteLogStore(killed, wal_bytes=0)
    stored = held.load()
    assert [e.index for e in stored.entries] == list(range(1, 21))
    assert stored.hard_state == HardState(20)
    held.close()


def test_a_flipped_byte_of_an_entry(closed: Path) -> None:
    at = closed.read_bytes().index(b"17.2")
    _flip(closed, at + 1)
    _refused(closed, "checksum of entry 17 is wrong")


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("DELETE FROM entry WHERE idx = 20", "entry 20 is missing, entry 21 follows"),
        ("DELETE FROM entry WHERE idx = 30", "ends at entry 29, the state row says 30"),
        ("DELETE FROM entry WHERE idx = 11", "entry 11 is missing"),
        ("UPDATE entry SET kind = 2 WHERE idx = 20", "checksum of entry 20"),
        ("UPDATE entry SET kind = 77 WHERE idx = 20", "checksum of entry 20"),
        ("UPDATE entry SET data = 'text' WHERE idx = 20", "checksum of entry 20"),
        ("UPDATE entry SET term = -1 WHERE idx = 20", "checksum of entry 20"),
        ("UPDATE state SET voted_for = 'n2'", "checksum of the state row"),
        ("UPDATE state SET voted_for = NULL", "checksum of the state row"),
        ("UPDATE state SET voted_for = x'00ff'", "damaged"),
        ("UPDATE state SET voted_for = CAST(x'ff' AS TEXT)", "damaged"),
        ("UPDATE state SET term = 1", "checksum of the state row"),
        ("UPDATE state SET term = 'two'", "checksum of the state row"),
        ("UPDATE state SET term = -2", "checksum of the state row"),
        ("UPDATE state SET last_index = 29", "checksum of the state row"),
        ("UPDATE state SET base_index = 12", "checksum of the state row"),
        ("UPDATE state SET memory = 1", "checksum of the state row"),
        ("UPDATE peer SET boot = '6'", "checksum of the row about peer n2"),
        ("UPDATE peer SET incarnation = 'x'", "checksum of the row about peer n2"),
        ("UPDATE peer SET name = 'n4'", "checksum of the row about peer n4"),
        ("DROP TABLE peer", "no such table"),
        ("ALTER TABLE state RENAME voted_for TO noted_for", "no such column"),
        ("DROP TABLE state", "no such table"),
        ("DELETE FROM state", "the state row is missing"),
    ],
)
def test_rows_that_changed(closed: Path, statement: str, says: str) -> None:
    _sql(closed, statement)
    _refused(closed, says)


def test_a_newer_format(closed: Path) -> None:
    _sql(closed, "UPDATE state SET version = 2")
    with pytest.raises(StorageDamaged, match=r"format version 2 is not 1.*the version of raftzmq"):
        SqliteLogStore(closed, wal_bytes=0).load()


def test_a_row_that_went_back_to_an_older_version(tmp_path: Path) -> None:
    path = tmp_path / "raft.db"
    store = SqliteLogStore(path, wal_bytes=0)
    store.load()
    store.save(None, entries(1, 5, 1))
    store.close()
    old = tmp_path / "old"
    shutil.copy(path, old)
    store = SqliteLogStore(path, wal_bytes=0)
    store.load()
    store.save(None, [entry(3, 1, b"other"), *entries(4, 5, 1)])
    store.close()
    # Row 3 as it was: right index, right term, a checksum of its own that was once right.
    _sql(
        path,
        f"ATTACH '{old}' AS old",
        "REPLACE INTO entry SELECT * FROM old.entry WHERE idx = 3",
    )
    _refused(path, "checksum of entry 4 is wrong")


@pytest.mark.parametrize("part", [0.1, 0.5, 0.95])
def test_a_damaged_frame_of_the_write_ahead_log(killed: Path, part: float) -> None:
    wal = killed.with_name("raft.db-wal")
    used = len(wal.read_bytes().rstrip(b"\0"))
    before = wal.read_bytes()
    _flip(wal, int(used * part))
    _refused(killed, r"raft.mark says that commit 20 was on disk: \d+ transactions are missing")
    assert len(wal.read_bytes()) == len(before), "the evidence stays"


def test_a_removed_write_ahead_log(killed: Path) -> None:
    os.unlink(killed.with_name("raft.db-wal"))
    _refused(killed, "20 transactions are missing")


def test_an_older_copy_of_the_database(closed: Path, tmp_path: Path) -> None:
    old = closed.read_bytes()
    store = SqliteLogStore(closed, wal_bytes=0)
    store.load()
    store.save(HardState(5, "n2"), [])
    store.close()
    closed.write_bytes(old)
    _refused(closed, "ends at commit 3, but raft.mark says that commit 4 was on disk: 1 trans")


def test_a_removed_database(closed: Path) -> None:
    closed.unlink()
    _refused(closed, "is empty or absent")


def test_not_a_database(closed: Path) -> None:
    closed.write_bytes(b"something else entirely" * 1000)
    _refused(closed, "not a database")


def test_a_torn_mark_is_noted_and_tolerated(closed: Path) -> None:
    mark = closed.with_suffix(".mark")
    _flip(mark, 10)
    store = SqliteLogStore(closed, wal_bytes=0)
    assert store.load().notes == ("raft.mark: one of two slots is torn",)
    store.save(HardState(3), [])
    store.close()
    mark.write_bytes(b"?" * 600)
    store = SqliteLogStore(closed, wal_bytes=0)
    assert store.load().notes == ("raft.mark holds no whole number",)
    store.close()
    mark.unlink()
    store = SqliteLogStore(closed, wal_bytes=0)
    assert store.load().notes == ("raft.mark was absent",)
    store.close()


def test_a_second_process_is_kept_out(closed: Path) -> None:
    first = SqliteLogStore(closed, wal_bytes=0)
    first.load()
    first.save(HardState(3), [])
    second = SqliteLogStore(closed, wal_bytes=0)
    with pytest.raises(StorageFailed, match="locked"):
        second.load()
    first.save(HardState(4), [])
    first.close()


@pytest.mark.parametrize("victim", ["raft.db", "raft.db-wal"])
def test_no_flipped_byte_goes_unnoticed(killed: Path, tmp_path: Path, victim: str) -> None:
    """Whatever byte flips: the log is refused, or it is what was saved."""
    if victim == "raft.db":
        store = SqliteLogStore(killed, wal_bytes=0)
        store.load()
        store.close()
    healthy = tmp_path / "healthy"
    shutil.copytree(killed.parent, healthy)
    store = SqliteLogStore(killed, wal_bytes=0)
    saved = store.load()
    store.close()
    chance = random.Random(3)
    used = len((healthy / victim).read_bytes().rstrip(b"\0"))
    refused = 0
    for trial in range(120):
        copy = tmp_path / f"copy{trial}"
        shutil.copytree(healthy, copy)
        _flip(copy / victim, chance.randrange(used))
        store = SqliteLogStore(copy / "raft.db", wal_bytes=0)
        try:
            assert store.load() == saved
        except (StorageDamaged, StorageFailed):
            refused += 1
        store.close()
        shutil.rmtree(copy)
    assert refused > 20
