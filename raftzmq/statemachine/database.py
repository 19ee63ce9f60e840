"""Opening state.db: the settings on which equal results depend, and its tables.

Each setting below, but for the size of the cache, may change the order of rows or the verdict on
a statement. They are part of the format: the same on every replica, changed only with
``schema.FORMAT``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, NamedTuple

import apsw

from raftzmq.errors import REBUILD, StorageDamaged
from raftzmq.limits import STATE_CACHE_BYTES, STATE_WAL_BYTES
from raftzmq.statemachine import schema
from raftzmq.statemachine.authorizer import OWN
from raftzmq.statemachine.bounds import ApplyLimits
from raftzmq.statemachine.outcomes import storage_failed
from raftzmq.statemachine.replicated_time import ReplicatedTime

_STATEMENT_CACHE: Final = 500
BUSY_MS: Final = 5_000
WAL_PAGES_MAX: Final = STATE_WAL_BYTES // 4096
"""A safety net; ``Machine.checkpoint`` normally comes first."""
_SETTINGS: Final = (
    "PRAGMA page_size = 4096",
    "PRAGMA encoding = 'UTF-8'",
    "PRAGMA auto_vacuum = NONE",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = NORMAL",
    # The automatic checkpoint hides a failed fsync and repeats it later; the Machine's does not.
    "PRAGMA wal_autocheckpoint = 0",
    f"PRAGMA journal_size_limit = {STATE_WAL_BYTES}",
    # The sorter spills by this size, too. It is stable: rows with equal keys come out in the order
    # in which they went in, however often it spills.
    f"PRAGMA cache_size = -{STATE_CACHE_BYTES >> 10}",
    "PRAGMA foreign_keys = ON",
)


def open_writer(path: Path, vfs: str, bounds: ApplyLimits) -> apsw.Connection:
    """Open state.db for its only writer, creating its tables when it is new.

    Raises:
        StorageDamaged: not a database, or not one of raftzmq, or of a newer format.
        StorageFailed: the file cannot be opened or written.
    """
    try:
        connection = apsw.Connection(str(path), vfs=vfs, statementcachesize=_STATEMENT_CACHE)
        connection.set_busy_timeout(BUSY_MS)
        for setting in _SETTINGS:
            connection.execute(setting).fetchall()
        _create_tables(connection, path)
    except (apsw.NotADBError, apsw.CorruptError) as error:
        raise damaged(path, str(error)) from error
    except apsw.Error as error:
        raise storage_failed(error) from error
    configure(connection, bounds)
    return connection


def damaged(path: Path, why: str) -> StorageDamaged:
    """The error for a state.db that cannot be trusted."""
    return StorageDamaged(f"{path} is damaged: {why}; rebuild the node from its peers: {REBUILD}")


def _create_tables(connection: apsw.Connection, path: Path) -> None:
    objects = connection.execute("SELECT count(*) FROM sqlite_master").fetchall()[0][0]
    ours = connection.execute(
        "SELECT count(*) FROM sqlite_master WHERE name = '_raftzmq_meta'"
    ).fetchall()[0][0]
    if ours:
        return
    if objects:
        raise damaged(path, "holds tables, but none of raftzmq")
    connection.execute("BEGIN IMMEDIATE")
    for statement in schema.CREATE:
        connection.execute(statement)
    connection.execute("COMMIT")


def configure(connection: apsw.Connection, bounds: ApplyLimits) -> None:
    """Set the limits and switches of a connection that runs users' SQL."""
    connection.limit(apsw.SQLITE_LIMIT_LENGTH, bounds.value_bytes_max)
    connection.limit(apsw.SQLITE_LIMIT_SQL_LENGTH, bounds.value_bytes_max)
    connection.limit(apsw.SQLITE_LIMIT_EXPR_DEPTH, bounds.expression_depth_max)
    connection.limit(apsw.SQLITE_LIMIT_VARIABLE_NUMBER, bounds.parameters_max)
    connection.limit(apsw.SQLITE_LIMIT_ATTACHED, 0)
    # No peeking at parameters: a plan made for another request's values would otherwise be
    # used from the statement cache on one replica and made anew on another.
    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
    connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0)


class Meta(NamedTuple):
    """Where the content of state.db stands; the low indexes are those of the two ledgers."""

    applied: tuple[int, int]
    time: ReplicatedTime
    ledger_low_index: int
    keys_low_index: int


def read_meta(connection: apsw.Connection, path: Path) -> Meta:
    """The row of ``_raftzmq_meta``.

    Raises:
        StorageDamaged: the row is missing or of another format.
    """
    rows = connection.execute(schema.READ_META, prepare_flags=OWN).fetchall()
    if len(rows) != 1:
        raise damaged(path, "_raftzmq_meta has no row")
    found: Any = rows[0]
    stored_format, index, term, sql_ms, leader_ms, elapsed_ms, ledger_low, keys_low = found
    if stored_format != schema.FORMAT:
        raise damaged(path, f"format {stored_format}, this program knows {schema.FORMAT}")
    time = ReplicatedTime(sql_ms, leader_ms, elapsed_ms)
    return Meta((index, term), time, ledger_low, keys_low)
