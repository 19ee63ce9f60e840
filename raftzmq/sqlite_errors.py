"""What a failure inside SQLite means for a file of this node: no room, or an unusable disk.

The difference decides whether the same thing may be tried again (docs/decisions/006):

* SQLITE_FULL comes from a *write* that the file system refused (``unixWrite`` turns ENOSPC, and
  nothing else, into it). Bytes of an unfinished transaction do no harm: a write-ahead log ends
  at its last whole commit (https://sqlite.org/fileformat2.html#walread). After ROLLBACK the
  database is what it was before.
* SQLITE_IOERR_WRITE is the same if the system says EDQUOT: the quota of the user, group or folder
  is used up, which is to be waited for just so. SQLite does the same after both codes
  (``pager_error`` in pager.c); which errno it was, it tells apart from the error
  (https://sqlite.org/c3ref/system_errno.html).
* SQLITE_IOERR_SHMSIZE is the same for the shared-memory file of a database in WAL mode.
* A failed *fsync* is SQLITE_IOERR_FSYNC, also when the system says ENOSPC. The kernel may have
  thrown the pages away, and a second fsync then succeeds without them: never to be repeated.
"""

from __future__ import annotations

import errno
from typing import Final

import apsw

from raftzmq.errors import REBUILD, NoRoom, StorageFailed

_WORDS: Final = {
    apsw.SQLITE_IOERR_FSYNC: "fsync failed: nobody knows what the disk holds",
    apsw.SQLITE_IOERR_DIR_FSYNC: "fsync of the folder failed: nobody knows what the disk holds",
    apsw.SQLITE_IOERR_WRITE: "a write failed",
    apsw.SQLITE_IOERR_TRUNCATE: "a truncation failed",
    apsw.SQLITE_IOERR_READ: "a read failed",
    apsw.SQLITE_IOERR_SHORT_READ: "a read came back short",
}
ADVICE: Final = (
    "the node stops rather than guess; the kernel log (dmesg) says more. When the disk is bad:"
    f" replace it, then {REBUILD}"
)

NO_ROOM_ERRNOS: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
"""What a write says when the file system is full. From fsync it means that data was lost."""


def is_no_room(error: Exception, connection: apsw.Connection | None = None) -> bool:
    """Whether the file system had no room, and nothing else is wrong with the file.

    Args:
        error: what APSW raised.
        connection: on which it was raised, just now; without it, a quota is not recognised.
    """
    if isinstance(error, apsw.FullError):
        return True
    if not isinstance(error, apsw.IOError):
        return False
    code = getattr(error, "extendedresult", 0)
    if code == apsw.SQLITE_IOERR_WRITE:
        return connection is not None and connection.system_errno == errno.EDQUOT
    return code == apsw.SQLITE_IOERR_SHMSIZE


def is_malformed(error: Exception) -> bool:
    """Whether SQLite finds the file malformed.

    EIO from a read is SQLITE_IOERR_CORRUPTFS. Running a statement turns that into
    SQLITE_CORRUPT; copying the write-ahead log does not.
    """
    return (
        isinstance(error, apsw.CorruptError | apsw.NotADBError)
        or getattr(error, "extendedresult", 0) == apsw.SQLITE_IOERR_CORRUPTFS
    )


def words(error: Exception) -> str:
    """What happened, for people: the extended result code says more than SQLite's text."""
    meaning = _WORDS.get(getattr(error, "extendedresult", 0))
    if is_malformed(error):
        meaning = "the file is damaged, or a read failed"
    text = f"{type(error).__name__}: {error}"
    return f"{meaning} ({text})" if meaning else text


def storage_error(
    what: str, error: Exception, connection: apsw.Connection | None = None
) -> StorageFailed:
    """The error for ``what``, a file and perhaps an activity: NoRoom or StorageFailed.

    Args:
        connection: see ``is_no_room``.
    """
    if is_no_room(error, connection):
        return NoRoom(
            f"{what}: no room on the disk or within the quota, or in the folder for temporary files"
        )
    return StorageFailed(f"{what}: {words(error)}; {ADVICE}")
