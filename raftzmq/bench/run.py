"""Keeps a fixed number of requests in flight for a while and times each of them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from raftzmq.bench.workload import Workload, is_write
from raftzmq.client.pipeline import Pipeline
from raftzmq.transport.clock import monotonic_ms

PROGRESS_S = 0.1
_POLL_MS = 100


@dataclass(slots=True)
class Samples:
    """What was measured between the end of the warm-up and the end of the run.

    Attributes:
        seconds: between the two.
        write_s: time from submission to confirmation of each write, in seconds.
        read_s: the same of each read.
        errors: class of error -> count.
    """

    seconds: float = 0.0
    write_s: list[float] = field(default_factory=list)
    read_s: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)

    @property
    def done(self) -> int:
        """Requests answered without error."""
        return len(self.write_s) + len(self.read_s)


class Run:
    """One benchmark run over one pipeline, in the calling thread.

    Args:
        pipeline: where requests go.
        workload: what they are.
        clients: requests in flight at any time.
    """

    def __init__(self, pipeline: Pipeline, workload: Workload, *, clients: int) -> None:
        self._pipeline = pipeline
        self._workload = workload
        self._clients = clients

    def warm_up(self, seconds: float) -> None:
        """Load without measuring; the requests stay in flight for what follows."""
        self._fill()
        self._drive(seconds, Samples(), lambda samples: None)

    def measure(self, seconds: float, progress: Callable[[Samples], None]) -> Samples:
        """Load and measure; ``progress`` is called several times a second."""
        samples = Samples()
        self._fill()
        began = time.perf_counter()
        self._drive(seconds, samples, progress)
        samples.seconds = time.perf_counter() - began
        return samples

    def drain(self) -> None:
        """Wait for what is still in flight."""
        while self._pipeline.unfinished:
            self._pipeline.poll(_POLL_MS)

    def _fill(self) -> None:
        now, now_ms = time.perf_counter(), monotonic_ms()
        for _ in range(self._clients - self._pipeline.unfinished):
            self._workload.submit(self._pipeline, now_ms, now)

    def _drive(self, seconds: float, samples: Samples, progress: Callable[[Samples], None]) -> None:
        now = time.perf_counter()
        end = now + seconds
        next_progress = now
        submit, pipeline = self._workload.submit, self._pipeline
        while now < end:
            finished = pipeline.poll(_POLL_MS)
            now = time.perf_counter()
            now_ms = monotonic_ms()
            for call in finished:
                if call.error is not None:
                    samples.errors[type(call.error).__name__] += 1
                elif isinstance(call.tag, float):
                    times = samples.write_s if is_write(call) else samples.read_s
                    times.append(now - call.tag)
                submit(pipeline, now_ms, now)
            if now >= next_progress:
                progress(samples)
                next_progress = now + PROGRESS_S
