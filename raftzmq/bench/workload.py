"""What a benchmark asks of the database: single-row inserts and reads by key."""

from __future__ import annotations

import random
from enum import StrEnum
from typing import Final

from raftzmq.client.pipeline import Pipeline
from raftzmq.client.session import Call
from raftzmq.wire.client import Kind, Level
from raftzmq.wire.payload import encode_statements

ROWS: Final = 1_000
"""Rows that reads choose from; small enough to be in memory, as a hot table is."""
_CREATE: Final = "CREATE TABLE IF NOT EXISTS bench (id INTEGER PRIMARY KEY, value BLOB)"
_FILL: Final = "INSERT OR REPLACE INTO bench (id, value) VALUES (?, ?)"
_INSERT: Final = "INSERT INTO bench (value) VALUES (?)"
_SELECT: Final = "SELECT value FROM bench WHERE id = ?"
_FILL_AT_ONCE: Final = 100
_READ: Final = int(Kind.READ)
_WRITE: Final = int(Kind.WRITE)


class Mix(StrEnum):
    """What is asked."""

    WRITES = "writes"
    READS = "reads"
    MIXED = "mixed"


class Workload:
    """Submits one request after the other.

    Args:
        mix: what is asked.
        value_size: bytes of each row's value.
        read_share: of MIXED, the part that reads.
        level: of the reads.
        rng: chooses keys, values and between reading and writing.
    """

    def __init__(
        self, mix: Mix, *, value_size: int, read_share: float, level: Level, rng: random.Random
    ) -> None:
        self._share = {Mix.WRITES: 0.0, Mix.READS: 1.0, Mix.MIXED: read_share}[mix]
        self.level = level
        self._rng = rng
        self._value = rng.randbytes(value_size)
        # Encoded once: the benchmark is about the database, not about its own client's packing.
        self._insert = encode_statements([(_INSERT, [self._value])])
        self._selects = [encode_statements([(_SELECT, [row])]) for row in range(1, ROWS + 1)]

    def prepare(self, pipeline: Pipeline) -> None:
        """Make the table and the rows to read.

        Raises:
            RequestError: the database refuses.
        """
        _finish(pipeline, pipeline.write([(_CREATE, ())]))
        for first in range(1, ROWS + 1, _FILL_AT_ONCE):
            rows = range(first, min(first + _FILL_AT_ONCE, ROWS + 1))
            _finish(pipeline, pipeline.write([(_FILL, (row, self._value)) for row in rows]))

    def pick(self) -> tuple[int, bytes]:
        """Kind and payload of the next request."""
        if self._share and (self._share >= 1.0 or self._rng.random() < self._share):
            return _READ, self._selects[int(self._rng.random() * ROWS)]
        return _WRITE, self._insert

    def submit(self, pipeline: Pipeline, now_ms: int, tag: object) -> None:
        """Submit the next request."""
        kind, payload = self.pick()
        session = pipeline.session
        if kind == _READ:
            call = session.read(payload, now_ms, level=self.level, tag=tag)
        else:
            call = session.write(payload, now_ms, tag=tag)
        pipeline.submit(call)


def _finish(pipeline: Pipeline, call: Call) -> None:
    while not call.done:
        pipeline.poll(500)
    if call.error is not None:
        raise call.error
