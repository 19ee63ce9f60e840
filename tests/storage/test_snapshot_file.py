"""A snapshot arrives in chunks and replaces state.db, wherever the process stops meanwhile."""

from __future__ import annotations

import hashlib
import shutil
import zlib
from pathlib import Path

import apsw
import pytest

from raftzmq.errors import StorageDamaged, StorageFailed
from raftzmq.invariants import InvariantBroken
from raftzmq.storage.install_plan import (
    PLAN_NAME,
    SyncNames,
    planned_steps,
    swap_steps,
    write_plan,
)
from raftzmq.storage.snapshot_file import IncomingSnapshot, finish_interrupted_install

CHUNK = 4096


def _database(path: Path, content: str, *, leave_wal: bool = False) -> None:
    """A WAL database with one row; ``leave_wal`` leaves it as a killed process does."""
    connection = apsw.Connection(str(path))
    connection.execute("PRAGMA journal_mode = WAL").fetchall()
    connection.execute("CREATE TABLE t (v TEXT)")
    connection.execute("PRAGMA wal_checkpoint").fetchall()
    connection.execute("INSERT INTO t VALUES (?)", (content,))
    if leave_wal:
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    connection.close()


def _content(path: Path) -> list[str]:
    connection = apsw.Connection(str(path))
    try:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return [row[0] for row in connection.execute("SELECT v FROM t").fetchall()]
    finally:
        connection.close()


