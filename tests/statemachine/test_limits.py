"""Every limit on a write ends that request, with the same verdict on every replica (P8)."""

from __future__ import annotations

import msgpack
import pytest

from raftzmq import errors
from raftzmq.statemachine.bounds import ApplyLimits
from raftzmq.statemachine.command import Request
from tests.statemachine.conftest import MakeWorld
from tests.statemachine.world import World, anonymous, entry, opened, payload

COUNT = (
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {})"
    " INSERT INTO t SELECT max(i) FROM n"
)

SHORT = COUNT.format("?") + " -- leaves its counter just below the next check"


def test_steps(make_world: MakeWorld) -> None:
    few = ApplyLimits(steps_max=1_000_000)
    world = make_world(few)
    world.ok("CREATE TABLE t(a)")
    first = world.next_index
    replies = world.apply(
        [
            entry(first, anonymous("INSERT INTO t VALUES(-1)"), limits=few),
            entry(
                first + 1,
                anonymous("INSERT INTO t VALUES(-2)"),
                anonymous("INSERT INTO t VALUES(-3)", COUNT.format(10_000_000)),
                anonymous(COUNT.format(10)),
                limits=few,
            ),
            entry(first + 2, anonymous("INSERT INTO t VALUES(-4)"), limits=few),
        ]
    )
    codes = [[code for code, _ in of_entry] for of_entry in replies]
    assert codes == [[0], [0, errors.StatementTimeout.code, 0], [0]]
    assert world.rows("SELECT a FROM t ORDER BY a") == [[-4], [-2], [-1], [10]]


def test_the_step_verdict_does_not_depend_on_what_ran_before(make_world: MakeWorld) -> None:
    """A cached statement's counter may stand anywhere; near the limit the verdict may not."""
    bounds = ApplyLimits(steps_max=100_000)
    plain, used = make_world(bounds), make_world(bounds)
    for world in (plain, used):
        world.ok("CREATE TABLE t(a)")

    def verdict(world: World, size: int, short: int = 1) -> int:
        return world.do((SHORT, [short]), (COUNT.format("?"), [size]))[0]

    low, high = 100, 100_000
    while high - low > 20:
        middle = (low + high) // 2
        low, high = (low, middle) if verdict(plain, middle) else (middle, high)
    # Steps are counted in tenths of the limit here; a tenth is low / 10 rows.
    short = low * 95 // 1_000
    for size in range(low - 900, low + 900, 100):
        used.ok((SHORT, [short]))
        assert verdict(used, size, short) == verdict(plain, size, short)
        assert verdict(used, size, short) == (0 if size <= low else errors.StatementTimeout.code), (
            size
        )


def test_result_bytes(make_world: MakeWorld) -> None:
    world = make_world(ApplyLimits(result_bytes_max=1_000))
    world.ok("CREATE TABLE t(a)")
    code, _ = world.do("INSERT INTO t VALUES(zeroblob(600)), (zeroblob(600)) RETURNING a")
    assert code == errors.TooLarge.code
    two = "INSERT INTO t VALUES(zeroblob(600)) RETURNING a"
    assert world.do(two, two)[0] == errors.TooLarge.code
    assert world.rows("SELECT count(*) FROM t") == [[0]]
    world.ok(two)


def test_statements(make_world: MakeWorld) -> None:
    world = make_world(ApplyLimits(statements_max=3))
    world.ok("SELECT 1", "SELECT 1", "SELECT 1; SELECT 2; SELECT 3")
    assert world.do(*["SELECT 1"] * 4)[0] == errors.TooLarge.code
    assert world.do("SELECT 1; SELECT 2; SELECT 3; SELECT 4")[0] == errors.TooLarge.code


def test_value_bytes(make_world: MakeWorld) -> None:
    world = make_world(ApplyLimits(value_bytes_max=10_000))
    world.ok("SELECT length(randomblob(10000))")
    for sql in (
        "SELECT zeroblob(10001)",
        "SELECT randomblob(10001)",
        "SELECT randomblob(9e18)",
        "SELECT printf('%.*c', 1000000000, 'x')",
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9000)"
        " SELECT group_concat(i) FROM n",
    ):
        assert world.do(sql)[0] == errors.TooLarge.code, sql
    assert world.do("SELECT 1 -- " + "x" * 10_000)[0] in (
        errors.TooLarge.code,
        errors.SqlError.code,
    )


