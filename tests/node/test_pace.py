from __future__ import annotations

from raftzmq.limits import HEARTBEAT_TICKS
from raftzmq.node.pace import OWED_TICKS_MAX, Pace

TICK_MS = 10


def counted(pace: Pace, now_ms: int) -> tuple[int, int]:
    return pace.slept(now_ms), pace.due(now_ms)


def test_a_tick_is_due_when_its_time_has_come() -> None:
    pace = Pace(TICK_MS, 1_000)
    assert pace.rest_ms(1, 1_000) == 10
    assert counted(pace, 1_009) == (0, 0)
    assert pace.rest_ms(1, 1_009) == 1
    assert counted(pace, 1_010) == (0, 1)
    assert pace.rest_ms(1, 1_010) == 10


def test_quiet_ticks_are_slept_through_and_counted_before_the_one_that_may_act() -> None:
    pace = Pace(TICK_MS, 1_000)
    assert pace.rest_ms(4, 1_000) == 40
    assert counted(pace, 1_040) == (3, 1)
    assert pace.rest_ms(4, 1_040) == 40


def test_who_wakes_early_counts_what_has_passed_and_no_more() -> None:
    pace = Pace(TICK_MS, 1_000)
    pace.rest_ms(4, 1_000)
    assert counted(pace, 1_025) == (2, 0)
    assert pace.rest_ms(2, 1_025) == 15
    assert counted(pace, 1_030) == (1, 0)
    assert counted(pace, 1_040) == (0, 1)


def test_who_is_woken_in_time_each_time_still_counts_all() -> None:
    pace = Pace(TICK_MS, 1_000)
    ticks = [0, 0]
    for now_ms in range(1_040, 2_040, 40):
        pace.rest_ms(8, now_ms - 40)
        slept, due = counted(pace, now_ms)
        ticks[0] += slept
        ticks[1] += due
    assert ticks == [100, 0]


def test_a_paused_process_owes_a_few_ticks_only() -> None:
    pace = Pace(TICK_MS, 1_000)
    pace.rest_ms(1, 1_000)
    assert counted(pace, 9_000) == (0, OWED_TICKS_MAX)
    pace.rest_ms(4, 9_000)
    assert counted(pace, 20_000) == (3, OWED_TICKS_MAX)
    assert pace.rest_ms(1, 20_000) == 10


def test_a_late_round_does_not_wait_at_all() -> None:
    pace = Pace(TICK_MS, 1_000)
    assert pace.rest_ms(1, 1_500) == 0


def test_nothing_is_slept_through_that_may_act() -> None:
    pace = Pace(TICK_MS, 1_000)
    pace.rest_ms(4, 1_000)
    pace.rest_ms(1, 1_001)
    assert counted(pace, 1_035) == (0, 3)


def test_a_leader_that_was_held_up_owes_a_heartbeat() -> None:
    """Whatever the leader had counted before, the ticks that it owes make one due."""
    pace = Pace(TICK_MS, 1_000)
    pace.rest_ms(1, 1_000)
    assert counted(pace, 1_500) == (0, HEARTBEAT_TICKS)
