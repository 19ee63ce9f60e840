"""Client requests on a node: what each waits for, and who runs it.

Called by the raft thread only. Writes of one round become one log entry; linearizable reads of
one round share one ReadIndex. A request is always answered: by its result, by a typed error,
or by its deadline.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from operator import attrgetter

from raftzmq import limits
from raftzmq.errors import (
    DeadlineExpired,
    Forbidden,
    MalformedRequest,
    NotLeader,
    OutcomeUnknown,
    Overloaded,
    RequestError,
    ShuttingDown,
    TooLarge,
    TooStale,
    Unavailable,
    UnsupportedVersion,
)
from raftzmq.node.batches import Batch
from raftzmq.node.conditions import Conditions
from raftzmq.node.deadlines import Deadlines
from raftzmq.node.freshness import Freshness
from raftzmq.node.queries import Queries
from raftzmq.node.room import Room, fail_all
from raftzmq.node.verify import verify
from raftzmq.node.workers import (
    FAST_JOB_READS_MAX,
    RUN_DIGEST,
    RUN_FAST,
    RUN_SLOW,
    Item,
    Job,
    ReadPool,
)
from raftzmq.raft.types import ReadState
from raftzmq.replica.replica import Replica
from raftzmq.replica.requests import PendingReads, PendingWrites
from raftzmq.statemachine.bounds import ApplyLimits
from raftzmq.statemachine.command import Request, encode_command
from raftzmq.statemachine.machine import EntryResult
from raftzmq.transport.clock import monotonic_ms
from raftzmq.wire.client import Flags, Kind, Level, RequestHeader, decode_batch, decode_request
from raftzmq.wire.codec import DecodeError
from raftzmq.wire.sql_text import begins_like_statements

LARGE_BYTES = 64 << 10
"""A request of this size is looked at before it goes anywhere; the look costs 2 us."""
COMMIT_CONTEXT = -1
"""Context of a read index that is asked only to hear of commits; those of reads count from 1."""
# Plain integers: the operators of IntFlag and IntEnum cost more than the rest of routing.
_WRITE = int(Kind.WRITE)
_READ = int(Kind.READ)
_LINEARIZABLE = int(Level.LINEARIZABLE)
_LEADER = int(Level.LEADER)
_SESSION = int(Level.SESSION)
_OF_WRITES = int(Flags.NO_FOREIGN_KEYS | Flags.KEYED | Flags.NO_RESULT)
"""Writes that differ in these go into entries of their own."""
_KEYED = int(Flags.KEYED)
_AGAIN = int(Flags.AGAIN)
_SLOW = int(Flags.SLOW)
_BULK = int(Flags.BULK)
_FAST_OR_SLOW = int(Flags.FAST_ONLY | Flags.SLOW)
_TIMEOUT: Callable[[RequestHeader], int] = attrgetter("timeout_ms")


@dataclass(slots=True)
class Counters:
    """What the node did since it started."""

    reads: int = 0
    writes: int = 0
    malformed: int = 0
    other_version: int = 0
    overloaded: int = 0
    given_up: int = 0
    abandoned: int = 0
    no_envelope: int = 0
    replies_unaddressed: int = 0
    replies_unread: int = 0

    def dropped(self) -> dict[str, int]:
        """Messages of clients that were refused unread: cause -> how many."""
        counts = {
            "client malformed": self.malformed,
            "client other version": self.other_version,
            "client overload": self.overloaded,
            "client given up for others": self.given_up,
            "client left before its answer": self.abandoned,
            "client without envelope": self.no_envelope,
            "reply to a client that left": self.replies_unaddressed,
            "reply to a client that does not read": self.replies_unread,
        }
        return {cause: count for cause, count in counts.items() if count}


@dataclass(slots=True)
class _Writes:
    """Writes gathered in this round, to become one entry."""

    requests: list[Request] = field(default_factory=list)
    items: list[Item] = field(default_factory=list)
    size_bytes: int = 0


class ClientService:
    """Takes the requests of clients and brokers.

    Args:
        replica: the replica this node hosts.
        conditions: what this node must refuse now.
        fast: workers for batches of short reads.
        slow: workers for reads that may take long.
        queries: lists and stops what runs.
        send: sends (envelope, frame 1) on the client socket.
        client_addresses: node name -> address for clients, told with NotLeader.
        status: packs this node's NodeStatus.
        observe: registers the sender of an envelope for status pushes.
        pending_max: requests that may wait here at the same time.
        apply_limits: travel with each entry that this node proposes.
        rng: source of the seeds for random() in SQL.
        seen_index: what readers of state.db have seen applied, which may be more than is known to
            the replica. Whoever saw it asks for no less the next time, and finds it here.
    """

    def __init__(
        self,
        *,
        replica: Replica,
        conditions: Conditions,
        fast: ReadPool,
        slow: ReadPool,
        queries: Queries,
        send: Callable[[list[bytes], bytes], None],
        client_addresses: dict[str, str],
        status: Callable[[], bytes],
        observe: Callable[[list[bytes]], None],
        pending_max: int,
        apply_limits: ApplyLimits,
        rng: random.Random,
        seen_index: Callable[[], int] = lambda: 0,
    ) -> None:
        self._replica = replica
        self._conditions = conditions
        self._fast = fast
        self._slow = slow
        self._queries = queries
        self._send = send
        self._addresses = client_addresses
        self._status = status
        self._observe = observe
        self._room = Room(pending_max, limits.NODE_PENDING_BYTES_MAX)
        self._packed_status: bytes | None = None
        self._freshness = Freshness()
        self._now_ms = 0
        self._apply_limits = apply_limits
        self._rng = rng
        self._seen_index = seen_index
        self._writes: dict[int, _Writes] = {}
        self._linearizable: list[Item] = []
        self._at_once: list[Item] = []
        """Reads of the message under way that nothing more is to be waited for."""
        self._pending_writes: PendingWrites[list[Item]] = PendingWrites()
        self._pending_reads: PendingReads[list[Item]] = PendingReads()
        self._deadlines = Deadlines()
        self._batches = 0
        self._asks_commit = False
        self.counters = Counters()
        self.stopping = False

    @property
    def busy(self) -> bool:
        """Whether requests still wait for their answers."""
        return self._room.requests > 0

    @property
    def visible_index(self) -> int:
        """Every snapshot of state.db that begins now shows at least this log index."""
        return max(self._replica.applied_index, self._seen_index())

    @property
    def awaits_applied(self) -> bool:
        """Whether a request waits for an entry to be applied here."""
        return bool(len(self._pending_writes)) or self._pending_reads.awaits_applied

    def receive(
        self, envelope: list[bytes], frame: bytes | memoryview, batch_flags: int, now_ms: int
    ) -> bool:
        """Take one message: a batch of requests behind ``envelope``.

        Returns:
            Whether anything is done with it, but to refuse it.
        """
        self._now_ms = now_ms
        try:
            requests = [decode_request(blob) for blob in decode_batch(frame)]
        except DecodeError as error:
            self.refuse(envelope, MalformedRequest(f"this is not a request: {error}"))
            return False
        # A broker numbers its batches in the envelope, so what it sends again is always new.
        if len(envelope) == 1 and any(request.flags & _AGAIN for request in requests):
            requests = self._not_held(envelope, requests)
            if not requests:
                return False
        longest = min(max(map(_TIMEOUT, requests)), limits.REQUEST_TIMEOUT_MAX_MS)
        size_bytes = len(frame)
        self._batches += 1
        deadline_ms = now_ms + longest
        sent = partial(self._sent, self._batches, size_bytes, deadline_ms)
        batch = Batch(envelope, requests, sent, self._replica.raft.node, deadline_ms)
        if batch_flags & _BULK:
            batch.holder += b"+"
        if not self._room.admit(self._batches, batch, size_bytes):
            self.counters.overloaded += 1
            refused = Batch(envelope, requests, self._sent_refusal, self._replica.raft.node, 0)
            full = Overloaded("this node has too many requests waiting; try again shortly")
            fail_all(refused, full)
            return False
        self.counters.given_up = self._room.given_up
        self._deadlines.add(self._batches, batch)
        takes_writes = (
            self._replica.is_leader
            and not self.stopping
            and self._conditions.refusing_writes is None
        )
        for position, request in enumerate(requests):
            kind = request.kind
            if takes_writes and kind == _WRITE:
                self._gather_write((batch, position), request)
            elif kind == _READ and not self.stopping:
                self._route_read((batch, position), request, batch_flags | request.flags)
            else:
                self._route((batch, position), request)
        if self._at_once:
            items, self._at_once = self._at_once, []
            self._run(items)
        # What is large and answered at once was refused.
        return size_bytes < LARGE_BYTES or not batch.done

    def _not_held(
        self, envelope: list[bytes], requests: list[RequestHeader]
    ) -> list[RequestHeader]:
        """``requests`` without the repeated ones that this sender will get an answer to anyway."""
        held = {
            (request.client, request.sequence)
            for batch in self._room.of(envelope[0])
            if batch.envelope == envelope
            for request in batch.requests
        }
        return [
            request
            for request in requests
            if not (request.flags & _AGAIN and (request.client, request.sequence) in held)
        ]

    def refuse(self, envelope: list[bytes], error: RequestError) -> None:
        """Answer a message that holds no readable request with one error."""
        if isinstance(error, UnsupportedVersion):
            self.counters.other_version += 1
        else:
            self.counters.malformed += 1
        nobody = RequestHeader(Kind.STATUS, b"", 0, 0, 0, 0, 0, 0, b"")
        Batch(envelope, [nobody], self._sent_refusal, self._replica.raft.node, 0).fail(0, error)

    def client_left(self, routing_id: bytes) -> None:
        """No connection has this routing id any more: what waits for it waits in vain."""
        self._room.abandon(routing_id)
        self.counters.abandoned = self._room.abandoned

    def end_of_round(self, clock_ms: int) -> None:
        """Propose the writes and ask for the read index of this round."""
        self._packed_status = None
        if self._writes:
            gathered, self._writes = self._writes, {}
            for flags, writes in gathered.items():
                self._propose(writes, flags, clock_ms)
        if self._linearizable:
            items, self._linearizable = self._linearizable, []
            context = self._pending_reads.ask(items)
            self._freshness.asked(context, self._now_ms)
            self._replica.raft.read_index(context)
        elif self._asks_commit:
            # Its answer says what is committed sooner than the leader would by itself.
            self._replica.raft.read_index(COMMIT_CONTEXT)
        self._asks_commit = False

    def read_states(self, states: Sequence[ReadState]) -> None:
        """Raft answered reads: run those whose index is applied, fail the refused."""
        for state in states:
            self._freshness.answered(state.context, state.index)
            refused = self._pending_reads.answered(state.context, state.index)
            for batch, position in refused or ():
                if not batch.done:
                    batch.fail(position, _not_confirmed(batch.requests[position]))
        self.run_ready()

    def run_ready(self) -> None:
        """Run the reads that the applied index now satisfies; refuse all if none is served."""
        if self._conditions.refusing_reads is not None:
            # What they wait for may never be applied here; another node has it.
            for items in self._pending_reads.take_waiting():
                self._run(items)
            return
        visible_index = self.visible_index
        self._freshness.applied(visible_index)
        for items in self._pending_reads.ready(visible_index):
            self._run(items)

    def applied(self, results: list[EntryResult]) -> None:
        """Entries were applied: answer the writes among them that were proposed here."""
        for result in results:
            items, overwritten, passed = self._pending_writes.applied(result.index, result.term)
            for batch, position in overwritten or ():
                batch.fail(position, self._not_leader())
            for lost in passed:
                for batch, position in lost:
                    batch.fail(position, _fate_open())
            if items is not None:
                self.counters.writes += len(items)
                for (batch, position), reply in zip(items, result.replies, strict=True):
                    code, body, index, flags = reply
                    batch.answer(position, code, body, index or result.index, flags)

    def leadership_lost(self) -> None:
        """Answer the proposals whose fate is open."""
        for items in self._pending_writes.lost(self._replica.raft.commit_index):
            for batch, position in items:
                batch.fail(position, _fate_open())

    def answer_all(self) -> None:
        """The node ends: tell everybody who waits what is known of the request."""
        for batch in list(self._deadlines):
            for position, request in enumerate(batch.requests):
                if request.kind == _WRITE:
                    batch.fail(position, OutcomeUnknown("the node stopped before the answer"))
                else:
                    batch.fail(position, ShuttingDown("this node is stopping; ask another"))

    def end_service(self) -> None:
        """What state.db holds is wrong: answer nothing more from it, begun or not."""
        refusing = self._conditions.refusing_reads
        refused = Unavailable(refusing.sentence if refusing else "this replica is not in order")
        for pool in (self._fast, self._slow):
            pool.refuse(refused)
        waiting = [item for writes in self._writes.values() for item in writes.items]
        for batch, position in (*self._linearizable, *waiting):
            batch.fail(position, refused)
        self._linearizable, self._writes = [], {}
        self.run_ready()
        unknown = OutcomeUnknown(
            "this write was handed to the cluster, but the replica that should tell its result "
            "is not in order; another one will"
        )
        for items in self._pending_writes.lost(0):
            for batch, position in items:
                batch.fail(position, unknown)

    def expire(self, now_ms: int) -> None:
        """Answer what is past its deadline."""
        for batch in self._deadlines.take_expired(now_ms):
            for position, request in enumerate(batch.requests):
                batch.fail(position, _too_late(request))
        self._pending_reads.forget(_all_done)

    def _route(self, item: Item, request: RequestHeader) -> None:
        """Whatever is not done at once: all but reads, and writes that may be proposed."""
        batch, position = item
        if self.stopping and request.kind in (Kind.WRITE, Kind.READ):
            batch.fail(position, ShuttingDown("this node is stopping; ask another"))
        elif request.kind == Kind.WRITE:
            refusing = self._conditions.refusing_writes
            if refusing is not None and self._replica.is_leader:
                batch.fail(position, refusing.write_error(refusing.sentence))
            else:
                batch.fail(position, self._not_leader())
        elif request.kind == Kind.STATUS:
            batch.answer(position, 0, self._status_now(), self._replica.applied_index)
        elif request.kind == Kind.OBSERVE:
            self._observe(batch.envelope)
            batch.answer(position, 0, self._status_now(), self._replica.applied_index)
        elif request.kind == Kind.DIGEST:
            self._slow.submit(Job(RUN_DIGEST, [item]))
        elif request.kind == Kind.TRANSFER:
            self._transfer(item, request)
        elif request.kind in (Kind.QUERIES, Kind.KILL):
            self._look_or_kill(item, request)
        elif request.kind == Kind.VERIFY:
            self._verify(item, request)
        else:
            batch.fail(
                position,
                Forbidden("a node is stopped by a signal to its process, not over the network"),
            )

    def _gather_write(self, item: Item, request: RequestHeader) -> None:
        _, client, sequence, _, since, _, _, flags, payload = request
        size_bytes = len(payload)
        if size_bytes > limits.REQUEST_BYTES_MAX:
            error = TooLarge(
                f"a write of {size_bytes} bytes; at most {limits.REQUEST_BYTES_MAX} "
                f"(REQUEST_BYTES_MAX) go into one transaction"
            )
            item[0].fail(item[1], error)
            return
        if _refused_as_rubbish(item, payload):
            return
        flags &= _OF_WRITES
        if flags & _KEYED and not client:
            item[0].fail(item[1], MalformedRequest("KEYED is set, but there is no key"))
            return
        writes = self._writes.get(flags)
        if writes is None:
            writes = self._writes[flags] = _Writes()
        writes.requests.append(Request(client, sequence, since, payload))
        writes.items.append(item)
        writes.size_bytes += size_bytes

    def _propose(self, writes: _Writes, flags: int, clock_ms: int) -> None:
        start = 0
        if writes.size_bytes < limits.APPEND_BYTES_MAX:
            self._propose_slice(writes, 0, len(writes.requests), flags, clock_ms)
            return
        size_bytes = 0
        for position, request in enumerate(writes.requests):
            size_bytes += len(request.payload)
            if size_bytes >= limits.APPEND_BYTES_MAX:
                self._propose_slice(writes, start, position + 1, flags, clock_ms)
                start, size_bytes = position + 1, 0
        if start < len(writes.requests):
            self._propose_slice(writes, start, len(writes.requests), flags, clock_ms)

    def _propose_slice(
        self, writes: _Writes, start: int, stop: int, flags: int, clock_ms: int
    ) -> None:
        data = encode_command(
            clock_ms=clock_ms,
            seed=self._rng.getrandbits(63),
            flags=flags,
            limits=self._apply_limits,
            requests=writes.requests[start:stop],
        )
        items = writes.items[start:stop]
        position = self._replica.raft.propose(data)
        if position is not None:
            self._pending_writes.add(position, items)
            return
        error: RequestError = self._not_leader()
        if self._replica.raft.propose_refusal() == "overloaded":
            error = Overloaded("the leader waits for its followers; try again shortly")
        for batch, place in items:
            batch.fail(place, error)

    def _route_read(self, item: Item, request: RequestHeader, flags: int) -> None:
        batch, position = item
        refusing = self._conditions.refusing_reads
        if refusing is not None:
            batch.fail(position, Unavailable(refusing.sentence))
            return
        if _refused_as_rubbish(item, request.payload):
            return
        level = request.level
        if flags & _FAST_OR_SLOW:
            batch.slow |= bool(flags & _SLOW)
            batch.fast_only |= not batch.slow
        if level == _LINEARIZABLE:
            self._linearizable.append(item)
        elif level == _LEADER:
            if self._replica.is_leader:
                self._linearizable.append(item)
            else:
                batch.fail(position, self._not_leader())
        elif level == _SESSION:
            if request.min_index <= self.visible_index:
                self._at_once.append(item)
            else:
                self._pending_reads.wait(request.min_index, [item])
                self._asks_commit |= request.min_index > self._replica.raft.commit_index
        elif not request.max_age_ms or self._freshness.within(request.max_age_ms, self._now_ms):
            self._at_once.append(item)
        else:
            # One question to the leader makes this and the reads that follow fresh enough.
            self._linearizable.append(item)

    def _run(self, items: list[Item]) -> None:
        refusing = self._conditions.refusing_reads
        if refusing is not None:
            for batch, position in items:
                batch.fail(position, Unavailable(refusing.sentence))
            return
        self.counters.reads += len(items)
        fast = [item for item in items if not item[0].slow]
        for own in _by_holder(fast):
            for start in range(0, len(own), FAST_JOB_READS_MAX):
                self._fast.submit(Job(RUN_FAST, own[start : start + FAST_JOB_READS_MAX]))
        if len(fast) < len(items):
            for item in items:
                if item[0].slow:
                    self._slow.submit(Job(RUN_SLOW, [item]))

    def _transfer(self, item: Item, request: RequestHeader) -> None:
        batch, position = item
        target = request.payload.decode(errors="replace") or None
        if not self._replica.is_leader:
            batch.fail(position, self._not_leader())
        elif self._replica.raft.transfer_leadership(target):
            batch.answer(position, 0, b"\x90", self._replica.applied_index)
        else:
            batch.fail(position, Unavailable(f"leadership cannot go to {target or 'any other'}"))

    def _look_or_kill(self, item: Item, request: RequestHeader) -> None:
        batch, position = item
        applied = self._replica.applied_index
        if request.kind == Kind.KILL:
            try:
                self._queries.kill(request.payload, monotonic_ms())
            except RequestError as error:
                batch.fail(position, error)
            else:
                batch.answer(position, 0, b"\x90", applied)
            return
        found = self._queries.listed(
            monotonic_ms(),
            reads_waiting=len(self._pending_reads) + len(self._linearizable),
            entries_waiting=len(self._pending_writes),
        )
        batch.answer(position, 0, found, applied)

    def _verify(self, item: Item, request: RequestHeader) -> None:
        batch, position = item
        try:
            if not self._replica.is_leader:
                raise self._not_leader()
            body = verify(self._replica.equality, request.payload)
            batch.answer(position, 0, body, self._replica.applied_index)
        except RequestError as error:
            batch.fail(position, error)

    def _status_now(self) -> bytes:
        """Packed once per round: a message may hold a thousand requests for it."""
        if self._packed_status is None:
            self._packed_status = self._status()
        return self._packed_status

    def _sent(
        self,
        number: int,
        size_bytes: int,
        deadline_ms: int,
        envelope: list[bytes],
        frame: bytes,
        count: int,
    ) -> None:
        self._deadlines.discard(number, deadline_ms)
        self._room.closed(number, envelope[0], count, size_bytes)
        if frame:
            self._send(envelope, frame)

    def _sent_refusal(self, envelope: list[bytes], frame: bytes, count: int) -> None:
        self._send(envelope, frame)

    def _not_leader(self) -> NotLeader:
        leader = self._replica.raft.leader
        if leader is None or leader == self._replica.raft.node:
            return NotLeader("no leader is known here yet; try again shortly")
        return NotLeader(f"{leader} is the leader, ask it", self._addresses.get(leader, ""))


def _refused_as_rubbish(item: Item, payload: bytes) -> bool:
    """Whether ``item`` is large, no list of statements, and told so now.

    Its execution would say the same, after it was sent and written everywhere, or was copied four
    times on its way to a worker and taken apart there.
    """
    if len(payload) < LARGE_BYTES or begins_like_statements(payload):
        return False
    item[0].fail(item[1], MalformedRequest("the payload is not a list of statements"))
    return True


def _by_holder(items: list[Item]) -> Iterable[list[Item]]:
    """``items`` apart by whose they are: in one job, one holder would wait for the others."""
    of: dict[bytes, list[Item]] = {}
    own: list[Item] = []
    last: Batch | None = None
    for item in items:
        batch = item[0]
        if batch is not last:
            last = batch
            own = of.setdefault(batch.holder, [])
        own.append(item)
    return of.values()


def _all_done(items: list[Item]) -> bool:
    return all(batch.done for batch, _ in items)


def _not_confirmed(request: RequestHeader) -> RequestError:
    if request.level == Level.STALE:
        return TooStale(
            f"no leader confirmed that this replica is at most {request.max_age_ms} ms behind"
        )
    return Unavailable("no leader confirmed this read; try again shortly, or read at level stale")


def _fate_open() -> OutcomeUnknown:
    return OutcomeUnknown(
        "the leader was replaced before this write was confirmed; it may still be applied"
    )


def _too_late(request: RequestHeader) -> RequestError:
    if request.kind == Kind.WRITE:
        return OutcomeUnknown(
            f"this write got no answer within {request.timeout_ms} ms; it may still be applied"
        )
    if request.kind == Kind.READ and request.level == Level.SESSION:
        return DeadlineExpired(
            f"this replica did not come to log index {request.min_index} within "
            f"{request.timeout_ms} ms; is that token of this cluster?"
        )
    return DeadlineExpired(f"no answer within {request.timeout_ms} ms")