def test_expression_depth_and_parameters(world: World) -> None:
    assert world.do("SELECT " + "-" * 0 + "(" * 150 + "1" + ")" * 150)[0] == 0
    assert world.do("SELECT " + "+".join(["1"] * 300))[0] == errors.SqlError.code
    assert world.do(("SELECT " + "?," * 40_000 + "?", [1] * 40_001))[0] == errors.SqlError.code
    assert world.do(("SELECT ?", [1, 2]))[0] == errors.SqlError.code
    assert world.do("SELECT ?")[0] == errors.SqlError.code


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"\xc1",
        b"\x93",
        b"\x91" * 2_000,
        msgpack.packb(None),
        msgpack.packb({"a": 1}),
        msgpack.packb(["SELECT 1"]),
        msgpack.packb([["SELECT 1"]]),
        msgpack.packb([["SELECT 1", None, None]]),
        msgpack.packb([[b"SELECT 1", None]]),
        msgpack.packb([["SELECT ?", 1]]),
        msgpack.packb([["SELECT ?", [[1]]]]),
        msgpack.packb([["SELECT ?", [{"a": 1}]]]),
        msgpack.packb([["SELECT ?", [1 << 63]]]),
        msgpack.packb([["SELECT ?", [msgpack.Timestamp(1)]]]),
        msgpack.packb([["SELECT ?", [msgpack.ExtType(5, b"x")]]]),
        msgpack.packb([["SELECT ?", {1: 1}]]),
        b"\x91\x92\xa1\xff\xc0",
        msgpack.packb([["SELECT 1\0", None]]),
        msgpack.packb([["SELECT ?; SELECT ?", [1, 2]]]),
        payload("SELECT 1") + b"\xc0",
    ],
)
def test_malformed_payloads_are_answers(world: World, bad: bytes) -> None:
    world.ok("CREATE TABLE t(a)")
    made = entry(world.next_index, Request(b"", 0, 0, bad), anonymous("SELECT 1"))
    (result,) = world.machine.apply([made])
    codes = [opened(reply)[0] for reply in result.replies]
    assert codes == [errors.MalformedRequest.code, 0]


def test_parameters_of_every_kind(world: World) -> None:
    values = [None, True, -(1 << 63), (1 << 63) - 1, 0.5, float("inf"), "ä\0b", b"\xff"]
    marks = ", ".join("?" * len(values))
    (result,) = world.ok((f"SELECT {marks}", values))
    assert result[3] == [[None, 1, *values[2:]]]


def test_text_that_is_not_utf8_is_an_answer(world: World) -> None:
    assert world.do("SELECT CAST(x'ff' AS TEXT)")[0] == errors.SqlError.code


def test_the_last_rowid_is_refused(world: World) -> None:
    """Beyond it SQLite draws rowids from its own generator: replicas would diverge."""
    world.ok(
        "CREATE TABLE t(a INTEGER PRIMARY KEY, b)",
        "CREATE TABLE s(a INTEGER PRIMARY KEY AUTOINCREMENT, b)",
    )
    last = (1 << 63) - 1
    for sql in (
        f"INSERT INTO t VALUES({last}, 1)",
        f"INSERT INTO t VALUES(1, 1); UPDATE t SET a = {last}",
        f"INSERT INTO s VALUES({last}, 1)",
        f"INSERT INTO s VALUES({last}, 1), (NULL, 2)",
        f"INSERT INTO s VALUES({last}, 1); INSERT INTO s(b) VALUES(2)",
    ):
        code, (message, _) = world.do(sql)
        assert code == errors.SqlError.code, sql
        assert "rowid" in message
    world.ok(f"INSERT INTO t VALUES({last - 1}, 1)")
    assert world.rows("SELECT count(*) FROM s") == [[0]]
    world.ok("INSERT INTO s(b) VALUES(1)")
    assert world.rows("SELECT a FROM s") == [[1]]


def test_a_fault_in_a_users_full_text_index_is_an_answer(world: World) -> None:
    world.ok("CREATE VIRTUAL TABLE f USING fts5(a, content='')")
    code, _ = world.do("INSERT INTO f(f, rowid, a) VALUES('delete', 7, 'never there')")
    assert code in (0, errors.SqlError.code)
    world.ok("INSERT INTO f(a) VALUES('x')")


def test_limits_are_those_of_the_entry_not_of_the_machine(world: World) -> None:
    """Also those that SQLite checks only while it prepares: here from its statement cache."""
    narrow = ApplyLimits(parameters_max=20, result_bytes_max=1_000, value_bytes_max=5_000)
    many = anonymous(("SELECT " + "?, " * 20 + "?", [1] * 21))
    large = anonymous("SELECT zeroblob(900), zeroblob(900)")
    huge = anonymous("SELECT length(zeroblob(6000))")
    first = world.next_index
    log = [entry(first + n, many, large, huge, limits=narrow if n % 2 else None) for n in range(5)]
    replies = world.apply(log)
    too_large, sql_error = errors.TooLarge.code, errors.SqlError.code
    refused = [sql_error, too_large, too_large]
    codes = [[code for code, _ in of_entry] for of_entry in replies]
    assert codes == [[0, 0, 0], refused, [0, 0, 0], refused, [0, 0, 0]]
