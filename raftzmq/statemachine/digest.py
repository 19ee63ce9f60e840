"""A hash over the content of state.db, equal on replicas that are equal (P6).

Covered: the text of the schema, every row of every table (shadow tables of virtual tables
included, the virtual tables themselves not), rowids, user_version, application_id, the
ledger and the replicated clock. Not covered: how pages are laid out, which depends on how
entries were grouped; indexes, which are derived from the rows; and the applied index, which is
returned beside.

Two steps, because they belong to different threads: ``Pinned`` opens the read snapshot, which
must happen before anything later is written; ``Pinned.digest`` hashes it while the writer goes on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import apsw
import msgpack

from raftzmq.errors import StorageDamaged, StorageFailed
from raftzmq.statemachine import schema
from raftzmq.statemachine.database import damaged
from raftzmq.statemachine.outcomes import storage_failed
from raftzmq.statemachine.readers import open_reader

_BYTES_PER_UPDATE: Final = 64 << 10
"""Packing holds the interpreter lock: more at once would keep a node's raft thread waiting."""
_DIGEST_BYTES: Final = 32
_ROWID_NAMES: Final = ("rowid", "_rowid_", "oid")


class DigestAbandoned(Exception):
    """``Pinned.interrupt`` was called; there is no digest."""


class Pinned:
    """A read snapshot of state.db as it is now, held until ``close``.

    It keeps SQLite from reusing the WAL, which grows as long as this is open. One thread after
    the other may use it; any thread may call ``interrupt``.

    Args:
        path: state.db.

    Attributes:
        applied_index: of the snapshot.

    Raises:
        StorageDamaged: SQLite finds the file malformed.
        StorageFailed: the file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stop = False
        self._connection = open_reader(path)
        try:
            self._connection.execute("BEGIN")
            # A snapshot begins with the first read, not with BEGIN.
            applied: list[Any] = self._connection.execute(schema.READ_APPLIED).fetchall()
            self.applied_index = int(applied[0][0])
        except apsw.Error as error:
            self.close()
            raise self._failed(error) from error

    def digest(self, pause: Callable[[], None] = lambda: None) -> str:
        """Hash the snapshot; hexadecimal.

        Args:
            pause: called between two steps of some 64 KiB; may take its time.

        Raises:
            DigestAbandoned: ``interrupt`` was called.
            StorageDamaged, StorageFailed: as for the class.
        """
        try:
            return _digest(self._connection, pause, lambda: self._stop)
        except apsw.InterruptError as error:
            raise DigestAbandoned from error
        except apsw.Error as error:
            raise self._failed(error) from error

    def interrupt(self) -> None:
        """Make ``digest`` give up soon; callable from any thread, until ``close``."""
        self._stop = True
        self._connection.interrupt()

    def close(self) -> None:
        """Let the snapshot go; a second call does nothing."""
        self._connection.close(True)

    def _failed(self, error: apsw.Error) -> StorageDamaged | StorageFailed:
        if isinstance(error, apsw.CorruptError):
            return damaged(self._path, str(error))
        return storage_failed(error)


def content_digest(path: Path) -> tuple[int, str]:
    """Hash the content of state.db on one snapshot, while a writer may go on.

    Returns:
        The applied index of the snapshot, and the hash in hexadecimal.

    Raises:
        StorageDamaged: SQLite finds the file malformed.
        StorageFailed: the file cannot be read.
    """
    pinned = Pinned(path)
    try:
        return pinned.applied_index, pinned.digest()
    finally:
        pinned.close()


def _digest(
    connection: apsw.Connection, pause: Callable[[], None], stopping: Callable[[], bool]
) -> str:
    def between_steps() -> None:
        if stopping():
            raise DigestAbandoned
        pause()

    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    for pragma in ("user_version", "application_id"):
        digest.update(msgpack.packb(connection.execute(f"PRAGMA {pragma}").fetchall()))
    objects: list[Any] = connection.execute(
        "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY type, name"
    ).fetchall()
    digest.update(msgpack.packb(objects))
    meta = connection.execute(schema.READ_META).fetchall()
    digest.update(msgpack.packb([row[3:] for row in meta]))
    for kind, name, _table, sql in objects:
        if kind != "table" or name == "_raftzmq_meta" or _is_virtual(sql):
            continue
        digest.update(msgpack.packb(name))
        try:
            table = digest.copy()
            for rows in _chunks(
                connection, _query(connection, name, as_blobs=False), between_steps
            ):
                table.update(rows)
        except UnicodeDecodeError:
            # Text that is not UTF-8: every replica that is equal comes by here as well.
            table = digest.copy()
            for rows in _chunks(connection, _query(connection, name, as_blobs=True), between_steps):
                table.update(rows)
        digest = table
    return digest.hexdigest()


def _chunks(
    connection: apsw.Connection, query: str, between_steps: Callable[[], None]
) -> Iterator[bytes]:
    # msgpack tells 1, 1.0, "1" and b"1" apart.
    packer = msgpack.Packer(autoreset=False)
    for row in connection.execute(query):
        packer.pack(row)
        if len(packer.getbuffer()) >= _BYTES_PER_UPDATE:
            between_steps()
            yield packer.bytes()
            packer.reset()
    between_steps()
    yield packer.bytes()


def _query(connection: apsw.Connection, table: str, *, as_blobs: bool) -> str:
    """A SELECT over all stored columns of ``table`` in the order of its key."""
    information: list[Any] = connection.execute(
        "SELECT name, pk FROM pragma_table_xinfo(?) WHERE hidden <> 1", (table,)
    ).fetchall()
    names = [name for name, _ in information]
    without_rowid = connection.execute(
        "SELECT wr FROM pragma_table_list(?) WHERE schema = 'main'", (table,)
    ).fetchall()[0][0]
    taken = {name.lower() for name in names}
    rowid = next((name for name in _ROWID_NAMES if name not in taken), None)
    columns = [_quoted(name) for name in names]
    if without_rowid:
        order = [_quoted(name) for name, key in sorted(information, key=_key_place) if key]
    elif rowid is not None:
        columns.insert(0, rowid)
        order = [rowid]
    else:
        order = columns
    if as_blobs:
        columns = [f"typeof({name}), CAST({name} AS BLOB)" for name in columns]
    return f"SELECT {', '.join(columns)} FROM {_quoted(table)} ORDER BY {', '.join(order)}"


def _key_place(column: tuple[str, int]) -> int:
    return column[1]


def _quoted(name: str) -> str:
    doubled = name.replace('"', '""')
    return f'"{doubled}"'


def _is_virtual(sql: str | None) -> bool:
    return sql is not None and sql[:14].upper() == "CREATE VIRTUAL"
