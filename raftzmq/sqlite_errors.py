"""What a failure inside SQLite means for a file of this node: no room, or an unusable disk.

The difference decides whether the same thing may be tried again (docs/decisions/006):

* SQLITE_FULL comes from a *write* that the file system refused (``unixWrite`` turns ENOSPC, and
  nothing else, into it). Bytes of an unfinished transaction do no harm: a write-ahead log ends
  at its last whole commit (https://sqlite.org/fileformat2.html#walread). After ROLLBACK the
  database is what it was before.
* SQLITE_IOERR_SHMSIZE is the same for the shared-memory file of a database in WAL mode.
* A failed *fsync* is SQLITE_IOERR_FSYNC, also when the system says ENOSPC. The kernel may have
  thrown the pages away, and a second fsync then succeeds without them: never to be repeated.
"""

from __future__ import annotations

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


def is_no_room(error: Exception) -> bool:
    """Whether the file system had no room, and nothing else is wrong with the file."""
    return isinstance(error, apsw.FullError) or (
        isinstance(error, apsw.IOError)
        and getattr(error, "extendedresult", 0) == apsw.SQLITE_IOERR_SHMSIZE
    )


def words(error: Exception) -> str:
    """What happened, for people: the extended result code says more than SQLite's text."""
    meaning = _WORDS.get(getattr(error, "extendedresult", 0))
    if isinstance(error, apsw.CorruptError):
        # What SQLite makes of EIO from a read, too (SQLITE_IOERR_CORRUPTFS).
        meaning = "the file is damaged, or a read failed"
    text = f"{type(error).__name__}: {error}"
    return f"{meaning} ({text})" if meaning else text


def storage_error(what: str, error: Exception) -> StorageFailed:
    """The error for ``what``, a file and perhaps an activity: NoRoom or StorageFailed."""
    if is_no_room(error):
        return NoRoom(f"{what}: no room on the disk, or in the folder for temporary files")
    return StorageFailed(f"{what}: {words(error)}; {ADVICE}")
