"""Short reads in the raft thread: what a node that is asked little need not wake a worker for.

See docs/decisions/016. Only reads by texts that are point reads (``statemachine.point_reads``) are
run here, and few of them at a time; whatever does not end well goes to a worker, as if it had not
been tried.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final, cast

from raftzmq.config import LimitsConfig
from raftzmq.errors import RequestError, StorageDamaged, StorageFailed
from raftzmq.node.gate import LentReader, StateGate
from raftzmq.node.short_turns import ShortTurns
from raftzmq.node.workers import FAST_LEAST_MS, FAST_RESULT_BYTES, RUN_FAST, Item, Job, ReadPool
from raftzmq.statemachine.point_reads import PointReads
from raftzmq.statemachine.readers import Reader

READS_MAX: Final = 8
"""More of them keep a worker busy for as long as it takes to wake it, and beside it this thread can
take the next requests."""


class ShortReads:
    """A pool of readers with a shortcut in front; used by the raft thread.

    Args:
        pool: runs what is not short.
        gate: lends state.db.
        points: the texts that are.
        bounds: how much a read may return.
        clock_ms: monotonic.
        monotonic: the same in seconds.
    """

    def __init__(
        self,
        pool: ReadPool,
        gate: StateGate,
        points: PointReads,
        bounds: LimitsConfig,
        clock_ms: Callable[[], int],
        monotonic: Callable[[], float],
    ) -> None:
        self._pool = pool
        self._gate = gate
        self._points = points
        self._monotonic = monotonic
        self._timeout_ms = bounds.read_timeout_ms
        self._bytes_max = min(bounds.result_bytes_max, FAST_RESULT_BYTES)
        self._turns = ShortTurns(clock_ms)
        # Never waits for a lock: a worker does that.
        self._lent = LentReader(gate, partial(Reader, busy_ms=0))

    def submit(self, job: Job) -> None:
        """Run ``job`` at once if it is short; let the pool do what is left."""
        if job.kind == RUN_FAST and len(job.items) <= READS_MAX and self._turns.allowed:
            job.items = [item for item in job.items if not item[0].answered(item[1])]
            if job.items and all(self._points.is_one(_payload(item)) for item in job.items):
                with self._turns.measured():
                    job.items = self._read(job.items)
            if not job.items:
                return
        self._pool.submit(job)

    def refuse(self, error: RequestError) -> None:
        """Answer every read with ``error``, queued or running."""
        self._pool.refuse(error)

    def close(self) -> None:
        """Close the connection to state.db."""
        self._lent.close()

    def _read(self, items: list[Item]) -> list[Item]:
        """Answer ``items``, but for those that are returned."""
        left: list[Item] = []
        done: list[tuple[Item, bytes]] = []
        index = 0
        try:
            with self._gate.reading_now() as generation:
                if generation is None:
                    return items
                reader = cast(Reader, self._lent.current(generation))
                index = reader.begin()
                self._gate.saw(index)
                try:
                    if reader.schema_version != self._points.schema_version:
                        return items
                    for item in items:
                        reply = reader.run(
                            _payload(item),
                            timeout_ms=self._timeout_ms,
                            result_bytes_max=self._bytes_max,
                            monotonic=self._monotonic,
                            fast_only=True,
                            fast_ms=FAST_LEAST_MS,
                        )
                        if reply.code:
                            left.append(item)
                        else:
                            done.append((item, reply.body))
                finally:
                    reader.end()
        except (RequestError, StorageDamaged, StorageFailed):
            return items  # and it is a worker's business to say what is wrong
        for (batch, position), body in done:
            batch.answer(position, 0, body, index)
        return left


def _payload(item: Item) -> bytes:
    batch, position = item
    return batch.requests[position].payload
