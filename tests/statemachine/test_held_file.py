"""While state.db is held it does not change, and a copy of the file is the snapshot."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import apsw
import pytest

from raftzmq.errors import NoRoom, StorageFailed
from raftzmq.statemachine.digest import Pinned, content_digest
from raftzmq.statemachine.held_file import HeldFile
from raftzmq.statemachine.machine import Machine
from raftzmq.statemachine.snapshot import SnapshotAbandoned, file_digest, take
from tests.statemachine.world import World, anonymous, entry

HELD_MS = 20


def _wal_bytes(world: World) -> int:
    return world.path.with_name("state.db-wal").stat().st_size


def _hold(world: World) -> HeldFile:
    held = world.machine.hold_file(HELD_MS)
    assert held is not None
    return held


@pytest.fixture
def filled(world: World) -> World:
    """Some of it in state.db already, some in its WAL."""
    world.ok("CREATE TABLE t(a)")
    for _ in range(20):
        world.ok("INSERT INTO t VALUES(randomblob(9000))")
    world.machine.checkpoint()
    world.ok("INSERT INTO t VALUES(randomblob(9000))", "DELETE FROM t WHERE rowid = 3")
    return world


def test_the_file_alone_is_the_state(filled: World, tmp_path: Path) -> None:
    index, digest = content_digest(filled.path)
    held = _hold(filled)
    copy = tmp_path / "copy.db"
    taken = take(filled.path, copy, held=held)
    assert (taken.applied_index, taken.applied_term) == filled.machine.applied == (index, 1)
    assert taken.size == copy.stat().st_size == held.size
    assert taken.digest == file_digest(copy)
    assert copy.read_bytes() == filled.path.read_bytes()
    assert content_digest(copy) == (index, digest)
    assert not held.is_open, "the WAL may be copied again before the copy is hashed"


def test_nothing_changes_the_file_while_it_is_held(filled: World) -> None:
    held = _hold(filled)
    before, wal_bytes = filled.path.read_bytes(), _wal_bytes(filled)
    for _ in range(5):
        for _ in range(10):
            filled.ok("INSERT INTO t VALUES(randomblob(20000))", "UPDATE t SET a = 1")
        filled.machine.checkpoint()
        # Readers come and go; each may have taken the mark that holds the file.
        content_digest(filled.path)
    assert filled.path.read_bytes() == before
    assert _wal_bytes(filled) > wal_bytes
    held.close()
    filled.machine.checkpoint()
    assert filled.path.read_bytes() != before
    assert _hold(filled).is_whole


def test_a_copy_that_is_made_while_others_write(filled: World, tmp_path: Path) -> None:
    index, digest = content_digest(filled.path)
    held = _hold(filled)

    def writes_meanwhile() -> bool:
        filled.ok("UPDATE t SET a = randomblob(30000)")
        filled.machine.checkpoint()
        return False

    copy = tmp_path / "copy" / "state.db"
    copy.parent.mkdir()
    assert take(filled.path, copy, held=held, stopping=writes_meanwhile).applied_index == index
    assert content_digest(copy) == (index, digest)
    # It goes on as a replica.
    machine = Machine(copy)
    machine.apply([entry(index + 1, anonymous("UPDATE t SET a = randomblob(30000)"))])
    assert content_digest(copy) == content_digest(filled.path)
    machine.close()


def test_beside_a_read_of_an_older_snapshot_nothing_is_held(filled: World, tmp_path: Path) -> None:
    reader = Pinned(filled.path)
    filled.ok("INSERT INTO t VALUES(2)")
    assert filled.machine.hold_file(HELD_MS) is None
    filled.ok("INSERT INTO t VALUES(3)")
    assert filled.machine.hold_file(0) is None
    reader.close()
    take(filled.path, tmp_path / "copy.db", held=_hold(filled))
    assert content_digest(tmp_path / "copy.db") == content_digest(filled.path)


def test_it_waits_for_a_reader_that_ends_in_time(
    filled: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = Pinned(filled.path)
    filled.ok("INSERT INTO t VALUES(2)")
    waiting = threading.Event()
    copy_wal = Machine._copy_wal

    def noted(machine: Machine, patience_ms: int = 0) -> None:
        if patience_ms:
            waiting.set()
        copy_wal(machine, patience_ms)

    def end() -> None:
        waiting.wait()
        reader.close()

    monkeypatch.setattr(Machine, "_copy_wal", noted)
    ending = threading.Thread(target=end)
    ending.start()
    held = filled.machine.hold_file(30_000)
    waiting.set()
    ending.join()
    assert held is not None
    held.close()


def test_a_mark_at_the_last_frame_that_was_copied_holds_the_file_as_well(filled: World) -> None:
    """What SQLite gives a reader that finds the lock of those who ignore the WAL taken."""
    reader = Pinned(filled.path)
    other = apsw.Connection(str(filled.path))
    other.execute("SELECT * FROM t").fetchall()  # before that it knows of no WAL
    frames, copied = other.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
    assert frames == copied > 0
    before = filled.path.read_bytes()
    for _ in range(5):
        filled.ok("UPDATE t SET a = randomblob(9000)")
        other.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
    assert filled.path.read_bytes() == before
    reader.close()
    other.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
    assert filled.path.read_bytes() != before
    other.close()


def test_the_locks_of_sqlite_outlive_a_copy(filled: World, tmp_path: Path) -> None:
    """A process that closes any descriptor of a file loses its locks on it; a stranger that then
    closes state.db would take itself for the last one and remove the WAL."""
    for _ in range(2):
        take(filled.path, tmp_path / "copy.db", held=_hold(filled))
    inode = filled.path.stat().st_ino
    locks = Path("/proc/locks").read_text().splitlines()
    mine = [line for line in locks if f" {os.getpid()} " in line and f":{inode} " in line]
    assert mine, "the shared lock of an open database in WAL mode"


def test_a_file_of_another_length_is_not_held(filled: World) -> None:
    filled.machine.checkpoint()
    with filled.path.open("ab") as file:
        file.write(bytes(4096))
    assert filled.machine.hold_file(HELD_MS) is None


@pytest.mark.parametrize("code", [errno.EXDEV, errno.ENOSYS, errno.EOPNOTSUPP])
def test_where_the_kernel_does_not_copy(
    filled: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(code, "not here")

    monkeypatch.setattr(os, "copy_file_range", refuse)
    take(filled.path, tmp_path / "copy.db", held=_hold(filled))
    assert (tmp_path / "copy.db").read_bytes() == filled.path.read_bytes()


@pytest.mark.parametrize(
    ("code", "error"), [(errno.ENOSPC, NoRoom), (errno.EDQUOT, NoRoom), (errno.EIO, StorageFailed)]
)
def test_a_copy_that_fails_leaves_nothing(
    filled: World,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
    error: type[Exception],
) -> None:
    def fail(*_: object) -> int:
        raise OSError(code, "no")

    monkeypatch.setattr(os, "copy_file_range", fail)
    held = _hold(filled)
    with pytest.raises(error):
        take(filled.path, tmp_path / "copy.db", held=held)
    assert not (tmp_path / "copy.db").exists()
    assert not held.is_open


def test_what_was_let_go_is_not_copied(filled: World, tmp_path: Path) -> None:
    held = _hold(filled)
    held.close()
    with pytest.raises(SnapshotAbandoned):
        take(filled.path, tmp_path / "copy.db", held=held)


def test_a_file_that_was_cut_meanwhile_is_not_a_copy(filled: World, tmp_path: Path) -> None:
    held = _hold(filled)
    os.truncate(filled.path, held.size - 4096)
    with pytest.raises(StorageFailed, match="ends at"):
        take(filled.path, tmp_path / "copy.db", held=held)


@pytest.mark.parametrize("how", ["interrupt", "stopping"])
def test_a_copy_that_is_given_up(filled: World, tmp_path: Path, how: str) -> None:
    held = _hold(filled)
    if how == "interrupt":
        held.interrupt()
    with pytest.raises(SnapshotAbandoned):
        take(filled.path, tmp_path / "copy.db", held=held, stopping=lambda: how == "stopping")
    assert not (tmp_path / "copy.db").exists()
    assert not held.is_open
