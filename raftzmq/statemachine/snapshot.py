"""A copy of state.db that stands alone, consistent at one applied index.

Made by SQLite's online backup (https://sqlite.org/backup.html) from a connection that holds a
read transaction: the copy is that snapshot however long it takes and whatever is written
meanwhile. Never by VACUUM INTO, which renumbers rowids.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

import apsw

from raftzmq.errors import StorageFailed
from raftzmq.sqlite_errors import ADVICE
from raftzmq.statemachine import schema
from raftzmq.statemachine.database import damaged
from raftzmq.statemachine.outcomes import storage_failed
from raftzmq.statemachine.readers import open_reader

_PAGES_PER_STEP: Final = 2_048
_READ_BYTES: Final = 1 << 20
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
    path_state: Path, path_out: Path, *, stopping: Callable[[], bool] = lambda: False
) -> SnapshotTaken:
    """Copy ``path_state`` to ``path_out`` while a Machine may go on writing.

    The copy is not synced: it is for this process to read, and a crash leaves nothing of value. To
    sync a gigabyte would hold up the log, which waits for the same disk.

    The copy needs no -wal file. It keeps the header flag of WAL mode, so a Machine may open it
    as its state.db.

    Args:
        path_state: state.db of a Machine.
        path_out: must not exist, or is overwritten.
        stopping: asked every few megabytes.

    Raises:
        SnapshotAbandoned: ``stopping`` returned True.
        StorageDamaged: state.db is malformed.
        NoRoom: the copy does not fit on the disk; the unfinished file is removed.
        StorageFailed: reading or writing failed.
    """
    finished = False
    try:
        _remove(path_out)
        index, term = _copy(path_state, path_out, stopping)
        taken = SnapshotTaken(index, term, path_out.stat().st_size, file_digest(path_out))
        finished = True
        return taken
    except OSError as error:
        raise StorageFailed(f"{path_out}: {error}; {ADVICE}") from error
    finally:
        if not finished:
            _remove(path_out)


def file_digest(path: Path) -> bytes:
    """blake2b of the bytes of ``path``, 32 bytes."""
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    with path.open("rb") as file:
        while block := file.read(_READ_BYTES):
            digest.update(block)
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


def _remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm", "-journal"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
