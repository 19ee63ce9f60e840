"""The same log gives the same content and the same replies, however it is applied (P6).

Two replicas apply the same random entries: one in the groups it is given, one in other groups,
closing and reopening its file and checkpointing in between. Replies and content must agree.
"""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raftzmq.statemachine.bounds import ApplyLimits
from raftzmq.statemachine.command import Request
from raftzmq.statemachine.machine import EntryResult, LogEntry
from tests.statemachine.world import CLOCK_MS, World, anonymous, entry, payload

SCHEMA = [
    "CREATE TABLE a(id INTEGER PRIMARY KEY, n INT, made DEFAULT CURRENT_TIMESTAMP,"
    " luck DEFAULT (random()), tag DEFAULT (hex(randomblob(3))), CHECK (n < 900))",
    "CREATE TABLE b(id INTEGER PRIMARY KEY AUTOINCREMENT, n INT UNIQUE, at DEFAULT"
    " (strftime('%s', 'now')))",
    "CREATE TABLE c(k TEXT, v, PRIMARY KEY (k, v)) WITHOUT ROWID",
    "CREATE TABLE parent(id INTEGER PRIMARY KEY)",
    "CREATE TABLE child(p REFERENCES parent DEFERRABLE INITIALLY DEFERRED)",
    "CREATE TABLE journal(what, at DEFAULT (unixepoch('subsec')), r DEFAULT (random() % 100),"
    " counted)",
    "CREATE VIRTUAL TABLE words USING fts5(body)",
    "CREATE TRIGGER a_in AFTER INSERT ON a BEGIN"
    " INSERT INTO journal(what, counted) VALUES('a' || new.id, changes());"
    " INSERT INTO words(body) VALUES('word' || new.n || ' ' || hex(randomblob(1))); END",
    "CREATE TRIGGER b_in BEFORE INSERT ON b WHEN new.n % 7 = 0"
    " BEGIN SELECT RAISE(ROLLBACK, 'seven'); END",
    "CREATE TRIGGER b_up AFTER UPDATE ON b BEGIN"
    " INSERT INTO journal(what, counted) VALUES('b', total_changes()); END",
]

number = st.integers(0, 40)


def _sql(template: str) -> st.SearchStrategy[tuple[str, list[int]]]:
    return st.lists(number, min_size=template.count("?"), max_size=template.count("?")).map(
        lambda values: (template, values)
    )


statement = st.sampled_from(
    [
        "INSERT INTO a(n) VALUES(?)",
        "INSERT INTO a(n) VALUES(?), (?), (?) RETURNING *",
        "INSERT INTO a(n) SELECT n + ? FROM a ORDER BY random() LIMIT 3",
        "INSERT OR REPLACE INTO a(id, n) VALUES(?, ?)",
        "UPDATE a SET n = n + ?, luck = random() WHERE id % 3 = ?",
        "DELETE FROM a WHERE id IN (SELECT id FROM a ORDER BY random() LIMIT 2)",
        "UPDATE a SET n = 1000 WHERE id = ?",
        "INSERT INTO b(n) VALUES(?)",
        "INSERT OR IGNORE INTO b(n) VALUES(?), (?)",
        "INSERT OR FAIL INTO b(n) VALUES(?), (?), (?)",
        "INSERT OR ROLLBACK INTO b(n) VALUES(?), (?)",
        "UPDATE b SET n = n + 1 WHERE n > ?",
        "DELETE FROM b WHERE n = ? RETURNING id, at",
        "INSERT INTO c VALUES(CAST(? AS TEXT), datetime('now')), ('x', random())",
        "INSERT INTO c VALUES(CURRENT_TIME, last_insert_rowid()), (changes(), total_changes())",
        "INSERT INTO child VALUES(?)",
        "INSERT INTO parent VALUES(?)",
        "PRAGMA defer_foreign_keys = ON",
        "DELETE FROM parent WHERE id = ?",
        "INSERT INTO words(body) VALUES('word' || ?)",
        "DELETE FROM words WHERE rowid % 5 = ?",
        "SELECT rowid, body FROM words WHERE words MATCH 'word3 OR word5' ORDER BY random()",
        "INSERT INTO words(words) VALUES('optimize')",
        "SELECT * FROM a WHERE n > ? LIMIT 4",
        "CREATE TABLE IF NOT EXISTS extra(x DEFAULT (random()), y UNIQUE)",
        "INSERT INTO extra(y) VALUES(?)",
        "INSERT INTO extra(y) SELECT n FROM a WHERE n < ?",
        "DROP TABLE extra",
        "ALTER TABLE extra ADD COLUMN z DEFAULT 5",
        "CREATE INDEX IF NOT EXISTS a_n ON a(n, luck)",
        "DROP INDEX IF EXISTS a_n",
        "INSERT INTO journal(what) SELECT id FROM a WHERE n > ? AND luck > 0 LIMIT 2",
        "ANALYZE",
        "PRAGMA user_version = 7",
        "BEGIN",
        "syntax error",
        "SELECT ?; INSERT INTO b(n) VALUES(3)",
    ]
).flatmap(_sql)
request = st.tuples(
    st.sampled_from([b"", b"ann-0123", b"bob-0123"]),
    st.integers(1, 6),
    st.lists(statement, min_size=1, max_size=3),
)
ask_counters = (b"", 0, [("INSERT INTO c VALUES(changes(), last_insert_rowid())", [])])
entries = st.lists(
    st.tuples(
        st.lists(request, max_size=4),
        st.one_of(st.integers(0, 3_000), st.sampled_from([-(10**11), -70_000, 90_000, 10**11])),
        st.sampled_from([0, 0, 0, 4, 8, 8, 12]),
        st.integers(0, 3),
    ),
    min_size=3,
    max_size=12,
)
LEADERS = (
    ApplyLimits(
        ledger_ms=6_000, ledger_bytes_max=3_000, key_ledger_ms=9_000, key_ledger_bytes_max=2_000
    ),
    ApplyLimits(ledger_bytes_max=300, key_ledger_bytes_max=300, result_bytes_max=20),
    ApplyLimits(ledger_ms=0, key_ledger_ms=100, statements_max=2, parameters_max=20),
    ApplyLimits(),
)
"""The limits of the leaders that made the entries; no replica has any of its own."""
Plan = list[tuple[list[tuple[bytes, int, list[tuple[str, list[int]]]]], int, int, int]]