@pytest.fixture
def snapshot(tmp_path: Path) -> bytes:
    path = tmp_path / "of-the-leader.db"
    _database(path, "new")
    return path.read_bytes()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data folder with an old state.db whose last transaction is in its -wal."""
    path = tmp_path / "data"
    path.mkdir()
    _database(path / "state.db", "old", leave_wal=True)
    (path / "state.db-shm").write_bytes(b"old shared memory")
    assert (path / "state.db-wal").stat().st_size > 0
    return path


def _open(folder: Path, content: bytes, **other: int) -> IncomingSnapshot:
    return IncomingSnapshot.open(
        folder,
        index=other.get("index", 7),
        term=2,
        size=other.get("size", len(content)),
        digest=hashlib.blake2b(content, digest_size=32).digest(),
    )


def _receive(partial: IncomingSnapshot, content: bytes, chunks: int | None = None) -> None:
    left = chunks if chunks is not None else len(content)
    while partial.received_bytes < len(content) and left:
        part = content[partial.received_bytes :][:CHUNK]
        partial.append(partial.received_bytes, part, zlib.crc32(part))
        left -= 1


def test_receives_and_installs(folder: Path, snapshot: bytes) -> None:
    partial = _open(folder, snapshot)
    _receive(partial, snapshot)
    partial.install()
    assert not (folder / "state.db-wal").exists()
    assert not (folder / "state.db-shm").exists()
    assert not (folder / PLAN_NAME).exists()
    assert list((folder / "incoming").iterdir()) == []
    assert _content(folder / "state.db") == ["new"]
    assert not finish_interrupted_install(folder)
    with pytest.raises(InvariantBroken):
        partial.install()


def test_installs_where_there_was_no_state(tmp_path: Path, snapshot: bytes) -> None:
    partial = _open(tmp_path, snapshot)
    _receive(partial, snapshot)
    partial.install()
    assert _content(tmp_path / "state.db") == ["new"]


def test_goes_on_where_the_file_ends(folder: Path, snapshot: bytes) -> None:
    partial = _open(folder, snapshot)
    _receive(partial, snapshot, chunks=1)
    partial.close()
    again = _open(folder, snapshot)
    assert again.received_bytes == CHUNK
    _receive(again, snapshot)
    again.install()
    assert _content(folder / "state.db") == ["new"]


def test_another_copy_begins_anew(folder: Path, snapshot: bytes) -> None:
    partial = _open(folder, snapshot)
    _receive(partial, snapshot, chunks=1)
    partial.close()
    other = _open(folder, snapshot + b"other bytes, same index")
    assert other.received_bytes == 0
    assert [path.name for path in (folder / "incoming").iterdir()] == [other.path.name]


def test_a_part_that_is_too_long_begins_anew(folder: Path, snapshot: bytes) -> None:
    partial = _open(folder, snapshot)
    partial.path.write_bytes(snapshot + b"!")
    partial.close()
    assert _open(folder, snapshot).received_bytes == 0


@pytest.mark.parametrize(
    ("offset", "data", "checksum_error"),
    [(CHUNK, b"damaged", 1), (0, b"again", 0), (CHUNK + 1, b"a gap", 0), (CHUNK, bytes(99999), 0)],
)
def test_a_chunk_that_is_refused(
    folder: Path, snapshot: bytes, offset: int, data: bytes, checksum_error: int
) -> None:
    partial = _open(folder, snapshot)
    _receive(partial, snapshot, chunks=1)
    with pytest.raises(StorageDamaged):
        partial.append(offset, data, zlib.crc32(data) ^ checksum_error)
    assert partial.received_bytes == partial.path.stat().st_size == CHUNK
    _receive(partial, snapshot)
    partial.install()
    assert _content(folder / "state.db") == ["new"]


@pytest.mark.parametrize("wrong", ["flipped", "short"])
def test_a_file_with_another_digest_is_not_installed(
    folder: Path, snapshot: bytes, wrong: str
) -> None:
    partial = _open(folder, snapshot)
    _receive(partial, snapshot)
    partial.close()
    content = partial.path.read_bytes()
    partial.path.write_bytes(
        content[:-1] if wrong == "short" else content[:-1] + bytes([content[-1] ^ 1])
    )
    again = _open(folder, snapshot)
    with pytest.raises(StorageDamaged, match="digest"):
        again.install()
    assert _content(folder / "state.db") == ["old"]
    assert _open(folder, snapshot).received_bytes == 0


@pytest.mark.parametrize("stop_after", range(len(swap_steps("")) + 1))
def test_the_next_start_finishes_what_was_begun(
    folder: Path, snapshot: bytes, stop_after: int
) -> None:
    partial = _open(folder, snapshot)
    _receive(partial, snapshot)
    partial.verify()
    partial.close()
    write_plan(folder, partial.path.name)
    steps = planned_steps(folder)
    assert steps == swap_steps(partial.path.name)
    for step in steps[:stop_after]:
        step.carry_out(folder)
    # The second start stops somewhere as well; the third goes through.
    for step in planned_steps(folder)[: stop_after // 2]:
        step.carry_out(folder)
    finish_interrupted_install(folder)
    assert not finish_interrupted_install(folder)
    assert not (folder / "state.db-wal").exists()
    assert _content(folder / "state.db") == ["new"]


def test_the_old_log_is_durably_gone_before_the_new_file_comes(snapshot: bytes) -> None:
    kinds = [type(step).__name__ for step in swap_steps("x")]
    rename = kinds.index("Rename")
    assert kinds[:rename].count("Remove") == 3
    assert swap_steps("x")[rename - 1] == SyncNames("")
    assert swap_steps("x")[rename + 1] == SyncNames("")
    assert swap_steps("x")[-1] == SyncNames("")


def test_a_plan_that_comes_back_spares_the_log_of_the_new_state(
    folder: Path, snapshot: bytes
) -> None:
    """A removed name may reappear after a power cut; what was written since must stay."""
    partial = _open(folder, snapshot)
    _receive(partial, snapshot)
    partial.install()
    connection = apsw.Connection(str(folder / "state.db"))
    connection.execute("INSERT INTO t VALUES ('later')")
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    connection.close()
    write_plan(folder, partial.path.name)
    assert finish_interrupted_install(folder)
    assert _content(folder / "state.db") == ["new", "later"]


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"[1]", b'{"format": 2, "source": "a"}', b'{"format": 1, "source": "../a"}'],
)
def test_a_plan_that_is_not_understood(folder: Path, content: bytes) -> None:
    (folder / PLAN_NAME).write_bytes(content)
    with pytest.raises(StorageDamaged, match=PLAN_NAME):
        finish_interrupted_install(folder)


def test_a_plan_whose_source_was_removed(tmp_path: Path) -> None:
    write_plan(tmp_path, "7-2-aa.part")
    with pytest.raises(StorageDamaged, match="which is missing"):
        finish_interrupted_install(tmp_path)


def test_a_swap_that_fails_half_way_is_not_taken_for_an_untouched_state(
    folder: Path, snapshot: bytes
) -> None:
    partial = _open(folder, snapshot)
    _receive(partial, snapshot)
    (folder / "state.db-shm").unlink()
    (folder / "state.db-shm").mkdir()  # stands for any file that cannot be removed
    with pytest.raises(StorageFailed, match="half-way"):
        partial.install()
    shutil.rmtree(folder / "state.db-shm")
    assert finish_interrupted_install(folder)
    assert _content(folder / "state.db") == ["new"]
