"""What users' SQL may not touch, and what it may."""

from __future__ import annotations

import time

import msgpack
import pytest

from raftzmq import errors
from raftzmq.statemachine import schema, statements
from raftzmq.statemachine.readers import Reader
from tests.statemachine.world import World, payload

FORBIDDEN = [
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "SAVEPOINT x",
    "RELEASE x",
    "ROLLBACK TO x",
    "SAVEPOINT raftzmq_request",
    "RELEASE raftzmq_request",
    "SELECT 1; RELEASE raftzmq_request",
    "ATTACH ':memory:' AS other",
    "DETACH other",
    "CREATE TEMP TABLE x(a)",
    "CREATE TABLE temp.x(a)",
    "CREATE VIEW temp.x AS SELECT 1",
    "CREATE TRIGGER temp.x AFTER INSERT ON t BEGIN SELECT 1; END",
    "EXPLAIN SELECT 1",
    "CREATE TEMP VIEW x AS SELECT 1",
    "CREATE TEMP TRIGGER x AFTER INSERT ON t BEGIN SELECT 1; END",
    "CREATE VIRTUAL TABLE temp.x USING fts5(a)",
    "CREATE VIRTUAL TABLE x USING dbstat",
    "SELECT * FROM _raftzmq_meta",
    "SELECT count(*) FROM _RAFTZMQ_LEDGER",
    "SELECT (SELECT applied_index FROM main._raftzmq_meta)",
    "UPDATE _raftzmq_meta SET applied_index = 0",
    schema.NO_CHANGE,
    schema.WRITE_DURABLE,
    "DROP TABLE _raftzmq_ledger",
    "CREATE TABLE _raftzmq_more(a)",
    "CREATE INDEX x ON _raftzmq_ledger(clock_ms)",
    "CREATE TRIGGER x AFTER INSERT ON _raftzmq_ledger BEGIN SELECT 1; END",
    "CREATE VIEW _raftzmq_view AS SELECT 1",
    "ALTER TABLE _raftzmq_meta RENAME TO mine",
    "ALTER TABLE t RENAME TO _raftzmq_mine",
    'ALTER TABLE t RENAME TO "_RaftZmq_mine"',
    "CREATE VIEW v AS SELECT * FROM _raftzmq_meta; SELECT * FROM v",
    "SELECT * FROM dbstat",
    "CREATE VIRTUAL TABLE x USING fts4(a)",
    "ANALYZE; UPDATE sqlite_stat1 SET stat = '9 9'",
    "ANALYZE; DELETE FROM sqlite_stat1",
    "ANALYZE; DROP TABLE sqlite_stat1",
    "ANALYZE; INSERT INTO sqlite_stat1 VALUES('t', 'ti', '9 9')",
    "ANALYZE; CREATE TRIGGER x AFTER INSERT ON t BEGIN DELETE FROM sqlite_stat1; END;"
    " INSERT INTO t VALUES(1)",
    "UPDATE sqlite_sequence SET seq = 5",
    "INSERT INTO sqlite_sequence VALUES('x', 5)",
    "PRAGMA journal_mode = DELETE",
    "PRAGMA synchronous = OFF",
    "PRAGMA writable_schema = ON",
    "PRAGMA foreign_keys = OFF",
    "PRAGMA query_only = ON",
    "PRAGMA recursive_triggers = ON",
    "PRAGMA case_sensitive_like = ON",
    "PRAGMA reverse_unordered_selects = ON",
    "PRAGMA legacy_alter_table = ON",
    "PRAGMA ignore_check_constraints = ON",
    "PRAGMA schema_version = 9",
    "PRAGMA data_version",
    "PRAGMA page_size = 8192",
    "PRAGMA encoding = 'UTF-16'",
    "PRAGMA wal_checkpoint",
    "PRAGMA optimize",
    "PRAGMA database_list",
    "PRAGMA table_list",
    "/* hidden */ pragma\tcache_size = 1",
    "SELECT * FROM pragma_data_version",
    "SELECT count(*) FROM pragma_database_list",
    "SELECT load_extension('x')",
    "SELECT fts3_tokenizer('simple')",
]
REFUSED_BY_SQLITE = [
    "VACUUM",
    "VACUUM INTO 'x'",
    "INSERT INTO sqlite_master VALUES('table', 'x', 'x', 0, '')",
    "UPDATE sqlite_master SET sql = ''",
    "DELETE FROM sqlite_schema",
    "SELECT readfile('/etc/passwd')",
    "SELECT current_setting('x')",
]
ALLOWED = [
    "SELECT name, type, sql FROM sqlite_master",
    "PRAGMA table_info(t)",
    "PRAGMA table_xinfo('t')",
    "SELECT name FROM pragma_table_info('t')",
    "PRAGMA index_list(t)",
    "PRAGMA index_info(ti)",
    "PRAGMA foreign_key_list(t)",
    "PRAGMA foreign_key_check",
    "PRAGMA user_version",
    "PRAGMA user_version = 3",
    "PRAGMA application_id = 3",
    "PRAGMA defer_foreign_keys = ON",
    "CREATE TABLE x(a INTEGER PRIMARY KEY AUTOINCREMENT); ALTER TABLE x RENAME TO y",
    "ALTER TABLE t ADD COLUMN z DEFAULT 3; ALTER TABLE t DROP COLUMN z",
    "ALTER TABLE t RENAME COLUMN a TO b",
    "DELETE FROM sqlite_sequence",
    "CREATE VIEW v AS SELECT * FROM t; SELECT * FROM v; DROP VIEW v",
    "DROP INDEX ti; DROP TABLE t",
    "EXPLAIN QUERY PLAN SELECT 1",
    "ANALYZE",
    "REINDEX",
    "CREATE VIRTUAL TABLE f USING fts5(a); INSERT INTO f VALUES('word');"
    " SELECT * FROM f WHERE f MATCH 'word'; INSERT INTO f(f) VALUES('optimize'); DROP TABLE f",
    "CREATE VIRTUAL TABLE r USING rtree(i, a, b); INSERT INTO r VALUES(1, 2, 3);"
    " SELECT * FROM r; DROP TABLE r",
]


