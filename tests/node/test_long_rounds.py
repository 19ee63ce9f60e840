"""Only a round that has become long is interrupted, and then anew after each long part."""

from __future__ import annotations

from raftzmq.limits import HEARTBEAT_TICKS, TICK_MS
from raftzmq.node.long_rounds import LONG_MS, LongRounds


class Clock:
    """Tells the time that the test sets, and what an interruption took."""

    def __init__(self) -> None:
        self.now_ms = 1_000
        self.interrupted_at: list[int] = []
        self.takes_ms = 0

    def __call__(self) -> int:
        return self.now_ms

    def interrupt(self, now_ms: int) -> None:
        self.interrupted_at.append(now_ms)
        self.now_ms += self.takes_ms


def test_short_parts_interrupt_nothing_until_they_have_become_long_together() -> None:
    clock = Clock()
    rounds = LongRounds(clock.interrupt, clock)
    rounds.begins(clock.now_ms)
    clock.now_ms += LONG_MS - 1
    rounds.part_done()
    assert clock.interrupted_at == []
    clock.now_ms += 1
    rounds.part_done()
    assert clock.interrupted_at == [1_000 + LONG_MS]


def test_each_long_part_is_followed_by_an_interruption() -> None:
    clock = Clock()
    clock.takes_ms = LONG_MS  # which does not count as a part
    rounds = LongRounds(clock.interrupt, clock)
    rounds.begins(clock.now_ms)
    clock.now_ms += 500
    rounds.part_done()
    rounds.part_done()
    assert clock.interrupted_at == [1_500]
    clock.now_ms += 500
    rounds.part_done()
    assert len(clock.interrupted_at) == 2


def test_the_next_round_begins_anew() -> None:
    clock = Clock()
    rounds = LongRounds(clock.interrupt, clock)
    rounds.begins(clock.now_ms)
    clock.now_ms += LONG_MS
    rounds.begins(clock.now_ms)
    rounds.part_done()
    assert clock.interrupted_at == []


def test_a_leader_is_interrupted_before_its_next_heartbeat_is_due() -> None:
    assert TICK_MS < LONG_MS < HEARTBEAT_TICKS * TICK_MS
