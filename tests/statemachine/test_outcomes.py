"""What a failure inside SQLite means for the node."""

from __future__ import annotations

import apsw
import pytest

from raftzmq.errors import StorageDamaged, StorageFailed
from raftzmq.sqlite_errors import is_no_room
from raftzmq.statemachine.outcomes import storage_failed


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (apsw.SQLITE_CORRUPT, StorageDamaged),
        (apsw.SQLITE_NOTADB, StorageDamaged),
        (apsw.SQLITE_IOERR_CORRUPTFS, StorageDamaged),  # EIO while the WAL is copied
        (apsw.SQLITE_IOERR_READ, StorageFailed),
        (apsw.SQLITE_IOERR_FSYNC, StorageFailed),
        (apsw.SQLITE_IOERR_WRITE, StorageFailed),
    ],
)
def test_damage_is_told_from_a_broken_disk(code: int, kind: type[Exception]) -> None:
    assert type(storage_failed(apsw.exception_for(code))) is kind


def test_a_write_error_without_its_errno_is_no_quota() -> None:
    error = apsw.exception_for(apsw.SQLITE_IOERR_WRITE)
    assert not is_no_room(error)
    assert not is_no_room(error, apsw.Connection(":memory:"))
    assert is_no_room(apsw.exception_for(apsw.SQLITE_FULL))
