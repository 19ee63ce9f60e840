"""state.db held still: a read snapshot that is the database file itself, to be copied as a file.

Why nothing changes the file meanwhile. In WAL mode a writer appends to the WAL; the database file
is written by checkpoints only, and a checkpoint never copies frames that came after the snapshot of
any open read transaction (https://sqlite.org/wal.html#checkpointing; ``walCheckpoint`` in
https://sqlite.org/src/file/src/wal.c). So if a read transaction begins when every frame was copied
and before another one is written, there is nothing that a checkpoint may copy until it ends: it has
either the lock of readers that ignore the WAL, which a checkpoint must have for itself to write, or
a mark at the last of the frames that were copied. ``Machine.hold_file`` is the only writer
and does both between two of its transactions.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import apsw

from raftzmq.statemachine import schema
from raftzmq.statemachine.database import damaged
from raftzmq.statemachine.outcomes import storage_failed
from raftzmq.statemachine.readers import open_reader

_PIECE_BYTES: Final = 8 << 20
_NOT_IN_THE_KERNEL: Final = frozenset(
    {errno.EXDEV, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM}
)
"""What copy_file_range says where the kernel or the file system does not offer it."""


class HeldFile:
    """state.db as it is now, until ``close``; WAL and readers go on beside it.

    The WAL is not copied while this is open, and grows by what is written.

    Args:
        path: state.db, whose WAL is wholly copied; nobody writes before this is there.
        descriptor: of the file, open for reading. Not closed here: POSIX gives up all locks of the
            process on a file when it closes any descriptor of it, also those of SQLite
            (https://sqlite.org/howtocorrupt.html, 2.2).

    Attributes:
        applied_index: of the content.
        applied_term: of the entry at ``applied_index``.
        size: bytes.

    Raises:
        StorageDamaged: SQLite finds the file malformed.
        StorageFailed: the file cannot be read.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self._descriptor = descriptor
        self._stop = False
        self.is_open = True
        self._connection = open_reader(path)
        try:
            self._connection.execute("BEGIN")
            # A snapshot begins with the first read, not with BEGIN.
            self.applied_index, self.applied_term = self._row(schema.READ_APPLIED)
            pages, page_bytes = self._row("PRAGMA page_count")[0], self._row("PRAGMA page_size")[0]
            self.size: int = pages * page_bytes
        except apsw.Error as error:
            self.close()
            if isinstance(error, apsw.CorruptError):
                raise damaged(path, str(error)) from error
            raise storage_failed(error) from error

    @property
    def is_whole(self) -> bool:
        """Whether the file is as long as the database is."""
        return os.fstat(self._descriptor).st_size == self.size

    def copy(self, path_out: Path, stopping: Callable[[], bool]) -> bool:
        """Copy the file, in the kernel where it can; it shares the blocks where that can.

        Args:
            path_out: written anew.
            stopping: asked every few megabytes.

        Returns:
            False: given up, because of ``stopping`` or ``interrupt``.

        Raises:
            OSError: reading or writing failed.
        """
        out = os.open(path_out, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            at = 0
            while at < self.size:
                if self._stop or stopping():
                    return False
                count = _copy_piece(self._descriptor, out, at, min(_PIECE_BYTES, self.size - at))
                if count == 0:
                    raise OSError(errno.EIO, f"the file ends at {at} of {self.size} bytes")
                at += count
        finally:
            os.close(out)
        return True

    def interrupt(self) -> None:
        """Make ``copy`` give up soon; callable from any thread."""
        self._stop = True

    def close(self) -> None:
        """Let the file go, and begin no copy of it any more; a second call does nothing."""
        self.is_open = False
        self._stop = True
        self._connection.close(True)

    def _row(self, sql: str) -> Any:
        return self._connection.execute(sql).fetchall()[0]


def _copy_piece(source: int, out: int, at: int, count: int) -> int:
    """Copy up to ``count`` bytes from and to offset ``at``; says how many."""
    try:
        return os.copy_file_range(source, out, count, at, at)
    except OSError as error:
        if error.errno not in _NOT_IN_THE_KERNEL:
            raise
    piece = memoryview(os.pread(source, count, at))
    written = 0
    while written < len(piece):
        written += os.pwrite(out, piece[written:], at + written)
    return written