def _log(plan: Plan) -> list[LogEntry]:
    log = [entry(1, anonymous(*SCHEMA)), LogEntry(2, 1, b"")]
    for requests, later_ms, flags, leader in plan:
        index = len(log) + 1
        wanted = [*requests, ask_counters] if index % 3 == 0 else requests
        made = [Request(c, n, index - 2, payload(*what)) for c, n, what in wanted]
        clock_ms = CLOCK_MS + index * 100 + later_ms
        log.append(entry(index, *made, clock_ms=clock_ms, flags=flags, limits=LEADERS[leader]))
    return log


def _apply_in_groups(world: World, log: list[LogEntry], seed: int) -> list[EntryResult]:
    rng = random.Random(seed)
    results: list[EntryResult] = []
    while len(results) < len(log):
        size = rng.randrange(1, 6)
        results += world.machine.apply(log[len(results) : len(results) + size])
        if rng.random() < 0.2:
            world.machine.checkpoint()
        if rng.random() < 0.2:
            world.reopen()
    return results


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
@given(plan=entries, grouping=st.integers(0, 1 << 32))
def test_any_grouping_gives_the_same_content_and_replies(plan: Plan, grouping: int) -> None:
    compare_two_replicas(_log(plan), grouping)


def compare_two_replicas(log: list[LogEntry], grouping: int) -> None:
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
        a = World(Path(one))
        b = World(Path(two))
        try:
            replies_a = a.machine.apply(log)
            replies_b = _apply_in_groups(b, log, grouping)
            for of_a, of_b in zip(replies_a, replies_b, strict=True):
                assert of_a == of_b
            assert a.digest() == b.digest()
            assert a.machine.clock_ms == b.machine.clock_ms
        finally:
            a.machine.close()
            b.machine.close()


PLAN = "EXPLAIN QUERY PLAN SELECT * FROM t WHERE a = 1 AND b = 2"
FILLED = (
    "CREATE TABLE t(a, b, c)",
    "CREATE INDEX tb ON t(b)",
    "CREATE INDEX ta ON t(a)",
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)"
    " INSERT INTO t SELECT i % 900, 2, i FROM n",
)


def _plan(world: World) -> str:
    return world.rows(PLAN)[0][3]


def test_a_rolled_back_analyze_leaves_no_trace_in_memory(world: World) -> None:
    world.ok(*FILLED, "ANALYZE")
    informed = _plan(world)
    world.ok("DELETE FROM t WHERE a > 10", "UPDATE t SET b = c, a = 1")
    assert _plan(world) == informed
    code, _ = world.do("ANALYZE", "syntax error")
    assert code != 0
    assert _plan(world) == informed
    world.ok("ANALYZE")
    assert _plan(world) != informed


def test_plans_are_those_of_a_replica_that_restarted(world: World) -> None:
    world.ok(*FILLED, "ANALYZE", "CREATE TABLE u(a)", "CREATE INDEX ua ON u(a)")
    world.ok("DROP INDEX ta", "DROP INDEX tb")
    join = "EXPLAIN QUERY PLAN SELECT * FROM u, t WHERE t.a = u.a"
    running = world.rows(join)
    world.reopen()
    assert world.rows(join) == running


def test_the_digest_sees_small_differences(tmp_path: Path) -> None:
    digests = set()
    variants = ["1", "1.0", "'1'", "x'31'", "NULL", "'\u0001'", "CAST(x'ff' AS TEXT)", "x'ff'"]
    for number_, value in enumerate(variants):
        folder = tmp_path / str(number_)
        folder.mkdir()
        world = World(folder)
        world.ok("CREATE TABLE t(a)", f"INSERT INTO t VALUES({value})")
        digests.add(world.digest())
        world.machine.close()
    assert len(digests) == len(variants)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE t SET rowid = 9",
        "PRAGMA user_version = 3",
        "CREATE INDEX i ON t(a)",
        "INSERT INTO w VALUES('k', 'v')",
        "INSERT INTO f VALUES('word')",
        "INSERT INTO odd VALUES(1, 2, 3)",
    ],
)
def test_the_digest_covers(world: World, change: str) -> None:
    world.ok(
        "CREATE TABLE t(a)",
        "INSERT INTO t VALUES(5)",
        "CREATE TABLE w(k PRIMARY KEY, v) WITHOUT ROWID",
        "CREATE VIRTUAL TABLE f USING fts5(a)",
        'CREATE TABLE odd(rowid, _rowid_, "oid")',
    )
    before = world.digest()
    assert world.digest() == before
    # The clock stands still, so that only the change can make a difference.
    world.entry(anonymous("SELECT 1"), clock_ms=world.machine.clock_ms)
    assert world.digest() == before
    world.entry(anonymous(change), clock_ms=world.machine.clock_ms)
    assert world.digest() != before
