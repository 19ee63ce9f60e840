"""Which failure inside SQLite is an answer, and which one stops the node.

An answer is a function of content and request, so every replica gives the same one. Whatever
depends on this machine (disk, memory, file permissions) must never become an answer: the
other replicas did not see it. What is not listed stops the node.
"""

from __future__ import annotations

from typing import Final

import apsw

from raftzmq.errors import (
    REBUILD,
    ConstraintFailed,
    Forbidden,
    MalformedRequest,
    RequestError,
    SqlError,
    StorageDamaged,
    StorageFailed,
    TooLarge,
)
from raftzmq.sqlite_errors import is_malformed, storage_error, words

_SQL_ERRORS: Final = (
    apsw.SQLError,
    apsw.MismatchError,
    apsw.RangeError,
    apsw.BindingsError,
    apsw.AbortError,
)
_VTAB_CODES: Final = frozenset({apsw.SQLITE_CORRUPT_VTAB, apsw.SQLITE_LOCKED_VTAB})
"""fts5 says CORRUPT_VTAB when a user deletes from an external-content index what is not in
it: a fault of the statement, not of the disk. (Were it the disk, the content hash finds it.)"""

RESULT_ERRORS: Final = (apsw.Error, ValueError, TypeError, OverflowError, RequestError)
"""What running a user's statement can raise through APSW."""


def as_request_error(error: Exception, refused: str, connection: apsw.Connection) -> RequestError:
    """The answer that ``error`` stands for.

    Args:
        error: what APSW raised while a user's statement was prepared or run.
        refused: why the authorizer refused the statement; empty when it did not.
        connection: on which it was raised.

    Raises:
        StorageDamaged, StorageFailed: the failure is this machine's, not the statement's.
    """
    if isinstance(error, RequestError):
        return error
    text = str(error)
    if refused and isinstance(error, apsw.AuthError | apsw.SQLError):
        return Forbidden(refused)
    if isinstance(error, apsw.ConstraintError):
        return ConstraintFailed(text, str(getattr(error, "extendedresult", "")))
    if isinstance(error, apsw.TooBigError):
        return TooLarge(text)
    if isinstance(error, apsw.AuthError):
        return Forbidden(text)
    if isinstance(error, _SQL_ERRORS):
        return SqlError(text)
    if isinstance(error, apsw.Error):
        if getattr(error, "extendedresult", 0) in _VTAB_CODES:
            return SqlError(text)
        raise storage_failed(error, connection) from error
    if isinstance(error, UnicodeError):
        return SqlError("a text value is not valid UTF-8; cast it to BLOB")
    if isinstance(error, OverflowError):
        return MalformedRequest("an integer parameter does not fit into 64 bits")
    if isinstance(error, TypeError):
        return MalformedRequest(f"a parameter is not null, number, text or blob: {text}")
    return MalformedRequest(text)


def storage_failed(
    error: Exception, connection: apsw.Connection | None = None
) -> StorageFailed | StorageDamaged:
    """What a failure of this machine is.

    Args:
        connection: on which it was raised; needed for what writes.

    Returns:
        NoRoom, after which the same may be tried again; StorageDamaged when SQLite finds the
        file malformed, which a copy from another node repairs; else StorageFailed, which stops
        the node.
    """
    if is_malformed(error):
        return StorageDamaged(
            f"state.db: {words(error)}; when the kernel log (dmesg) says that the disk is bad:"
            f" replace it, then {REBUILD}"
        )
    return storage_error("state.db", error, connection)
