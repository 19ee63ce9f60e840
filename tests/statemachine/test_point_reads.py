"""Point reads are known by what SQLite made of them, under the schema as it is."""

from __future__ import annotations

from typing import Any

import apsw
import pytest

from raftzmq.statemachine.point_reads import (
    KNOWN_MAX,
    PAYLOAD_BYTES_MAX,
    PointReads,
    is_point_read,
)
from raftzmq.statemachine.readers import Reader
from tests.statemachine.world import World, payload

SCHEMA = """
CREATE TABLE t(id INTEGER PRIMARY KEY, a, b UNIQUE);
CREATE INDEX ta ON t(a);
CREATE TABLE pair(x, y, v, PRIMARY KEY (x, y)) WITHOUT ROWID;
CREATE TABLE kv(k TEXT PRIMARY KEY, v);
CREATE VIEW seen AS SELECT id, a FROM t;
CREATE VIRTUAL TABLE words USING fts5(w);
"""
ONE_ROW = (
    "SELECT a FROM t WHERE id = ?",
    "select * from t where id = :id",
    " SELECT a, 1, 'x', NULL, 2.5 FROM t WHERE id = ? LIMIT 1",
    "SELECT a FROM t WHERE b = ?",
    "SELECT v FROM kv WHERE k = ?",
    "SELECT v FROM pair WHERE x = ? AND y = 2",
    "SELECT a FROM seen WHERE id = ?",
    "SELECT t.a, kv.v FROM t JOIN kv ON kv.k = t.b WHERE t.id = ?",
    "SELECT 1",
)
MAYBE_MORE = (
    "SELECT a FROM t WHERE a = ?",
    "SELECT v FROM pair WHERE x = ?",
    "SELECT v FROM kv WHERE k IN (?, ?)",
    "SELECT a FROM t WHERE id > ?",
    "SELECT * FROM t",
    "SELECT a FROM t WHERE id = ? UNION ALL SELECT a FROM t",
    "SELECT count(*) FROM t",
    "SELECT max(id) FROM t",
    "SELECT hex(a) FROM t WHERE id = ?",
    "SELECT a || a FROM t WHERE id = ?",
    "SELECT a FROM t WHERE id = ? AND a LIKE '%x'",
    "SELECT a FROM t ORDER BY b LIMIT 1",
    "SELECT w FROM words WHERE rowid = ?",
    "SELECT (SELECT count(*) FROM t) FROM t WHERE id = ?",
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n LIMIT 1",
    "EXPLAIN SELECT a FROM t WHERE id = 1",
    "SELECT nothing FROM t",
)


@pytest.fixture(scope="module")
def connection() -> apsw.Connection:
    made = apsw.Connection(":memory:")
    made.execute(SCHEMA)
    return made


def parameters(sql: str) -> Any:
    return {"id": 1} if ":id" in sql else [1] * sql.count("?")


@pytest.mark.parametrize("sql", ONE_ROW)
def test_one_row_by_its_key(connection: apsw.Connection, sql: str) -> None:
    assert is_point_read(connection, sql, parameters(sql))


@pytest.mark.parametrize("sql", MAYBE_MORE)
def test_whatever_may_take_longer(connection: apsw.Connection, sql: str) -> None:
    assert not is_point_read(connection, sql, parameters(sql))


def test_a_reader_learns_them_and_forgets_them_with_the_schema(world: World) -> None:
    world.ok("CREATE TABLE t(id INTEGER PRIMARY KEY, a)", "CREATE TABLE u(id, a)")
    points = PointReads()
    reader = Reader(world.path, points=points)

    def ask(*statements: Any) -> bytes:
        sent = payload(*statements)
        assert reader.run(sent, timeout_ms=1_000, monotonic=float).code == 0
        return sent

    by_key = ask(("SELECT a FROM t WHERE id = ?", [1]))
    assert points.is_one(by_key)
    assert points.is_one(payload(("SELECT a FROM t WHERE id = ?", [2])))
    assert not points.is_one(ask(("SELECT a FROM u WHERE id = ?", [1])))
    assert not points.is_one(payload(*[("SELECT a FROM t WHERE id = ?", [1])] * 2))
    assert not points.is_one(b"\xc1")
    assert points.schema_version == reader.schema_version

    world.ok("ALTER TABLE t ADD COLUMN b")
    ask(("SELECT b FROM t WHERE id = ?", [1]))
    assert points.schema_version == reader.schema_version
    assert not points.is_one(by_key), "it may be something else by now"
    reader.close()


def test_one_with_much_to_decode_is_none() -> None:
    points = PointReads()
    points.learn("SELECT ?", 1)
    assert points.is_one(payload(("SELECT ?", ["x" * (PAYLOAD_BYTES_MAX // 2)])))
    assert not points.is_one(payload(("SELECT ?", ["x" * PAYLOAD_BYTES_MAX])))


def test_they_are_bounded() -> None:
    points = PointReads()
    texts = [f"SELECT {n}" for n in range(KNOWN_MAX + 1)]
    for sql in texts:
        points.learn(sql, 1)
    assert sum(points.is_one(payload(sql)) for sql in texts) == 1
