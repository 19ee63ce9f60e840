"""A hash over the content of state.db, equal on replicas that are equal (P6).

Covered: the text of the schema, every row of every table (shadow tables of virtual tables
included, the virtual tables themselves not), rowids, user_version, application_id, the
ledger and the replicated clock. Not covered: how pages are laid out, which depends on how
entries were grouped; and the applied index, which is returned beside.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import apsw
import msgpack

from raftzmq.statemachine import schema
from raftzmq.statemachine.database import damaged
from raftzmq.statemachine.outcomes import storage_failed
from raftzmq.statemachine.readers import open_reader

_BYTES_PER_UPDATE: Final = 64 << 10
"""Packing holds the interpreter lock: more at once would keep a node's raft thread waiting."""
_DIGEST_BYTES: Final = 32
_ROWID_NAMES: Final = ("rowid", "_rowid_", "oid")


def content_digest(path: Path) -> tuple[int, str]:
    """Hash the content of state.db on one snapshot, while a writer may go on.

    Returns:
        The applied index of the snapshot, and the hash in hexadecimal.

    Raises:
        StorageDamaged: SQLite finds the file malformed.
        StorageFailed: the file cannot be read.
    """
    connection = open_reader(path)
    try:
        connection.execute("BEGIN")
        applied: list[Any] = connection.execute(schema.READ_APPLIED).fetchall()
        return int(applied[0][0]), digest_snapshot(connection)
    except apsw.CorruptError as error:
        raise damaged(path, str(error)) from error
    except apsw.Error as error:
        raise storage_failed(error) from error
    finally:
        connection.close(True)


def digest_snapshot(connection: apsw.Connection) -> str:
    """Hash what ``connection`` sees; it should hold a read transaction."""
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
            for rows in _chunks(connection, _query(connection, name, as_blobs=False)):
                table.update(rows)
        except UnicodeDecodeError:
            # Text that is not UTF-8: every replica that is equal comes by here as well.
            table = digest.copy()
            for rows in _chunks(connection, _query(connection, name, as_blobs=True)):
                table.update(rows)
        digest = table
    return digest.hexdigest()


def _chunks(connection: apsw.Connection, query: str) -> Iterator[bytes]:
    # msgpack tells 1, 1.0, "1" and b"1" apart.
    packer = msgpack.Packer(autoreset=False)
    for row in connection.execute(query):
        packer.pack(row)
        if len(packer.getbuffer()) >= _BYTES_PER_UPDATE:
            yield packer.bytes()
            packer.reset()
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
