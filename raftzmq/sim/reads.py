"""Runs the reads of a simulated node: the production readers, one job per event, no thread."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final, cast

import msgpack

from raftzmq.errors import RequestError
from raftzmq.node.gate import LentReader, StateGate
from raftzmq.node.short_reads import ShortReads
from raftzmq.node.workers import RUN_DIGEST, Job
from raftzmq.statemachine.digest import content_digest
from raftzmq.statemachine.point_reads import PointReads
from raftzmq.statemachine.readers import Reader
from raftzmq.wire.payload import encode_error

READ_MS: Final = 60_000


class SimPool:
    """A pool of one reader; see ``node.workers.WorkerPool``.

    Args:
        gate: lends state.db.
        later: calls back in a while, unless the node dies before.
        answered: hands the finished job to the raft thread, in a while.
        points: told which texts are point reads.
    """

    def __init__(
        self,
        gate: StateGate,
        later: Callable[[Callable[[], None]], None],
        answered: Callable[[Callable[[], None]], None],
        points: PointReads,
    ) -> None:
        self._gate = gate
        self._later = later
        self._answered = answered
        self._lent = LentReader(gate, partial(Reader, points=points))
        self._open: list[Job] = []

    def submit(self, job: Job) -> None:
        """Run ``job`` in a while."""
        self._open.append(job)
        self._later(lambda: self._run(job))

    def refuse(self, error: RequestError) -> None:
        """Answer every read with ``error``, queued or running."""
        for job in self._open:
            if job.kind != RUN_DIGEST:
                for batch, position in job.items:
                    batch.fail(position, error)

    def _run(self, job: Job) -> None:
        items = [item for item in job.items if not item[0].answered(item[1])]
        payloads = [batch.requests[position].payload for batch, position in items]
        replies: list[tuple[int, bytes]] = []
        index = 0
        if payloads and job.kind == RUN_DIGEST:
            index, digest = content_digest(self._gate.path)
            replies = [(0, msgpack.packb([index, digest]))]
        elif payloads:
            with self._gate.reading() as generation:
                reader = cast(Reader, self._lent.current(generation))
                try:
                    index = reader.begin()
                    self._gate.saw(index)
                    for payload in payloads:
                        reply = reader.run(payload, timeout_ms=READ_MS, monotonic=float)
                        replies.append((reply.code, reply.body))
                except RequestError as error:
                    refusal = error.code, encode_error(error.message, error.detail)
                    replies = [refusal] * len(payloads)
                finally:
                    reader.end()

        def finished() -> None:
            if job in self._open:
                self._open.remove(job)
            for (batch, position), (code, body) in zip(items, replies, strict=True):
                batch.answer(position, code, body, index)

        self._answered(finished)


class ChancePool:
    """A pool with the production shortcut in front, taken by chance: both ways must be gone.

    Args:
        pool: the way round.
        short: the shortcut.
        chance: asked for each job whether to take it.
    """

    def __init__(self, pool: SimPool, short: ShortReads, chance: Callable[[], bool]) -> None:
        self._pool = pool
        self._short = short
        self._chance = chance

    def submit(self, job: Job) -> None:
        """Run ``job`` now or in a while."""
        (self._short if self._chance() else self._pool).submit(job)

    def refuse(self, error: RequestError) -> None:
        """Answer every read with ``error``, queued or running."""
        self._pool.refuse(error)
