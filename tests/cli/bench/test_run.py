"""Both loops in virtual time: what is counted, and that a stall is not hidden."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

import pytest

from raftzmq.bench import run
from raftzmq.bench.run import NOT_SENT, ClosedLoop, OpenLoop, Samples, drain
from raftzmq.errors import Overloaded, Unavailable
from raftzmq.wire.client import Kind


@dataclass(slots=True)
class Request:
    kind: int
    tag: Any
    error: Any
    done_s: float


class World:
    """A clock, and a server that answers each request after ``service_s``, one by one or not.

    Nothing is answered between ``stall_s[0]`` and ``stall_s[1]``.
    """

    def __init__(self, service_s: float = 0.001, *, one_by_one: bool = False) -> None:
        self.now_s = 100.0
        self.service_s = service_s
        self.one_by_one = one_by_one
        self.stall_s = (0.0, 0.0)
        self.sent_at: list[float] = []
        self.most_in_flight = 0
        self.fail_every = 0
        self._queue: deque[Request] = deque()

    def perf_counter(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds

    @property
    def unfinished(self) -> int:
        return len(self._queue)

    def submit(self, now_ms: int, tag: float) -> None:
        begin = self._queue[-1].done_s if self._queue and self.one_by_one else self.now_s
        done_s = max(begin, self.now_s) + self.service_s
        if self.stall_s[0] <= done_s < self.stall_s[1]:
            done_s = self.stall_s[1]
        self.sent_at.append(self.now_s)
        number = len(self.sent_at)
        failed = self.fail_every and number % self.fail_every == 0
        kind = Kind.READ if number % 4 == 0 else Kind.WRITE
        self._queue.append(Request(kind, tag, Overloaded("") if failed else None, done_s))
        self.most_in_flight = max(self.most_in_flight, len(self._queue))

    def poll(self, timeout_ms: int) -> list[Request]:
        if self._queue and self._queue[0].done_s <= self.now_s + timeout_ms / 1000:
            self.now_s = max(self.now_s, self._queue[0].done_s)
        else:
            self.now_s += timeout_ms / 1000
        done = []
        while self._queue and self._queue[0].done_s <= self.now_s:
            done.append(self._queue.popleft())
        return done


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()
    monkeypatch.setattr(run, "time", made)
    return made


def all_of(samples: Samples) -> int:
    return samples.writes.count + samples.reads.count


def test_the_closed_loop_keeps_so_many_in_flight_and_times_each(world: World) -> None:
    samples = ClosedLoop(world, clients=8).run(1.0)
    assert world.most_in_flight == 8
    assert all_of(samples) == pytest.approx(8_000, abs=16)
    assert samples.done == all_of(samples)
    assert samples.reads.count == pytest.approx(2_000, abs=8)
    assert samples.writes.at_ms([5_000, 9_999]) == [1.0, 1.0]
    assert samples.seconds == pytest.approx(1.0, abs=0.002)


def test_failures_are_counted_by_kind_and_not_timed(world: World) -> None:
    world.fail_every = 10
    samples = ClosedLoop(world, clients=4).run(1.0)
    assert samples.errors["Overloaded"] == pytest.approx(400, abs=4)
    assert all_of(samples) + samples.errors.total() == pytest.approx(4_000, abs=8)


def test_ticks_add_up_and_show_the_stall(world: World) -> None:
    world.stall_s = (100.4, 100.6)
    samples = ClosedLoop(world, clients=4).run(1.0)
    assert sum(tick.done for tick in samples.ticks) == samples.done
    assert sum(tick.seconds for tick in samples.ticks) == pytest.approx(samples.seconds)
    worst = max(samples.ticks, key=lambda tick: tick.max_ms)
    assert 199 < worst.max_ms < 202
    assert worst.at_s + worst.seconds == pytest.approx(0.6, abs=0.11)


def test_the_open_loop_sends_evenly_whatever_is_answered(world: World) -> None:
    world.service_s = 0.3
    samples = OpenLoop(world, rate=100, in_flight_max=1_000).run(2.0)
    gaps = [after - before for before, after in zip(world.sent_at, world.sent_at[1:], strict=False)]
    assert len(world.sent_at) == 200
    assert min(gaps) > 0.008
    assert max(gaps) < 0.012
    assert all_of(samples) == 200
    assert samples.writes.at_ms([5_000])[0] == pytest.approx(300, abs=2)


def test_a_rate_above_one_a_millisecond_is_kept(world: World) -> None:
    samples = OpenLoop(world, rate=20_000, in_flight_max=1_000).run(0.5)
    assert len(world.sent_at) == 10_000
    assert world.sent_at[-1] == pytest.approx(100.5, abs=0.001)
    # The loop looks every 0.2 ms, and that is what it may add.
    assert samples.writes.at_ms([9_999])[0] <= 1.5


def test_a_stall_is_felt_by_all_that_were_due_in_it(world: World) -> None:
    world.stall_s = (100.5, 101.0)
    open_loop = OpenLoop(world, rate=1_000, in_flight_max=10_000).run(2.0)
    waited = sum(n for us, n in open_loop.writes.buckets() if us > 10_000)
    waited += sum(n for us, n in open_loop.reads.buckets() if us > 10_000)
    assert waited == pytest.approx(490, abs=15)
    world.now_s, world.sent_at = 100.0, []
    closed = ClosedLoop(world, clients=4).run(2.0)
    hidden = sum(n for us, n in closed.writes.buckets() if us > 10_000)
    assert hidden <= 4


def test_waiting_for_a_free_connection_counts_too(world: World) -> None:
    """Times from the moment of sending would say 10 ms; who was due has waited for far longer."""
    world.service_s, world.one_by_one = 0.010, True
    samples = OpenLoop(world, rate=200, in_flight_max=1).run(1.0)
    assert world.most_in_flight == 1
    assert all_of(samples) == 200
    assert samples.writes.max_ms == pytest.approx(1_000, abs=50)
    assert samples.seconds == pytest.approx(2.0, abs=0.05)


def test_what_is_never_sent_is_an_error(world: World) -> None:
    world.service_s, world.one_by_one = 1.0, True
    samples = OpenLoop(world, rate=100, in_flight_max=1, grace_s=2.0).run(1.0)
    assert samples.errors[NOT_SENT] == pytest.approx(97, abs=1)
    assert all_of(samples) == pytest.approx(3, abs=1)


def test_draining_ends(world: World) -> None:
    ClosedLoop(world, clients=8).run(0.1)
    drain(world)
    assert world.unfinished == 0
    world.service_s = 60.0
    world.submit(0, 0.0)
    with pytest.raises(Unavailable, match="1 requests"):
        drain(world, 1.0)
