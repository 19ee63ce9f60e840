"""Queries on snapshots, with limits in wall time and bytes."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from typing import Any

import msgpack
import pytest

from raftzmq import errors
from raftzmq.statemachine.readers import Reader
from tests.statemachine.world import World, payload

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"


class Clock:
    """Moves by ``step_s`` at each look."""

    def __init__(self, step_s: float = 0.0) -> None:
        self.now_s = 100.0
        self.step_s = step_s

    def __call__(self) -> float:
        self.now_s += self.step_s
        return self.now_s


@pytest.fixture
def reader(world: World) -> Iterator[Reader]:
    world.ok("CREATE TABLE t(a)", "INSERT INTO t VALUES(1), (2)")
    made = Reader(world.path)
    yield made
    made.close()


def ask(
    reader: Reader,
    *statements: str | tuple[str, Any],
    monotonic: Callable[[], float] | None = None,
    **limits: Any,
) -> tuple[int, Any]:
    limits = {"timeout_ms": 1_000, **limits}
    reply = reader.run(payload(*statements), monotonic=monotonic or Clock(), **limits)
    return reply.code, msgpack.unpackb(reply.body)


@pytest.mark.parametrize("rows", [0, 1])
@pytest.mark.parametrize("room", [2_009, 1_999])
def test_names_of_columns_count_as_results(reader: Reader, room: int, rows: int) -> None:
    """Also the second time, when nobody asks SQLite for them."""
    query = (f'SELECT 1 AS "{"x" * 1_000}" LIMIT {rows}', [])
    for _ in range(2):
        assert ask(reader, query, result_bytes_max=999)[0] == errors.TooLarge.code
        assert ask(reader, query, result_bytes_max=1_009)[0] == 0
        code = ask(reader, query, query, result_bytes_max=room + 9 * rows)[0]
        assert code == (0 if room == 2_009 else errors.TooLarge.code)


def test_rows_and_columns(reader: Reader) -> None:
    code, body = ask(reader, ("SELECT a, ? AS b FROM t", ["x"]), "SELECT a FROM t WHERE 0", "")
    assert code == 0
    assert body == [
        [0, 0, ["a", "b"], [[1, "x"], [2, "x"]]],
        [0, 0, ["a"], []],
        [0, 0, None, None],
    ]


def test_sees_what_is_applied_and_tells_the_index(world: World, reader: Reader) -> None:
    ask(reader, "SELECT 1")
    assert reader.applied_index == world.machine.applied[0]
    world.ok("INSERT INTO t VALUES(3)")
    assert ask(reader, "SELECT count(*) FROM t")[1][0][3] == [[3]]
    assert reader.applied_index == world.machine.applied[0]


def test_a_batch_shares_one_snapshot(world: World, reader: Reader) -> None:
    index = reader.begin()
    world.ok("INSERT INTO t VALUES(3)")
    assert ask(reader, "SELECT count(*) FROM t")[1][0][3] == [[2]]
    assert ask(reader, "syntax error")[0] == errors.SqlError.code
    assert ask(reader, "SELECT count(*) FROM t")[1][0][3] == [[2]]
    assert reader.applied_index == index
    reader.end()
    reader.end()
    assert ask(reader, "SELECT count(*) FROM t")[1][0][3] == [[3]]


def test_timeout(reader: Reader) -> None:
    code, (message, _) = ask(reader, ENDLESS, monotonic=Clock(0.1), timeout_ms=500)
    assert code == errors.StatementTimeout.code
    assert "500 ms" in message
    assert ask(reader, "SELECT 1", monotonic=Clock(0.1))[0] == 0


def test_fast_lane_defers(reader: Reader) -> None:
    clock = Clock(0.001)
    assert ask(reader, ENDLESS, monotonic=clock, fast_only=True)[0] == errors.Deferred.code
    assert clock.now_s < 100.1
    assert ask(reader, "SELECT 1", monotonic=clock, fast_only=True)[0] == 0


def test_a_deadline_shorter_than_the_fast_lane_is_a_timeout(reader: Reader) -> None:
    code, _ = ask(reader, ENDLESS, monotonic=Clock(0.001), fast_only=True, timeout_ms=5)
    assert code == errors.StatementTimeout.code


def test_result_bytes(reader: Reader) -> None:
    big = "SELECT zeroblob(600)"
    assert ask(reader, big, result_bytes_max=1_000)[0] == 0
    assert ask(reader, big, big, result_bytes_max=1_000)[0] == errors.TooLarge.code


def test_malformed(reader: Reader) -> None:
    reply = reader.run(b"\xc1", timeout_ms=1_000, monotonic=Clock())
    assert reply.code == errors.MalformedRequest.code
    assert ask(reader, ("SELECT ?", [[1]]))[0] == errors.MalformedRequest.code


def test_interrupt_from_another_thread(reader: Reader) -> None:
    looked = threading.Event()

    def monotonic() -> float:
        looked.set()
        return 0.0

    stopper = threading.Thread(target=lambda: (looked.wait(10), reader.interrupt()))
    stopper.start()
    code, _ = ask(reader, ENDLESS, monotonic=monotonic)
    stopper.join()
    assert code == errors.ShuttingDown.code
    assert ask(reader, "SELECT 1")[0] in (0, errors.ShuttingDown.code)


def test_a_known_text_follows_the_schema(world: World, reader: Reader) -> None:
    ask(reader, "SELECT * FROM t")
    world.ok("ALTER TABLE t ADD COLUMN b DEFAULT 'new'")
    assert ask(reader, "SELECT * FROM t") == (0, [[0, 0, ["a", "b"], [[1, "new"], [2, "new"]]]])
    world.ok("DROP TABLE t", "CREATE VIEW t(c) AS SELECT 7")
    assert ask(reader, "SELECT * FROM t") == (0, [[0, 0, ["c"], [[7]]]])


def test_a_known_text_keeps_its_limits(world: World, reader: Reader) -> None:
    text = "SELECT a FROM t WHERE a <= ?"
    assert ask(reader, (text, [2]))[0] == 0
    code, _ = ask(reader, (text, [2]), result_bytes_max=10)
    assert code == errors.TooLarge.code
    # Nothing of what was given up keeps the old snapshot open.
    world.ok("INSERT INTO t VALUES(0)")
    assert ask(reader, (text, [0])) == (0, [[0, 0, ["a"], [[0]]]])
    assert ask(reader, (ENDLESS, []), monotonic=Clock(0.4))[0] == errors.StatementTimeout.code


def test_a_text_that_holds_several_statements_is_looked_at_each_time(reader: Reader) -> None:
    for _ in range(2):
        assert ask(reader, "SELECT 1 AS x; SELECT 2 AS y") == (0, [[0, 0, ["y"], [[2]]]])
        code, _ = ask(reader, "SELECT 1; INSERT INTO t VALUES(3)")
        assert code != 0


@pytest.mark.parametrize(
    ("sql", "code"),
    [
        ("SELECT zeroblob(500) FROM t", errors.TooLarge.code),
        ("CREATE TABLE u(a)", errors.NotAQuery.code),
        ("SELECT nothing FROM nowhere", errors.SqlError.code),
        ("ATTACH 'x' AS y", errors.Forbidden.code),
        (ENDLESS, errors.StatementTimeout.code),
    ],
)
def test_an_error_leaves_no_rows_behind(reader: Reader, sql: str, code: int) -> None:
    """What refers to itself stays until Python looks for it, which may be long: with its rows."""
    gc.collect()
    gc.disable()
    try:
        clock = Clock(step_s=0.01)
        found, _ = ask(reader, sql, monotonic=clock, timeout_ms=100, result_bytes_max=900)
        assert found == code
        assert gc.collect() == 0
    finally:
        gc.enable()
