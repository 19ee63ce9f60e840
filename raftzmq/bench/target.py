"""Where the load goes: one pipelined client, or many clients with one request in flight each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from raftzmq.bench.workload import Workload
from raftzmq.client.pipeline import Pipeline


class Finished(Protocol):
    """A request that was answered, or failed.

    Attributes:
        kind: a value of ``wire.client.Kind``.
        tag: what it was submitted with.
        error: why it failed.
    """

    kind: int
    tag: Any
    error: Any


class Target(Protocol):
    """What a run needs of a client."""

    @property
    def unfinished(self) -> int:
        """Requests in flight."""

    def submit(self, now_ms: int, tag: float) -> None:
        """Send the next request of the workload."""

    def poll(self, timeout_ms: int) -> Sequence[Finished]:
        """What is done; waits so long for the first."""


class PipelinedTarget:
    """One connection; what is submitted between two polls travels together."""

    def __init__(self, pipeline: Pipeline, workload: Workload) -> None:
        self._pipeline = pipeline
        self._submit = workload.submit
        self.poll = pipeline.poll

    @property
    def unfinished(self) -> int:
        """Requests in flight."""
        return self._pipeline.unfinished

    def submit(self, now_ms: int, tag: float) -> None:
        """Send the next request of the workload."""
        self._submit(self._pipeline, now_ms, tag)
