from __future__ import annotations

from raftzmq.broker.health import SILENCE_MS_MAX
from raftzmq.limits import HEARTBEAT_TICKS, OBSERVER_TTL_MS, TICK_MS
from raftzmq.node.observers import OBSERVERS_MAX, UNCHANGED_PERIODS, Observers

PERIOD_MS = 40


class World:
    def __init__(self) -> None:
        self.pushed: list[bytes] = []
        self.observers = Observers(lambda identity, body: self.pushed.append(identity), PERIOD_MS)
        self.observers.register(b"one", 0)

    def update(self, now_ms: int, key: object = "key", applied_index: int = 1) -> int:
        """How many were told."""
        before = len(self.pushed)
        self.observers.update(key, applied_index, lambda: b"status", now_ms)
        return len(self.pushed) - before


def test_a_change_is_told_at_once() -> None:
    world = World()
    assert world.update(0) == 1
    assert world.update(1) == 0
    assert world.update(2, key="another") == 1


def test_what_was_applied_is_told_once_per_period() -> None:
    world = World()
    world.update(0)
    assert world.update(PERIOD_MS - 1, applied_index=2) == 0
    assert world.update(PERIOD_MS, applied_index=3) == 1
    assert world.update(2 * PERIOD_MS - 1, applied_index=4) == 0


def test_while_nothing_happens_it_is_told_seldom() -> None:
    world = World()
    world.update(0)
    assert world.update(UNCHANGED_PERIODS * PERIOD_MS - 1) == 0
    assert world.update(UNCHANGED_PERIODS * PERIOD_MS) == 1


def test_three_lost_messages_do_not_make_a_node_silent() -> None:
    assert 4 * UNCHANGED_PERIODS * HEARTBEAT_TICKS * TICK_MS < SILENCE_MS_MAX


def test_who_does_not_renew_is_told_no_more() -> None:
    world = World()
    world.update(0)
    assert world.update(OBSERVER_TTL_MS, key="another") == 0
    world.observers.register(b"two", OBSERVER_TTL_MS)
    assert world.update(OBSERVER_TTL_MS + 1, key="third") == 1
    assert world.pushed[-1] == b"two"


def test_the_list_is_bounded_and_who_is_on_it_stays() -> None:
    world = World()
    for number in range(OBSERVERS_MAX):
        world.observers.register(b"%d" % number, 0)
    assert world.observers.refused == 1
    world.observers.register(b"one", 1)
    assert world.observers.refused == 1
