"""The state machine against a twin: a plain dictionary with the rules of exactly once.

Random clients, keys, retries (also ones with another payload, and very late ones), leaders with
limits and clocks of their own, groups, and restarts.
"""

from __future__ import annotations

import random
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zlib import crc32

import msgpack
import pytest

from raftzmq import errors
from raftzmq.statemachine.bounds import ApplyLimits
from raftzmq.statemachine.command import CommandFlags, Request
from raftzmq.statemachine.machine import LogEntry
from raftzmq.statemachine.replicated_time import STEP_MS_MAX
from raftzmq.statemachine.reply import APPLIED_BEFORE, Reply
from tests.statemachine.world import CLOCK_MS, World, anonymous, entry, payload

LEADERS = (
    ApplyLimits(ledger_ms=3_000, key_ledger_ms=6_000),
    ApplyLimits(ledger_bytes_max=900, key_ledger_bytes_max=500),
    ApplyLimits(ledger_ms=1_000, ledger_bytes_max=2_000, key_ledger_ms=1_500),
)
OVERHEAD_BYTES = 32


@dataclass
class TwinLedger:
    """Rows of (index, elapsed, bytes, names); a name -> (reply, payload, attempt)."""

    rows: list[tuple[int, int, int, list[Any]]] = field(default_factory=list)
    known: dict[Any, tuple[Reply, bytes, int]] = field(default_factory=dict)
    low_index: int = 0

    def seal(
        self, index: int, elapsed_ms: int, flat: list[Any], names: list[Any], keep: tuple[int, int]
    ) -> None:
        if names:
            size = len(msgpack.packb(flat)) + OVERHEAD_BYTES
            self.rows.append((index, elapsed_ms, size, names))
        keep_ms, bytes_max = keep
        while self.rows and (
            sum(row[2] for row in self.rows) > bytes_max or self.rows[0][1] + keep_ms < elapsed_ms
        ):
            self.low_index, _, _, forgotten = self.rows.pop(0)
            for name in forgotten:
                del self.known[name]


class Twin:
    """What the replies must be, and what the table must hold."""

    def __init__(self) -> None:
        self.sessions = TwinLedger()
        self.keys = TwinLedger()
        self.elapsed_ms = 0
        self.clock_ms = 0
        self.inserted: list[bytes] = []

    def begin(self, index: int, clock_ms: int, limits: ApplyLimits) -> None:
        """The next entry."""
        self.elapsed_ms += min(max(clock_ms - self.clock_ms, 0), STEP_MS_MAX)
        self.clock_ms = clock_ms
        self._index, self._limits = index, limits
        self._flat: tuple[list[Any], list[Any]] = ([], [])
        self._names: tuple[list[Any], list[Any]] = ([], [])

    def expected(self, request: Request, keyed: bool) -> Reply | int | None:
        """The reply from memory, the code of an error, or None: it is new."""
        name = (request.client, request.sequence)
        if keyed:
            used = self.keys.known.get(request.client)
            if used is not None:
                if used[1] != request.payload:
                    return errors.NameReused.code
                return used[0]._replace(flags=APPLIED_BEFORE if used[2] != request.sequence else 0)
            if request.since < self.keys.low_index:
                return errors.LedgerExpired.code
        known = self.sessions.known.get(name)
        if known is not None:
            return known[0] if known[1] == request.payload else errors.NameReused.code
        if request.since < self.sessions.low_index:
            return errors.LedgerExpired.code
        return None

    def executed(self, request: Request, reply: Reply, keyed: bool) -> None:
        """A new request was carried out."""
        remembered = (reply._replace(index=self._index), request.payload, request.sequence)
        if keyed and reply.code == 0:
            self.keys.known[request.client] = remembered
            self._names[1].append(request.client)
            self._flat[1].extend((request.client, 0, 0, reply.body, b"x" * 12))
        else:
            self.sessions.known[request.client, request.sequence] = remembered
            self._names[0].append((request.client, request.sequence))
            self._flat[0].extend((*request[:2], reply.code, reply.body, crc32(request.payload)))
        if reply.code == 0:
            self.inserted.append(request.payload)

    def seal(self) -> None:
        """The entry is done: forget."""
        limits = self._limits
        pairs = (
            (self.sessions, (limits.ledger_ms, limits.ledger_bytes_max)),
            (self.keys, (limits.key_ledger_ms, limits.key_ledger_bytes_max)),
        )
        for kind, (ledger, keep) in enumerate(pairs):
            ledger.seal(self._index, self.elapsed_ms, self._flat[kind], self._names[kind], keep)


