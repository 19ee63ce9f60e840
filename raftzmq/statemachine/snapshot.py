"""A copy of state.db that stands alone, consistent at one applied index.

A copy of the file, where the applier holds it still (``held_file``, docs/decisions/015). Else, as
where a long read keeps the WAL from being copied, made by SQLite's online backup
(https://sqlite.org/backup.html) from a connection that holds a read transaction: four times the
processor time, and it is that snapshot however long it takes and whatever is written meanwhile.
Never by VACUUM INTO, which renumbers rowids.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

import apsw

from raftzmq.errors import NoRoom, StorageFailed
from raftzmq.sqlite_errors import ADVICE, NO_ROOM_ERRNOS
from raftzmq.statemachine import schema
from raftzmq.statemachine.database import damaged
from raftzmq.statemachine.held_file import HeldFile
from raftzmq.statemachine.outcomes import storage_failed
from raftzmq.statemachine.readers import open_reader

_PAGES_PER_STEP: Final = 2_048
_READ_BYTES: Final = 1 << 18
"""Into one buffer, which stays in the processor's cache: larger ones, made anew each time, cost
half as much again as the hash itself."""
_DIGEST_BYTES: Final = 32


class SnapshotTaken(NamedTuple):
    """A finished snapshot file.

    Attributes:
        applied_index: applied index of its content.
        applied_term: term of the entry at ``applied_index``.
        size: bytes.
        digest: blake2b of the whole file, 32 bytes.
    """

    applied_index: int
    applied_term: int
    size: int
    digest: bytes


class SnapshotAbandoned(Exception):
    """``stopping`` said so; the unfinished file is removed."""


def take(
    path_state: Path,
    path_out: Path,
    *,
    held: HeldFile | None = None,
    stopping: Callable[[], bool] = lambda: False,
) -> SnapshotTaken:
    """Copy ``path_state`` to ``path_out`` while a Machine may go on writing.

    The copy is not synced: it is for this process to read, and a crash leaves nothing of value. To
    sync a gigabyte would hold up the log, which waits for the same disk.

    The copy needs no -wal file. It keeps the header flag of WAL mode, so a Machine may open it
    as its state.db.

    Args:
        path_state: state.db of a Machine.
        path_out: must not exist, or is overwritten.
        held: of ``path_state``; closed as soon as it is copied. None: by the online backup.
        stopping: asked every few megabytes.

    Raises:
        SnapshotAbandoned: ``stopping`` returned True, or ``held`` was interrupted.
        StorageDamaged: state.db is malformed.
        NoRoom: the copy does not fit on the disk; the unfinished file is removed.
        StorageFailed: reading or writing failed.
    """
    finished = False
    try:
        _remove(path_out)
        if held is None:
            index, term = _copy(path_state, path_out, stopping)
        else:
            index, term = _copy_held(held, path_out, stopping)
        taken = SnapshotTaken(index, term, path_out.stat().st_size, file_digest(path_out))
        finished = True
        return taken
    except OSError as error:
        if error.errno in NO_ROOM_ERRNOS:
            raise NoRoom(f"{path_out}: no room on the disk") from error
        raise StorageFailed(f"{path_out}: {error}; {ADVICE}") from error
    finally:
        if not finished:
            _remove(path_out)


def file_digest(path: Path) -> bytes:
    """blake2b of the bytes of ``path``, 32 bytes."""
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    buffer = memoryview(bytearray(_READ_BYTES))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            digest.update(buffer[:count])
    return digest.digest()


def _copy(path_state: Path, path_out: Path, stopping: Callable[[], bool]) -> tuple[int, int]:
    source = open_reader(path_state)
    try:
        source.execute("BEGIN")
        applied: Any = source.execute(schema.READ_APPLIED).fetchall()[0]
        target = apsw.Connection(str(path_out))
        try:
            target.execute("PRAGMA synchronous = OFF")
            target.execute("PRAGMA journal_mode = OFF").fetchall()
            with target.backup("main", source, "main") as backup:
                while not backup.done:
                    if stopping():
                        raise SnapshotAbandoned(str(path_out))
                    backup.step(_PAGES_PER_STEP)
        finally:
            target.close(True)
    except apsw.CorruptError as error:
        raise damaged(path_state, str(error)) from error
    except apsw.Error as error:
        raise storage_failed(error) from error
    finally:
        source.close(True)
    return cast("tuple[int, int]", applied)


def _copy_held(held: HeldFile, path_out: Path, stopping: Callable[[], bool]) -> tuple[int, int]:
    try:
        if not held.copy(path_out, stopping):
            raise SnapshotAbandoned(str(path_out))
    finally:
        # The WAL grows until then; the hash of the copy takes longer than the copy.
        held.close()
    return held.applied_index, held.applied_term


def _remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm", "-journal"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