@pytest.fixture
def prepared(world: World) -> World:
    world.ok(
        "CREATE TABLE t(a)",
        "CREATE INDEX ti ON t(a)",
        "CREATE TABLE s(a INTEGER PRIMARY KEY AUTOINCREMENT)",
    )
    return world


@pytest.mark.parametrize("sql", FORBIDDEN)
def test_forbidden(prepared: World, sql: str) -> None:
    for _ in range(2):  # the second time from the statement cache, if it were cached
        code, (message, _) = prepared.do("INSERT INTO t VALUES(1)", sql)
        assert code == errors.Forbidden.code, message
        assert message
    assert prepared.rows("SELECT count(*) FROM t") == [[0]]


@pytest.mark.parametrize("sql", REFUSED_BY_SQLITE)
def test_refused_by_sqlite_itself(prepared: World, sql: str) -> None:
    code, _ = prepared.do(sql)
    assert code in (errors.Forbidden.code, errors.SqlError.code)


@pytest.mark.parametrize("sql", ALLOWED)
def test_allowed(prepared: World, sql: str) -> None:
    prepared.ok(sql)


def test_page_numbers_read_as_null(prepared: World) -> None:
    assert prepared.rows("SELECT DISTINCT rootpage FROM sqlite_master") == [[None]]


def test_analyze_leaves_the_ledger_out(prepared: World) -> None:
    prepared.ok("INSERT INTO t VALUES(1)", "ANALYZE")
    found = prepared.rows("SELECT DISTINCT tbl FROM sqlite_stat1 ORDER BY 1")
    assert found == [["t"]]


def test_the_machines_own_statements_are_not_lent_by_the_cache(prepared: World) -> None:
    for text in (statements._OPEN, statements._KEEP, statements._UNDO, "COMMIT"):
        assert prepared.do(text)[0] == errors.Forbidden.code


READER_FORBIDDEN = [
    "BEGIN",
    "COMMIT",
    "ATTACH ':memory:' AS other",
    "SELECT * FROM _raftzmq_meta",
    "PRAGMA query_only = OFF",
    "PRAGMA user_version = 4",
    "PRAGMA wal_checkpoint",
    "CREATE TEMP TABLE x(a)",
]
READER_WRITES = ["INSERT INTO t VALUES(1)", "DELETE FROM t", "CREATE TABLE x(a)", "ANALYZE"]
READER_ALLOWED = [
    "SELECT random(), datetime('now')",
    "PRAGMA table_list",
    "PRAGMA integrity_check",
    "PRAGMA user_version",
    "SELECT rootpage FROM sqlite_master",
    "SELECT count(*) FROM dbstat",
    "EXPLAIN QUERY PLAN SELECT * FROM t",
]


def test_readers(prepared: World) -> None:
    reader = Reader(prepared.path)

    def ask(sql: str) -> tuple[int, object]:
        reply = reader.run(payload(sql), timeout_ms=5_000, monotonic=time.monotonic)
        return reply.code, msgpack.unpackb(reply.body)

    for _ in range(2):
        for sql in READER_FORBIDDEN:
            assert ask(sql)[0] == errors.Forbidden.code, sql
        for sql in READER_WRITES:
            assert ask(sql)[0] == errors.NotAQuery.code, sql
        for sql in READER_ALLOWED:
            assert ask(sql)[0] == 0, sql
    reader.close()