class Story:
    """Random entries, their replies, and the twin's opinion of them."""

    def __init__(self, seed: int, world: World) -> None:
        self.rng = random.Random(seed)
        self.world = world
        self.twin = Twin()
        self.past: list[tuple[Request, bool]] = []
        self.numbers = 0
        self.clock_ms = CLOCK_MS
        self.verdicts: dict[str, int] = {}

    def _new(self, keyed: bool) -> Request:
        self.numbers += 1
        client = f"key {self.numbers}" if keyed else self.rng.choice(("ann-0123", "bob-0123"))
        value = self.rng.choice((str(self.numbers), str(self.numbers), "nothing"))
        what = payload(f"INSERT INTO t VALUES({value}, {self.numbers}) RETURNING a, random()")
        since = self.world.machine.applied[0] - self.rng.choice((0, 0, 0, 5))
        return Request(client.encode(), self.numbers, since, what)

    def _request(self, keyed: bool) -> Request:
        again = [request for request, was_keyed in self.past if was_keyed is keyed]
        if not again or self.rng.random() < 0.4:
            return self._new(keyed)
        request = self.rng.choice(again[-self.rng.choice((5, 20, 1_000)) :])
        what = self.rng.random()
        if what < 0.25:
            return request._replace(payload=payload("INSERT INTO t VALUES(0, 0)"))
        if what < 0.6 and keyed:
            self.numbers += 1
            since = self.world.machine.applied[0]
            return request._replace(sequence=self.numbers, since=since)
        return request

    def step(self) -> None:
        rng = self.rng
        group: list[LogEntry] = []
        made: list[tuple[int, ApplyLimits, bool, list[Request]]] = []
        first = self.world.next_index
        for offset in range(rng.randrange(1, 5)):
            keyed = rng.random() < 0.4
            limits = rng.choice(LEADERS)
            requests = [self._request(keyed) for _ in range(rng.randrange(4))]
            self.clock_ms += rng.choice((10, 200, 1_500))
            clock_ms = self.clock_ms + rng.choice((0, 0, 0, 10**10, -500))
            flags = CommandFlags.KEYED if keyed else 0
            group.append(
                entry(first + offset, *requests, clock_ms=clock_ms, flags=flags, limits=limits)
            )
            made.append((clock_ms, limits, keyed, requests))
            self.past += [(request, keyed) for request in requests]
        results = self.world.machine.apply(group)
        for result, (clock_ms, limits, keyed, requests) in zip(results, made, strict=True):
            self._compare(result.index, clock_ms, limits, keyed, requests, result.replies)

    def _compare(
        self,
        index: int,
        clock_ms: int,
        limits: ApplyLimits,
        keyed: bool,
        requests: list[Request],
        replies: list[Reply],
    ) -> None:
        self.twin.begin(index, clock_ms, limits)
        for request, reply in zip(requests, replies, strict=True):
            expected = self.twin.expected(request, keyed)
            if expected is None:
                assert (reply.index, reply.flags) == (0, 0), "a new name is executed"
                self.twin.executed(request, reply, keyed)
                verdict = "executed" if reply.code == 0 else "rejected"
            elif isinstance(expected, int):
                assert reply.code == expected
                verdict = errors.WIRE_ERRORS[expected].__name__
            else:
                assert reply == expected, "the first reply comes back"
                verdict = "repeated"
            self.verdicts[verdict] = self.verdicts.get(verdict, 0) + 1
        self.twin.seal()

    def check_effects(self) -> None:
        """The table holds each insert as often as the twin saw it executed."""
        found = self.world.rows("SELECT b FROM t ORDER BY rowid")
        assert found == [[_number(what)] for what in self.twin.inserted]
        once = self.world.machine._once
        assert len(once.sessions) == len(self.twin.sessions.known)
        assert len(once.keys) == len(self.twin.keys.known)


def _number(what: bytes) -> int:
    sql: str = msgpack.unpackb(what)[0][0]
    return int(sql.partition(", ")[2].partition(")")[0])


@pytest.mark.parametrize("seed", range(6))
def test_the_machine_answers_as_its_twin(seed: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        try:
            world.entry(anonymous("CREATE TABLE t(a, b)"))
            story = Story(seed, world)
            story.twin.clock_ms, story.twin.elapsed_ms = world.machine._time[1:]
            for _ in range(250):
                story.step()
                if story.rng.random() < 0.1:
                    world.reopen()
            story.check_effects()
        finally:
            world.machine.close()
    for verdict in ("executed", "rejected", "repeated", "NameReused", "LedgerExpired"):
        assert story.verdicts.get(verdict, 0) > 10, story.verdicts
