"""What one request does: results, all or nothing, and nothing that leaks into the next."""

from __future__ import annotations

import pytest

from raftzmq import errors
from raftzmq.invariants import InvariantBroken
from raftzmq.statemachine.machine import ApplyInterrupted, LogEntry
from tests.statemachine.world import CLOCK_MS, World, anonymous, entry


def test_results_of_each_statement(world: World) -> None:
    results = world.ok(
        "CREATE TABLE t(a INTEGER PRIMARY KEY, b)",
        ("INSERT INTO t(b) VALUES(?), (?)", ["x", 2.5]),
        ("UPDATE t SET b = :b WHERE a = 1 RETURNING a, b", {"b": b"\x00"}),
        "SELECT * FROM t WHERE 0",
        "",
        "SELECT 1; SELECT 2 AS z",
    )
    assert results == [
        [0, 0, None, None],
        [2, 2, None, None],
        [1, 2, ["a", "b"], [[1, b"\x00"]]],
        [0, 2, ["a", "b"], []],
        [0, 2, None, None],
        [0, 2, ["z"], [[2]]],
    ]


def test_a_request_is_all_or_nothing(world: World) -> None:
    world.ok("CREATE TABLE t(a UNIQUE)")
    code, body = world.do("INSERT INTO t VALUES(1)", "INSERT INTO t VALUES(1)")
    assert code == errors.ConstraintFailed.code
    assert body[0] == "UNIQUE constraint failed: t.a"
    assert world.rows("SELECT * FROM t") == []


def test_or_fail_leaves_no_part_behind(world: World) -> None:
    world.ok("CREATE TABLE t(a UNIQUE)", "INSERT INTO t VALUES(2)")
    code, _ = world.do("INSERT OR FAIL INTO t VALUES(1), (2), (3)")
    assert code == errors.ConstraintFailed.code
    assert world.rows("SELECT * FROM t") == [[2]]


@pytest.mark.parametrize(
    "killer",
    ["INSERT OR ROLLBACK INTO t VALUES(1)", "INSERT INTO t VALUES(-1)"],
    ids=["or-rollback", "raise-rollback"],
)
def test_a_request_that_destroys_the_transaction_takes_only_itself(
    world: World, killer: str
) -> None:
    world.ok(
        "CREATE TABLE t(a UNIQUE)",
        "CREATE TRIGGER g BEFORE INSERT ON t WHEN new.a < 0"
        " BEGIN SELECT RAISE(ROLLBACK, 'no negatives'); END",
        "INSERT INTO t VALUES(1)",
    )
    first = world.next_index
    replies = world.apply(
        [
            entry(
                first,
                anonymous("INSERT INTO t VALUES(2)"),
                anonymous("INSERT INTO t VALUES(3)", killer),
                anonymous("INSERT INTO t VALUES(4)"),
            ),
            entry(first + 1, anonymous(killer), anonymous("INSERT INTO t VALUES(5)")),
        ]
    )
    codes = [[code for code, _ in of_entry] for of_entry in replies]
    assert codes == [[0, errors.ConstraintFailed.code, 0], [errors.ConstraintFailed.code, 0]]
    assert world.rows("SELECT a FROM t ORDER BY a") == [[1], [2], [4], [5]]


def test_counters_do_not_leak_into_the_next_request(world: World) -> None:
    world.ok("CREATE TABLE t(a INTEGER PRIMARY KEY)")
    ask = anonymous("SELECT changes(), total_changes(), last_insert_rowid()")
    first, second = world.entry(anonymous("INSERT INTO t VALUES(7), (8), (9)"), ask)
    (third,) = world.entry(ask)
    assert first[1][0][:2] == [3, 9]
    assert second[1][0][3] == third[1][0][3] == [[0, 0, 0]]
    results = world.ok(
        "INSERT INTO t VALUES(10), (11)", "SELECT changes(), total_changes(), last_insert_rowid()"
    )
    assert results[1][3] == [[2, 2, 11]]


def test_deferred_foreign_keys_are_settled_at_the_end_of_the_request(world: World) -> None:
    world.ok(
        "CREATE TABLE p(id INTEGER PRIMARY KEY)",
        "CREATE TABLE c(p REFERENCES p DEFERRABLE INITIALLY DEFERRED)",
    )
    code, _ = world.do("INSERT INTO c VALUES(1)")
    assert code == errors.ConstraintFailed.code
    world.ok("INSERT INTO c VALUES(1)", "INSERT INTO p VALUES(1)")
    assert world.rows("SELECT p FROM c") == [[1]]


