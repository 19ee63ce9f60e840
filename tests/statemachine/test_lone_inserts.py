"""Requests without a savepoint give what they would give with one."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from raftzmq.errors import ConstraintFailed, SqlError
from raftzmq.statemachine import statements
from raftzmq.statemachine.lone_inserts import has_consequences, is_lone
from raftzmq.statemachine.machine import LogEntry
from tests.statemachine.world import World, anonymous, entry

LAST = (1 << 63) - 1
ONE = ("INSERT INTO t VALUES(?)", [7])


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO t VALUES (?)",
        "insert into t(a, b) values(1, :b)",
        " INSERT INTO t (a) VALUES (-1.5, ?2, @c, $d, NULL) ",
    ],
)
def test_one_row_is_lone(sql: str) -> None:
    assert is_lone(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO t VALUES (1), (2)",
        "INSERT OR FAIL INTO t VALUES (1)",
        "REPLACE INTO t VALUES (1)",
        "INSERT INTO t VALUES (1) ON CONFLICT DO NOTHING",
        "INSERT INTO t VALUES (1) RETURNING a",
        "INSERT INTO t VALUES (changes())",
        "INSERT INTO t SELECT 1",
        "INSERT INTO t VALUES (1); INSERT INTO t VALUES (2)",
        "INSERT INTO t VALUES (';')",
        "UPDATE t SET a = 1",
    ],
)
def test_anything_else_is_not(sql: str) -> None:
    assert not is_lone(sql)


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        (
            "CREATE TABLE t (a INTEGER PRIMARY KEY, b UNIQUE CHECK (b <> '') DEFAULT 'x')",
            False,
        ),
        ("CREATE TABLE t (a UNIQUE ON CONFLICT FAIL)", True),
        ("CREATE TABLE t (a REFERENCES other)", True),
        ("CREATE TABLE t (a DEFAULT (changes()))", True),
        ("CREATE VIRTUAL TABLE t USING fts5(a)", True),
    ],
)
def test_consequences(world: World, sql: str, expected: bool) -> None:
    assert not has_consequences(world.machine._connection)
    world.ok(sql)
    assert has_consequences(world.machine._connection) is expected


def savepoints(world: World, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The savepoints opened from now on."""
    seen: list[str] = []
    executor = world.machine._executor
    own = executor.own

    def noted(sql: str, parameters: tuple[int, ...] | None = None) -> None:
        if sql.startswith("SAVEPOINT"):
            seen.append(sql)
        own(sql, parameters)

    monkeypatch.setattr(executor, "own", noted)
    return seen


def test_a_lone_insert_opens_no_savepoint(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.ok("CREATE TABLE t(a)")
    world.ok(ONE)
    seen = savepoints(world, monkeypatch)
    world.ok(ONE)
    assert not seen
    world.ok(ONE, ONE)
    assert len(seen) == 1


def test_a_lone_insert_that_fails_leaves_the_others(world: World) -> None:
    world.ok("CREATE TABLE t(a UNIQUE)")
    world.ok(ONE)
    eight, nine = anonymous((ONE[0], [8])), anonymous((ONE[0], [9]))
    codes = [code for code, _ in world.entry(eight, anonymous(ONE), nine)]
    assert codes == [0, ConstraintFailed.code, 0]
    assert world.rows("SELECT a FROM t ORDER BY a") == [[7], [8], [9]]


def test_the_last_rowid_is_taken_back(world: World) -> None:
    text = "INSERT INTO t VALUES(?)"
    world.ok("CREATE TABLE t(id INTEGER PRIMARY KEY)")
    world.ok((text, [1]))
    replies = world.entry(anonymous((text, [2])), anonymous((text, [LAST])), anonymous((text, [3])))
    assert [code for code, _ in replies] == [0, SqlError.code, 0]
    assert world.rows("SELECT id FROM t ORDER BY id") == [[1], [2], [3]]


def test_a_trigger_made_later_counts(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.ok("CREATE TABLE t(a)", "CREATE TABLE log(n)")
    world.ok(ONE)
    world.ok(
        "CREATE TRIGGER twice AFTER INSERT ON t BEGIN INSERT INTO log VALUES(changes());"
        " SELECT RAISE(FAIL, 'no nines') WHERE new.a = 9; END"
    )
    world.ok(ONE)
    seen = savepoints(world, monkeypatch)
    assert world.do((ONE[0], [9]))[0] == ConstraintFailed.code
    assert seen
    assert world.rows("SELECT count(*) FROM log") == [[1]]


@pytest.mark.parametrize("seed", range(5))
def test_replies_and_content_are_those_with_a_savepoint(
    make_world: Callable[[], World], monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    rng = random.Random(seed)
    texts = [
        "INSERT INTO t VALUES(?)",
        "INSERT INTO u(a) VALUES(?)",
        "INSERT INTO t SELECT changes() + 100 * ?",
        "UPDATE u SET b = total_changes() WHERE a > ?",
    ]
    entries: list[LogEntry] = [
        entry(
            1,
            anonymous("CREATE TABLE t(a INTEGER PRIMARY KEY)"),
            anonymous("CREATE TABLE u(a NOT NULL UNIQUE CHECK (a <> 3), b DEFAULT 1)"),
        )
    ]
    for index in range(2, 60):
        requests = [
            anonymous((rng.choice(texts), [rng.choice([None, rng.randrange(200), LAST])]))
            for _ in range(rng.randrange(1, 8))
        ]
        entries.append(entry(index, *requests))
    quick = make_world()
    with monkeypatch.context() as patched:
        patched.setattr(statements, "is_lone", lambda sql: False)
        careful = make_world()
        expected = careful.apply(entries)
    assert quick.apply(entries) == expected
    assert quick.digest() == careful.digest()


def test_changes_of_a_lone_insert_do_not_show_in_the_next_request(world: World) -> None:
    world.ok("CREATE TABLE t(a)")
    world.ok(ONE)
    world.ok(ONE)
    assert world.rows("SELECT changes(), total_changes(), last_insert_rowid()") == [[0, 0, 0]]
