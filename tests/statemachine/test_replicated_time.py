"""Time in SQL follows the leaders' clocks, and no clock however wrong empties the ledger."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from raftzmq.statemachine.bounds import ApplyLimits
from raftzmq.statemachine.command import CLOCK_MS_MAX, Request
from raftzmq.statemachine.replicated_time import STEP_MS_MAX, ReplicatedTime
from tests.statemachine.conftest import MakeWorld
from tests.statemachine.world import CLOCK_MS, anonymous, entry, payload

YEAR_MS = 365 * 24 * 3_600_000
NOW = "SELECT CAST(unixepoch('subsec') * 1000 AS INTEGER)"


def after(*clocks_ms: int) -> list[ReplicatedTime]:
    times = [ReplicatedTime()]
    for clock_ms in clocks_ms:
        times.append(times[-1].after(clock_ms))
    return times[1:]


def test_a_leader_a_little_behind_lets_time_stand_still() -> None:
    times = after(CLOCK_MS, CLOCK_MS - STEP_MS_MAX, CLOCK_MS - 10, CLOCK_MS + 5)
    assert [time.sql_ms - CLOCK_MS for time in times] == [0, 0, 0, 5]


def test_a_clock_years_ahead_stops_time_for_nobody() -> None:
    ahead = CLOCK_MS + YEAR_MS
    times = after(CLOCK_MS, ahead, ahead + 7, CLOCK_MS + 100, CLOCK_MS + 150)
    assert [time.sql_ms for time in times][3:] == [CLOCK_MS + 100, CLOCK_MS + 150]
    assert times[-1].elapsed_ms - times[0].elapsed_ms == STEP_MS_MAX + 7 + 0 + 50


@given(st.lists(st.integers(0, CLOCK_MS_MAX), min_size=1, max_size=30))
def test_any_clocks(clocks_ms: list[int]) -> None:
    times = after(*clocks_ms)
    for before, time in pairwise(times):
        assert 0 <= time.elapsed_ms - before.elapsed_ms <= STEP_MS_MAX
        assert time.sql_ms >= before.sql_ms or before.sql_ms - time.sql_ms > STEP_MS_MAX
        assert abs(time.sql_ms - time.leader_ms) <= STEP_MS_MAX


@given(st.lists(st.integers(0, STEP_MS_MAX), max_size=30))
def test_a_clock_that_is_right_loses_nothing(steps_ms: list[int]) -> None:
    clocks_ms = [CLOCK_MS]
    for step_ms in steps_ms:
        clocks_ms.append(clocks_ms[-1] + step_ms)
    times = after(*clocks_ms)
    assert [time.sql_ms for time in times] == clocks_ms
    assert times[-1].elapsed_ms - times[0].elapsed_ms == sum(steps_ms)


def test_a_leader_with_a_wrong_clock_costs_no_retry_its_answer(make_world: MakeWorld) -> None:
    world = make_world(ApplyLimits(ledger_ms=600_000))
    world.ok("CREATE TABLE t(a)")
    since = world.machine.applied[0]
    insert = payload("INSERT INTO t VALUES(1) RETURNING rowid")

    def write() -> tuple[int, object]:
        return world.entry(Request(b"ann-0123", 1, since, insert), clock_ms=CLOCK_MS + 500)[0]

    first = write()
    world.entry(anonymous("SELECT 1"), clock_ms=CLOCK_MS + YEAR_MS)
    world.reopen()
    assert write() == first
    ((now,),) = world.entry(anonymous(NOW), clock_ms=CLOCK_MS + 900)[0][1][0][3]
    assert now == CLOCK_MS + 900
    # It is forgotten all the same, when so much time has passed in steps that clocks make.
    for step in range(1, 12):
        world.entry(anonymous("SELECT 1"), clock_ms=CLOCK_MS + step * STEP_MS_MAX)
    assert write()[0] != 0
    assert world.rows("SELECT count(*) FROM t") == [[1]]


def test_a_repeated_group_passes_its_time_once(make_world: MakeWorld) -> None:
    """A request that destroys the transaction makes the machine begin the group anew."""
    grouped, single = make_world(), make_world()
    lost = anonymous("INSERT OR ROLLBACK INTO t VALUES(1)")
    log = [
        entry(1, anonymous("CREATE TABLE t(a UNIQUE)", "INSERT INTO t VALUES(1)")),
        entry(2, anonymous("SELECT 1"), clock_ms=CLOCK_MS + 20_000),
        entry(3, lost, clock_ms=CLOCK_MS + 40_000),
        entry(4, lost, clock_ms=CLOCK_MS + 30_000),
    ]
    for one in log:
        single.apply([one])
    grouped.apply(log)
    assert grouped.machine._time == single.machine._time
    assert grouped.digest() == single.digest()
