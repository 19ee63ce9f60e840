"""Loads a target for a while and times each request.

``ClosedLoop`` keeps a number of requests in flight: it measures how much a cluster can do. It
cannot see a stall well, since it stops asking while it waits. ``OpenLoop`` sends at a fixed rate
whatever becomes of earlier requests, and times each from the moment at which it was *due*: a
request that could not be sent in time has waited as well (the "coordinated omission" of G. Tene).

Per request there is no more than an append; samples are counted ten times a second.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from raftzmq.bench.histogram import Histogram
from raftzmq.bench.target import Finished, Target
from raftzmq.errors import Unavailable
from raftzmq.limits import REQUEST_TIMEOUT_MS
from raftzmq.transport.clock import monotonic_ms
from raftzmq.wire.client import Kind

PROGRESS_S: Final = 0.1
TICKS_MAX: Final = 600
NOT_SENT: Final = "NotSent"
"""Counted as an error: due in an open loop, and not sent until long after its end."""
GRACE_S: Final = REQUEST_TIMEOUT_MS / 1000 + 1.0
"""After the end of an open loop, for what was due before it."""
_POLL_MS: Final = 100
_NAP_S: Final = 0.0002
"""zmq_poll knows whole milliseconds; between two closer moments the loop looks this often."""
_WRITE: Final = int(Kind.WRITE)


class Tick(NamedTuple):
    """A part of a run, for the picture.

    Attributes:
        at_s: its begin, from the begin of the run.
        seconds: its length.
        done: requests answered in it.
        max_ms: the longest that one of them had taken; 0 without any.
        errors: requests that failed in it.
    """

    at_s: float
    seconds: float
    done: int
    max_ms: float
    errors: int


@dataclass(slots=True)
class Samples:
    """What was measured.

    Attributes:
        seconds: from the begin until the end, or until the last answer that counts.
        writes: time from submission, in an open loop from when it was due, to confirmation.
        reads: the same of reads.
        errors: class of error -> count.
        ticks: the course of it.
    """

    seconds: float = 0.0
    writes: Histogram = field(default_factory=Histogram)
    reads: Histogram = field(default_factory=Histogram)
    errors: Counter[str] = field(default_factory=Counter)
    ticks: list[Tick] = field(default_factory=list)
    done: int = 0


Progress = Callable[[Samples], None]


class _Recorder:
    """Takes what is finished; counts it when a tick is over."""

    def __init__(self, began_s: float, seconds: float, progress: Progress) -> None:
        self.samples = Samples()
        self._began_s = self._tick_s = began_s
        self._length_s = max(PROGRESS_S, seconds / TICKS_MAX)
        self.due_s = began_s + self._length_s
        self._progress = progress
        self._writes: list[float] = []
        self._reads: list[float] = []
        self._errors = 0

    def take(self, finished: Sequence[Finished], now_s: float) -> None:
        writes, reads = self._writes, self._reads
        for call in finished:
            if call.error is not None:
                self._errors += 1
                self.samples.errors[type(call.error).__name__] += 1
            else:
                (writes if call.kind == _WRITE else reads).append(now_s - call.tag)

    def tick(self, now_s: float) -> None:
        samples = self.samples
        samples.seconds = now_s - self._began_s
        done = len(self._writes) + len(self._reads)
        longest = max(max(self._writes, default=0.0), max(self._reads, default=0.0))
        began_s, seconds = self._tick_s - self._began_s, now_s - self._tick_s
        if done or self._errors or seconds > self._length_s / 2:
            samples.ticks.append(Tick(began_s, seconds, done, longest * 1000, self._errors))
        samples.done += done
        samples.writes.add(self._writes)
        samples.reads.add(self._reads)
        self._writes.clear()
        self._reads.clear()
        self._errors = 0
        self._tick_s = now_s
        self.due_s = now_s + self._length_s
        self._progress(samples)


class ClosedLoop:
    """Keeps ``clients`` requests in flight, in the calling thread."""

    def __init__(self, target: Target, *, clients: int) -> None:
        self._target = target
        self._clients = clients

    def run(self, seconds: float, progress: Progress = lambda samples: None) -> Samples:
        """Load for so long; afterwards requests are still in flight, see ``drain``."""
        target = self._target
        submit, poll = target.submit, target.poll
        now = time.perf_counter()
        recorder = _Recorder(now, seconds, progress)
        take = recorder.take
        end = now + seconds
        now_ms = monotonic_ms()
        for _ in range(self._clients - target.unfinished):
            submit(now_ms, now)
        while now < end:
            finished = poll(_POLL_MS)
            now = time.perf_counter()
            take(finished, now)
            now_ms = monotonic_ms()
            for _ in finished:
                submit(now_ms, now)
            if now >= recorder.due_s:
                recorder.tick(now)
        recorder.tick(now)
        return recorder.samples


class OpenLoop:
    """Sends ``rate`` requests per second, evenly, in the calling thread.

    Args:
        target: where to.
        rate: requests per second.
        in_flight_max: what is due beyond that waits here, and the wait counts.
        grace_s: how long after the end to go on with what was due before it.
    """

    def __init__(
        self, target: Target, *, rate: float, in_flight_max: int, grace_s: float = GRACE_S
    ) -> None:
        self._target = target
        self._rate = rate
        self._in_flight_max = in_flight_max
        self._grace_s = grace_s

    def run(self, seconds: float, progress: Progress = lambda samples: None) -> Samples:
        """Load for so long, and wait for the answers to all that was due meanwhile."""
        target, most = self._target, self._in_flight_max
        submit = target.submit
        step_s = 1 / self._rate
        total = max(1, int(seconds * self._rate))
        began = now = time.perf_counter()
        recorder = _Recorder(began, seconds, progress)
        give_up = began + seconds + self._grace_s
        sent = 0
        due = began
        while sent < total or target.unfinished:
            if due <= now and sent < total:
                now_ms = monotonic_ms()
                room = most - target.unfinished
                while due <= now and sent < total and room > 0:
                    submit(now_ms, due)
                    sent += 1
                    room -= 1
                    due = began + sent * step_s
            left_s = due - now if sent < total and due > now else _POLL_MS / 1000
            recorder.take(self._wait(left_s), now := time.perf_counter())
            if now >= recorder.due_s:
                recorder.tick(now)
            if now > give_up:
                # Whoever is not answered by now counts through the target's own time-out.
                break
        recorder.tick(now)
        if total > sent:
            recorder.samples.errors[NOT_SENT] += total - sent
        recorder.samples.seconds = max(recorder.samples.seconds, seconds)
        return recorder.samples

    def _wait(self, left_s: float) -> Sequence[Finished]:
        target = self._target
        if left_s >= 0.001:
            return target.poll(int(left_s * 1000))
        finished = target.poll(0)
        if not finished:
            time.sleep(min(left_s, _NAP_S))
            finished = target.poll(0)
        return finished


def drain(target: Target, seconds: float = GRACE_S) -> None:
    """Wait for what is still in flight.

    Raises:
        Unavailable: something is left after ``seconds``.
    """
    end = time.perf_counter() + seconds
    while target.unfinished:
        target.poll(_POLL_MS)
        if time.perf_counter() > end:
            raise Unavailable(
                f"{target.unfinished:,} requests of the benchmark were not answered "
                f"{seconds:.0f} s after their end"
            )