def test_defer_foreign_keys_ends_with_the_request(world: World) -> None:
    world.ok(
        "CREATE TABLE p(id INTEGER PRIMARY KEY)",
        "CREATE TABLE c(id INTEGER PRIMARY KEY, p NOT NULL REFERENCES p)",
    )
    first = world.next_index
    deferring = anonymous(
        "PRAGMA defer_foreign_keys = ON", "INSERT INTO c VALUES(1, 1)", "INSERT INTO p VALUES(1)"
    )
    late = anonymous("INSERT INTO c VALUES(2, 2)", "INSERT INTO p VALUES(2)")
    ((a, b),) = world.apply([entry(first, deferring, late)])
    assert a[0] == 0
    assert b[0] == errors.ConstraintFailed.code


def test_an_entry_may_switch_foreign_keys_off_for_itself(world: World) -> None:
    world.ok("CREATE TABLE p(id INTEGER PRIMARY KEY)", "CREATE TABLE c(p NOT NULL REFERENCES p)")
    first = world.next_index
    orphan = anonymous("INSERT INTO c VALUES(1)")
    replies = world.apply(
        [entry(first, orphan), entry(first + 1, orphan, flags=4), entry(first + 2, orphan)]
    )
    codes = [of_entry[0][0] for of_entry in replies]
    assert codes == [errors.ConstraintFailed.code, 0, errors.ConstraintFailed.code]


def test_time_and_chance_come_from_the_entry(world: World) -> None:
    world.ok("CREATE TABLE t(a DEFAULT CURRENT_TIMESTAMP, b DEFAULT (random()), c)")
    ask = anonymous(
        "INSERT INTO t(c) VALUES(randomblob(4))",
        "SELECT a, b, c, datetime('now'), strftime('%s', 'now'), unixepoch('subsec'),"
        " random() = random() FROM t",
        "DELETE FROM t",
    )
    one, two = world.entry(ask, ask, clock_ms=CLOCK_MS + 5_250, seed=1)
    again = world.entry(ask, clock_ms=CLOCK_MS + 5_250, seed=1)[0]
    other = world.entry(ask, clock_ms=CLOCK_MS + 5_250, seed=2)[0]
    row = one[1][1][3][0]
    assert row[0] == row[3] == "2023-11-14 22:13:25"
    assert row[4:] == ["1700000005", 1700000005.25, 0]
    assert row[1] != two[1][1][3][0][1]
    assert row[2] != two[1][1][3][0][2]
    assert one == again
    assert one != two
    assert one != other


def test_time_never_goes_back(world: World) -> None:
    ask = anonymous("SELECT unixepoch()")
    later = world.entry(ask, clock_ms=CLOCK_MS + 60_000)
    earlier = world.entry(ask, clock_ms=CLOCK_MS)
    assert earlier == later
    world.reopen()
    assert world.entry(ask, clock_ms=CLOCK_MS) == later


def test_order_by_random_shuffles(world: World) -> None:
    numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 50)"
    rows = world.rows(f"{numbers} SELECT i FROM n ORDER BY random()")
    assert [row[0] for row in rows] != list(range(1, 51))
    assert sorted(row[0] for row in rows) == list(range(1, 51))


def test_the_applied_index_moves_with_the_effects(world: World) -> None:
    assert world.machine.applied == (0, 0)
    world.machine.apply([LogEntry(1, 3, b"")])
    assert world.machine.applied == (1, 3)
    world.ok("CREATE TABLE t(a)")
    world.reopen()
    assert world.machine.applied == (2, 1)


def test_gaps_and_garbage_entries_break_an_invariant(world: World) -> None:
    with pytest.raises(InvariantBroken, match="in order"):
        world.machine.apply([LogEntry(2, 1, b"")])
    with pytest.raises(InvariantBroken, match="not a command"):
        world.machine.apply([LogEntry(1, 1, b"\x01")])
    assert world.machine.applied == (0, 0)


def test_interrupt_applies_nothing(world: World) -> None:
    world.ok("CREATE TABLE t(a)")
    world.machine.interrupt()
    with pytest.raises(ApplyInterrupted):
        world.do("INSERT INTO t VALUES(1)")
    applied = world.machine.applied
    world.reopen()
    assert world.machine.applied == applied
    assert world.rows("SELECT * FROM t") == []
