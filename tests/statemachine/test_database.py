"""The settings of state.db's writer: what they bound, and what they must not change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import apsw
import pytest

from raftzmq.limits import STATE_CACHE_BYTES
from raftzmq.statemachine.bounds import ApplyLimits
from raftzmq.statemachine.database import open_writer
from raftzmq.statemachine.readers import Reader
from tests.statemachine.world import World, payload

_FILL = (
    "INSERT INTO t(v) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n"
    " WHERE i < 8000) SELECT zeroblob(4000) FROM n"
)


def test_the_cache_is_bounded_whatever_a_transaction_writes_and_reads(world: World) -> None:
    world.ok("CREATE TABLE t(id INTEGER PRIMARY KEY, v)", _FILL)
    world.ok("UPDATE t SET v = zeroblob(3999)", "SELECT sum(length(v)) FROM t")
    used = world.machine._connection.status(apsw.SQLITE_DBSTATUS_CACHE_USED)[0]
    assert world.path.stat().st_size + _wal(world.path) > 2 * STATE_CACHE_BYTES
    assert STATE_CACHE_BYTES // 2 < used < STATE_CACHE_BYTES * 9 // 8, used >> 20


def _wal(path: Path) -> int:
    return path.with_name(path.name + "-wal").stat().st_size


@pytest.mark.parametrize(
    "query",
    [
        "SELECT id FROM t ORDER BY k",
        "SELECT id FROM t ORDER BY k DESC",
        "SELECT k, group_concat(id) FROM t GROUP BY k",
        "SELECT id, row_number() OVER (ORDER BY k) FROM t",
        "SELECT DISTINCT k FROM t",
    ],
)
def test_the_order_of_equal_keys_does_not_depend_on_the_cache(tmp_path: Path, query: str) -> None:
    """The cache's size may differ between versions, so what a statement does must not hang on it.

    Sorts by 1 MiB and by 64 KiB are merged from several parts.
    """
    connection = open_writer(tmp_path / "state.db", apsw.vfs_names()[0], ApplyLimits())
    connection.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, k, v)")
    connection.execute(
        "INSERT INTO t WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n"
        " WHERE i < 50000) SELECT i, i * 7919 % 50, printf('%.60c', 'x') FROM n"
    )
    found: list[Any] = []
    for kib in (STATE_CACHE_BYTES >> 10, 1 << 10, 64):
        connection.execute(f"PRAGMA cache_size = -{kib}")
        found.append(connection.execute(query).fetchall())
    connection.close()
    assert found[0] == found[1] == found[2]


def test_cached_statements_keep_no_large_parameters(world: World) -> None:
    world.ok("CREATE TABLE t(id INTEGER PRIMARY KEY, v)", "INSERT INTO t(v) VALUES(1)")
    large = bytes(1 << 20)
    for number in range(8):
        plain = f"INSERT INTO t(v) VALUES(substr(?, {number + 1}))"
        for sql in (
            plain,
            plain + " RETURNING id",
            f"UPDATE t SET v = length(?) WHERE id = {number}",
        ):
            for _ in range(2):  # learnt with the first run
                assert world.do((sql, [large]))[0] == 0
    used = world.machine._connection.status(apsw.SQLITE_DBSTATUS_STMT_USED)[0]
    assert used < len(large)


def test_a_reader_keeps_no_large_parameters(world: World) -> None:
    world.ok("CREATE TABLE t(v)")
    reader = Reader(world.path)
    large = bytes(1 << 20)
    for number in range(8):
        for _ in range(2):
            query = payload((f"SELECT length(?), {number}", [large]))
            assert reader.run(query, timeout_ms=60_000, monotonic=lambda: 0.0).code == 0
    used = reader._connection.status(apsw.SQLITE_DBSTATUS_STMT_USED)[0]
    reader.close()
    assert used < len(large)
