"""Where each request goes, and what becomes of it: the whole broker but for sockets and clock.

Bytes and ``now_ms`` come in, bytes go out; ``broker.py`` and the simulator host the same code.

Rules of this file:

1. Each accepted request is answered exactly once, to the connection it came from; what still waits
   when that connection has ended is let go (``client_left``).
2. A request is sent again only if that is harmless: reads; writes that were surely not
   executed; writes with a client id, which the ledger recognises (promise P4).
3. Once a write may have been executed (``Pending.doubt``), no answer to the client says that it
   was not (promise P9).
4. An expired request is never sent.
5. Nothing waits without a bound: requests, bytes and time.
6. Batches form while lanes are busy: the next leaves when one frees (group commit).
7. Connections take turns in each queue: how much one sends is nothing to the others (decision 010).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from heapq import heappop, heappush
from typing import Final

from raftzmq import limits
from raftzmq.broker.dispatch import ANSWER_LOST_MS, Dispatch, Outgoing
from raftzmq.broker.health import ClusterView
from raftzmq.broker.pending import NEVER_MS, Counters, InFlight, Lane, Pending
from raftzmq.broker.replies import Replies, error_blob, error_words
from raftzmq.broker.slow_texts import SlowTexts
from raftzmq.errors import (
    DeadlineExpired,
    Deferred,
    DiskFull,
    LedgerExpired,
    MalformedRequest,
    NotExecuted,
    NotLeader,
    OutcomeUnknown,
    Overloaded,
    Rejected,
    RequestError,
    ShuttingDown,
    TooStale,
    Unavailable,
    UnsupportedVersion,
)
from raftzmq.transport.shares import Shares
from raftzmq.wire.client import (
    Flags,
    Kind,
    Level,
    Reply,
    decode_batch,
    decode_lone_head,
    decode_reply,
    decode_request,
    encode_batch,
    encode_reply,
    encode_request,
)
from raftzmq.wire.codec import DecodeError, pack
from raftzmq.wire.status import decode_status
from raftzmq.wire.version import CLIENT_FRAME, VersionMismatch, check_client_frame

OBSERVE_BATCH: Final = b"observe!"
STATUS_PUSH: Final = b"status"
EXPIRY_REQUESTS_PER_MS: Final = 1_000
"""The search for requests whose time ran out looks at all that is held, and then rests a
millisecond for so many of them: a client that sets thousands of different timeouts must not cause
a search for each."""
# Plain integers: the operators of IntFlag and IntEnum cost more than all else that is done with a
# request here.
_WRITE: Final = int(Kind.WRITE)
_READ: Final = int(Kind.READ)
_AGAIN: Final = int(Flags.AGAIN)
_SLOW: Final = int(Flags.SLOW)
_SESSION: Final = int(Level.SESSION)
AHEAD_MAX: Final = 100_000
"""Entries by which a session may be ahead of what the broker has heard of: more than are written
between two status messages, several times over."""
FEW_MAX: Final = 16
"""Requests of one connection that are not many. A batch is answered as a whole and lanes are few:
without lanes of their own, whoever asks one at a time would wait for the thousands of others."""
RETRY_MS: Final = 20
"""A request that a node could not serve just now waits so long before the next attempt."""
REST_MS_MAX: Final = 200
"""Between two looks around when nothing comes: a fifth of what makes a node silent."""
BACK_OFF_DOUBLINGS_MAX: Final = 4
"""A full leader is asked again after RETRY_MS, doubled with each refusal so often: 320 ms. Sooner
would cost it more than it saves; later would miss the room that others leave."""


class Router:
    """Queues, lanes and re-sends of one broker.

    Args:
        nodes: name -> client address of each node of the cluster.
        cluster: name of the cluster; status of another one is not believed. Empty: any.
        name: what the broker calls itself in replies.
        requests_max: requests held at the same time, queued or in flight.
        bytes_max: bytes of these requests.
    """

    def __init__(
        self,
        nodes: Mapping[str, str],
        *,
        cluster: str = "",
        name: str = "broker",
        requests_max: int = limits.BROKER_QUEUE_REQUESTS_MAX,
        bytes_max: int = limits.BROKER_QUEUE_BYTES_MAX,
    ) -> None:
        self.view = ClusterView(nodes)
        self.counters = Counters()
        self.dropped_at_sockets: Mapping[str, int] = {}
        self._cluster = cluster
        self._name = name
        self._dispatch = Dispatch(self.view, self.counters, self._expired)
        self._parked: list[tuple[int, int, Pending]] = []
        """A heap by due time, then arrival."""
        self._replies = Replies()
        self._slow_texts = SlowTexts()
        self._shares = Shares(requests_max, bytes_max)
        self._order = 0
        self._next_expiry_ms = NEVER_MS
        self._expiry_rests_ms = 0
        self._leader: str | None = None
        self._stopping = False
        self._packed_status = b""
        """As it was at ``_packed_status_ms``: a message may hold a thousand requests for it."""
        self._packed_status_ms = -1
        self._held_names: set[tuple[bytes, bytes, int]] = set()
        """(identity, client, sequence) of what was held at ``_held_names_ms``."""
        self._held_names_ms = -1

    @property
    def busy(self) -> bool:
        """Whether requests still wait for their answers."""
        return self._shares.requests > 0

    # -- from clients ----------------------------------------------------------------------

    def from_client(
        self, identity: bytes, frames: Sequence[bytes | memoryview], now_ms: int
    ) -> bool:
        """One message of a client.

        Args:
            identity: routing id of the connection.
            frames: what follows it: empty frame, protocol frame, batch.

        Returns:
            Whether anything is done with it, but to refuse it.
        """
        if len(frames) != 3 or frames[0]:
            self.counters.dropped_envelope += 1
            return False
        try:
            if frames[1] != CLIENT_FRAME:
                check_client_frame(frames[1])
            blobs = decode_batch(frames[2])
        except VersionMismatch as error:
            self.counters.dropped_version += 1
            self._refuse(identity, b"", 0, UnsupportedVersion(str(error)))
            return False
        except DecodeError as error:
            self.counters.dropped_malformed += 1
            self._refuse(identity, b"", 0, MalformedRequest(f"this is not a request: {error}"))
            return False
        self.counters.requests += len(blobs)
        bulk = self._shares.held(identity) + len(blobs) > FEW_MAX
        accepted = False
        for blob in blobs:
            accepted |= self._accept(identity, blob, bulk, now_ms)
        return accepted

    def _accept(self, identity: bytes, blob: bytes, bulk: bool, now_ms: int) -> bool:
        """Whether this request is waited for from now on."""
        try:
            kind, client, sequence, level, min_index, _, timeout_ms, flags, payload = (
                decode_request(blob)
            )
        except DecodeError as error:
            self.counters.dropped_malformed += 1
            self._refuse(identity, b"", 0, MalformedRequest(f"this is not a request: {error}"))
            return False
        if kind != _WRITE and kind != _READ:
            self._serve_here(identity, kind, client, sequence, now_ms)
            return False
        if self._stopping:
            stopping = ShuttingDown("this broker is stopping; ask another one")
            self._refuse(identity, client, sequence, stopping)
            return False
        if level == _SESSION and 0 < self.view.furthest() < min_index - AHEAD_MAX:
            # It would wait until its time is over, and with it all that are in its batch.
            ahead = TooStale(
                f"this session has seen entry {min_index}, and no node is near that (entry "
                f"{self.view.furthest()}): it is of another cluster, or this one was restored from "
                "an older backup; begin a new session"
            )
            self._refuse(identity, client, sequence, ahead)
            return False
        if flags & _AGAIN and (identity, client, sequence) in self._held_at(now_ms):
            self.counters.repeated += 1
            return False
        if not self._shares.take(identity, 1, len(blob)):
            self.counters.dropped_overload += 1
            refusal = Overloaded(
                f"the broker holds {self._shares.requests} requests ({self._shares.bytes} bytes) "
                "already, too many of them of this connection; wait a little and send again"
            )
            self._refuse(identity, client, sequence, refusal)
            return False
        if not timeout_ms:
            timeout_ms = limits.REQUEST_TIMEOUT_MS
        elif timeout_ms > limits.REQUEST_TIMEOUT_MAX_MS:
            timeout_ms = limits.REQUEST_TIMEOUT_MAX_MS
        deadline_ms = now_ms + timeout_ms
        if deadline_ms < self._next_expiry_ms:
            self._next_expiry_ms = deadline_ms
        self._order += 1
        is_write = kind == _WRITE
        slow = not is_write and flags & _SLOW != 0
        item = Pending(
            identity, blob, client, sequence, is_write, level, min_index, deadline_ms, slow,
            self._order, bulk,
        )  # fmt: skip
        if is_write:
            self._dispatch.writes.append(identity, item)
        else:
            if self._slow_texts:
                item.text = self._slow_texts.known(payload)
                item.slow = slow or self._slow_texts.is_slow(item.text)
            self._dispatch.queue_of(item).append(identity, item)
        return True

    def _held_at(self, now_ms: int) -> set[tuple[bytes, bytes, int]]:
        """The requests that are here, and whose answers will go out some time.

        Looked up once per round, and only when somebody repeats something: an index that is
        kept up to date would cost every request.
        """
        if self._held_names_ms != now_ms:
            items = [item for queue in self._dispatch.queues() for item in queue]
            items += self._dispatch.again
            items += [item for *_, item in self._parked]
            for batch in self._dispatch.in_flight.values():
                items += [item for item in batch.items if item is not None]
            self._held_names = {
                (item.identity, item.client, item.sequence) for item in items if not item.done
            }
            self._held_names_ms = now_ms
        return self._held_names

    def _serve_here(
        self, identity: bytes, kind: int, client: bytes, sequence: int, now_ms: int
    ) -> None:
        if kind != Kind.STATUS:
            error = Rejected(f"a broker does not serve {Kind(kind).name}: ask a node directly")
            self._refuse(identity, client, sequence, error)
            return
        if self._packed_status_ms != now_ms:
            self._packed_status, self._packed_status_ms = pack(self.status(now_ms)), now_ms
        applied = self.view.furthest()
        blob = encode_reply(client, sequence, 0, applied, self._packed_status, self._name)
        self._reply(identity, blob)

    def status(self, now_ms: int) -> dict[str, object]:
        """What the broker answers to STATUS: ``nodes`` (a NodeStatus map each) and ``broker``."""
        views = self.view.nodes.values()
        return {
            "nodes": [asdict(view.status) for view in views if view.status is not None],
            "broker": {
                "name": self._name,
                "leader": self.view.leader or "",
                "term": self.view.term,
                "takes_writes": self.view.takes_writes(now_ms),
                "unreachable": [view.name for view in views if not view.reachable],
                "suspect": [view.name for view in views if view.suspect],
                "held_requests": self._shares.requests,
                "held_bytes": self._shares.bytes,
                "queued_writes": len(self._dispatch.writes),
                "queued_fast_reads": self._dispatch.fast_reads(),
                "queued_slow_reads": len(self._dispatch.slow),
                "slow_texts": len(self._slow_texts),
                "batches_in_flight": len(self._dispatch.in_flight),
                **asdict(self.counters),
                "dropped": dict(self.dropped_at_sockets),
            },
        }

    def client_left(self, identity: bytes) -> None:
        """No connection has this routing id any more: what waits for it waits in vain."""
        self._held_names_ms = -1  # what is let go here is not held, should it be repeated at once
        for queue in self._dispatch.queues():
            items = queue.take_all(identity)
            if items:
                for item in items:
                    item.done = True
                self._shares.give_back(identity, len(items), sum(len(item.blob) for item in items))
                self.counters.abandoned += len(items)

    # -- from nodes ------------------------------------------------------------------------

    def from_node(self, node: str, frames: Sequence[bytes], now_ms: int) -> None:
        """One message of a node: the answer to a batch, or a pushed status."""
        self.view.heard(node, now_ms)
        if len(frames) != 4 or frames[2] != CLIENT_FRAME:
            self.counters.dropped_bad_answer += 1
            return
        batch_id = frames[0]
        if batch_id in (STATUS_PUSH, OBSERVE_BATCH):
            self._status_heard(node, frames[3], now_ms)
            return
        batch = self._dispatch.in_flight.get(batch_id)
        if batch is None or batch.node != node:
            self.counters.dropped_late_answer += 1
            return
        self._dispatch.release(batch_id)
        self._dispatch.came_back(batch, now_ms)
        # To take it apart and to make it anew would be four copies of up to RESULT_BYTES_MAX.
        if len(frames[3]) >= limits.LARGE_RESULT_BYTES and self._passed_on(
            batch, frames[3], now_ms
        ):
            return
        try:
            blobs = decode_batch(frames[3])
        except DecodeError:
            blobs = []
        if len(blobs) != len(batch.items):
            self._batch_refused(batch, blobs, now_ms)
            return
        index = 0
        holder, done, done_bytes = b"", list[bytes](), 0
        for item, blob in zip(batch.items, blobs, strict=True):
            if item is None or item.done:
                continue
            try:
                reply = decode_reply(blob)
            except DecodeError:
                self._answer_lost(item, node, now_ms)
                continue
            if reply.sequence != item.sequence or reply.client != item.client:
                self._answer_lost(item, node, now_ms)
                continue
            if reply.code:
                self._failed(item, reply, blob, node, now_ms)
                continue
            if reply.index > index:
                index = reply.index
            if item.text:
                self._served(item, batch, now_ms)
            if item.identity != holder:
                self._finish_together(holder, done, done_bytes)
                holder, done, done_bytes = item.identity, [], 0
            item.done = True
            done.append(blob)
            done_bytes += len(item.blob)
        self._finish_together(holder, done, done_bytes)
        self.view.applied(node, index)

    def _passed_on(self, batch: InFlight, frame: bytes, now_ms: int) -> bool:
        """Whether ``frame``, one large result, is on its way to the client, as it came."""
        item = batch.items[0] if len(batch.items) == 1 else None
        if item is None or item.done:
            return False
        try:
            reply = decode_lone_head(frame)
        except DecodeError:
            return False
        if reply.code or reply.sequence != item.sequence or reply.client != item.client:
            return False
        if item.text:
            self._served(item, batch, now_ms)
        self._settle(item)
        self._replies.add_frame(item.identity, frame)
        self.view.applied(batch.node, reply.index)
        return True

    def _served(self, item: Pending, batch: InFlight, now_ms: int) -> None:
        """A read of a text that is remembered as slow was answered."""
        slow_ms = now_ms - batch.sent_ms if batch.lane is Lane.SLOW else None
        self._slow_texts.answered(item.text, slow_ms)

    def _status_heard(self, node: str, frame: bytes, now_ms: int) -> None:
        try:
            reply = decode_reply(decode_batch(frame)[0])
            status = decode_status(reply.body) if reply.code == 0 else None
        except DecodeError:
            status = None
        if (
            status is None
            or status.node != node
            or (self._cluster and status.cluster != self._cluster)
        ):
            self.counters.dropped_bad_status += 1
            return
        self.view.status(node, status, now_ms)
        self._follow_leader(now_ms)

    def _batch_refused(self, batch: InFlight, blobs: list[bytes], now_ms: int) -> None:
        """A node answered a whole batch with one error, or with nonsense."""
        for item in batch.items:
            if item is None or item.done:
                continue
            try:
                reply = decode_reply(blobs[0]) if len(blobs) == 1 else None
            except DecodeError:
                reply = None
            if reply is None or reply.client or reply.sequence or not reply.code:
                self._answer_lost(item, batch.node, now_ms)
                continue
            blob = encode_reply(item.client, item.sequence, reply.code, 0, reply.body, reply.server)
            self._failed(item, reply, blob, batch.node, now_ms)

    def _answer_lost(self, item: Pending, node: str, now_ms: int) -> None:
        self.counters.dropped_bad_answer += 1
        self._unanswered(item, node, "its answer was not readable", now_ms)

    def _failed(self, item: Pending, reply: Reply, blob: bytes, node: str, now_ms: int) -> None:
        """A node answered with an error: pass it on, or try elsewhere."""
        item.flying = False
        code = reply.code
        if item.is_write:
            self._write_failed(item, reply, blob, node, now_ms)
        elif code == Deferred.code:
            self.counters.deferred += 1
            self._make_slow(item)
        elif code == TooStale.code:
            item.tries += 1
            if item.level == Level.LEADER or item.tries > len(self._dispatch.loads):
                self._finish(item, blob)
            else:
                # Each follower had its chance; nobody is fresher than the leader.
                if item.tries >= len(self._dispatch.loads) - 1:
                    item.level = Level.LEADER
                self._again_later(item, node, "a replica was too stale", now_ms)
        elif code in _READ_ELSEWHERE:
            self._again_later(item, node, error_words(reply)[0], now_ms)
        else:
            self._finish(item, blob)

    def _write_failed(
        self, item: Pending, reply: Reply, blob: bytes, node: str, now_ms: int
    ) -> None:
        code = reply.code
        if code in (NotLeader.code, ShuttingDown.code):
            self.counters.redirected += 1
            self.view.refused(node, error_words(reply)[1])
            item.reason = error_words(reply)[0]
            self._dispatch.again.append(item)
        elif code == Overloaded.code:
            self._wait_for_room(item, error_words(reply)[0], now_ms)
        elif code in (Unavailable.code, NotExecuted.code):
            self._again_later(item, node, error_words(reply)[0], now_ms)
        elif code == OutcomeUnknown.code and item.client:
            item.doubt = True
            self._again_later(item, node, error_words(reply)[0], now_ms)
        elif not item.doubt:
            self._finish(item, blob)
        elif code == DiskFull.code:
            self._again_later(item, node, error_words(reply)[0], now_ms)
        elif code in (DeadlineExpired.code, LedgerExpired.code):
            # Both would be taken for "this first attempt was not executed"; an attempt before
            # it, which the client does not know of, may have been.
            why = error_words(reply)[0]
            self._finish_with(
                item, OutcomeUnknown(f"{why}; an earlier attempt may have been applied")
            )
        else:
            self._finish(item, blob)

    def _make_slow(self, item: Pending) -> None:
        header = decode_request(item.blob)
        item.text = self._slow_texts.deferred(header.payload)
        blob = encode_request(*header._replace(flags=header.flags | _SLOW))
        self._shares.give_back(item.identity, 0, len(item.blob) - len(blob))
        item.blob = blob
        item.slow = True
        self._dispatch.slow.append(item.identity, item)

    # -- nodes and leaders that go ---------------------------------------------------------

    def node_lost(self, node: str, now_ms: int) -> None:
        """The connection to ``node`` broke: what it has not answered, it never will."""
        self.counters.nodes_lost += 1
        self.view.lost(node)
        self._abandon(node, f"the connection to {node} broke", now_ms)
        self._follow_leader(now_ms)

    def not_sent(self, batch_id: bytes, now_ms: int) -> None:
        """The socket did not take this batch: the node never saw it."""
        batch = self._dispatch.in_flight.get(batch_id)
        if batch is None:
            return
        self._dispatch.release(batch_id)
        for item in batch.items:
            if item is not None and not item.done:
                self._again_later(item, batch.node, f"{batch.node} takes no messages", now_ms)

    def _follow_leader(self, now_ms: int) -> None:
        """If another node leads now, it gets the named writes the old one sits on."""
        leader = self.view.leader
        if leader is None or leader == self._leader:
            return
        self.counters.leader_changes += 1
        self._leader = leader
        # What could not be served is served now, if ever.
        self._dispatch.again += (item for *_, item in self._parked if not item.done)
        self._parked.clear()
        for batch_id, batch in list(self._dispatch.in_flight.items()):
            if batch.lane is not Lane.WRITE or batch.node == leader:
                continue
            for position, item in enumerate(batch.items):
                if item is not None and not item.done and item.client:
                    batch.items[position] = None
                    self._unanswered(item, batch.node, f"{batch.node} no longer leads", now_ms)
            if batch.settled():
                self._dispatch.release(batch_id)

    def _abandon(self, node: str, why: str, now_ms: int, *, reads_only: bool = False) -> None:
        for batch_id, batch in list(self._dispatch.in_flight.items()):
            if batch.node != node or (reads_only and batch.lane is Lane.WRITE):
                continue
            self._dispatch.release(batch_id)
            for item in batch.items:
                if item is not None and not item.done:
                    self._unanswered(item, node, why, now_ms)

    def _unanswered(self, item: Pending, node: str, why: str, now_ms: int) -> None:
        """No answer will come for this hand-over: send again what rule 2 allows."""
        item.flying = False
        if item.is_write:
            if not item.client:
                self._finish_with(
                    item, OutcomeUnknown(f"no answer, {why}; this write may have been applied")
                )
                return
            item.doubt = True
        self.counters.resent += 1
        item.tries += 1
        item.reason = why
        item.avoid = node
        if item.tries > 1:
            self._park(item, now_ms + RETRY_MS)
        else:
            self._dispatch.again.append(item)

    def _again_later(self, item: Pending, node: str, why: str, now_ms: int) -> None:
        item.flying = False
        item.reason = why
        item.avoid = node
        if item.is_write and self.view.leader not in (None, node):
            self._dispatch.again.append(item)  # another leads by now: no reason to wait
        else:
            self._park(item, now_ms + RETRY_MS)

    def _wait_for_room(self, item: Pending, why: str, now_ms: int) -> None:
        """A full leader refused this write, so it was not executed: rule 2 allows another try.

        The client would do the same, at the price of its patience: it is told of errors that
        somebody else caused. Its deadline ends the waiting.
        """
        item.reason = why
        doublings = min(item.refusals, BACK_OFF_DOUBLINGS_MAX)
        item.refusals += 1
        self.counters.refused_full += 1
        self._park(item, now_ms + (RETRY_MS << doublings))

    def _park(self, item: Pending, until_ms: int) -> None:
        heappush(self._parked, (until_ms, item.order, item))

    # -- time ------------------------------------------------------------------------------

    def tick(self, now_ms: int) -> None:
        """Do what is due: expiries, silence, second attempts. Call once per loop round."""
        while self._parked and self._parked[0][0] <= now_ms:
            item = heappop(self._parked)[2]
            if not item.done:
                self._dispatch.again.append(item)
        for node in self.view.silent(now_ms):
            self._abandon(node, f"{node} fell silent", now_ms, reads_only=True)
        if now_ms >= max(self._next_expiry_ms, self._expiry_rests_ms):
            self._expiry_rests_ms = now_ms + self._shares.requests // EXPIRY_REQUESTS_PER_MS
            self._expire(now_ms)
        if now_ms >= self._dispatch.next_lost_ms:
            self._send_lost_again(now_ms)

    def wait_ms(self, now_ms: int) -> int:
        """How long nothing is due, at most REST_MS_MAX; the sockets may be polled that long."""
        expiry_ms = max(self._next_expiry_ms, self._expiry_rests_ms)
        due_ms = min(now_ms + REST_MS_MAX, expiry_ms, self._dispatch.next_lost_ms)
        if self._parked:
            due_ms = min(due_ms, self._parked[0][0])
        return max(0, due_ms - now_ms)

    def _expire(self, now_ms: int) -> None:
        next_ms = NEVER_MS
        for queue in self._dispatch.queues():
            for item in queue.remove(lambda each: each.deadline_ms <= now_ms):
                self._expired(item)
            next_ms = min(next_ms, min((item.deadline_ms for item in queue), default=NEVER_MS))
        elsewhere = [*self._dispatch.again, *(item for *_, item in self._parked)]
        for batch in self._dispatch.in_flight.values():
            elsewhere.extend(item for item in batch.items if item is not None)
        for item in elsewhere:
            if item.done:
                continue
            if item.deadline_ms <= now_ms:
                self._expired(item)
            elif item.deadline_ms < next_ms:
                next_ms = item.deadline_ms
        self._next_expiry_ms = next_ms
        for batch_id, batch in list(self._dispatch.in_flight.items()):
            if batch.settled():
                self._dispatch.release(batch_id)

    def _expired(self, item: Pending) -> None:
        if item.done:
            return
        self.counters.dropped_expired += 1
        because = f" ({item.reason or self._why_waiting(item)})"
        if item.is_write and (item.doubt or item.flying):
            error: RequestError = OutcomeUnknown(
                f"the time ran out before a node confirmed this write{because}"
            )
        else:
            error = DeadlineExpired(f"the time ran out before a node could answer{because}")
        self._finish_with(item, error)

    def _why_waiting(self, item: Pending) -> str:
        leader = self.view.leader
        if item.flying:
            return "the node did not answer"
        if leader is None:
            return "no leader is known"
        if not self.view.usable(leader):
            return f"the leader {leader} is silent or unreachable"
        return "all lanes were busy"

    def _send_lost_again(self, now_ms: int) -> None:
        next_ms = NEVER_MS
        for batch_id, batch in list(self._dispatch.in_flight.items()):
            if batch.lane is Lane.SLOW:
                continue
            tries = max((item.tries for item in batch.items if item is not None), default=0)
            due_ms = batch.sent_ms + (ANSWER_LOST_MS << min(tries, 8))
            if due_ms > now_ms:
                next_ms = min(next_ms, due_ms)
                continue
            self._dispatch.came_back(batch, now_ms)
            for position, item in enumerate(batch.items):
                # An anonymous write has no second chance; its answer may still come.
                if item is None or item.done or (item.is_write and not item.client):
                    continue
                batch.items[position] = None
                self._unanswered(item, "", f"{batch.node} did not answer", now_ms)
            if batch.settled():
                self._dispatch.release(batch_id)
            else:
                batch.sent_ms = now_ms
                next_ms = min(next_ms, now_ms + ANSWER_LOST_MS)
        self._dispatch.next_lost_ms = next_ms

    def shut_down(self) -> None:
        """Answer all that is held; take nothing new."""
        self._stopping = True
        held = [item for queue in self._dispatch.queues() for item in queue]
        held += self._dispatch.again
        held += [item for *_, item in self._parked]
        for item in held:
            if item.done:
                continue
            if item.doubt:
                self._finish_with(item, OutcomeUnknown("the broker stopped before the answer"))
            else:
                self._finish_with(item, ShuttingDown("the broker is stopping; ask another one"))
        for batch in self._dispatch.in_flight.values():
            for sent in batch.items:
                if sent is None or sent.done:
                    continue
                if sent.is_write:
                    self._finish_with(sent, OutcomeUnknown("the broker stopped before the answer"))
                else:
                    self._finish_with(sent, ShuttingDown("the broker is stopping"))
        for queue in self._dispatch.queues():
            queue.clear()
        self._dispatch.again.clear()
        self._parked.clear()
        self._dispatch.in_flight.clear()

    # -- to nodes --------------------------------------------------------------------------

    def unobserved(self, now_ms: int) -> list[str]:
        """Nodes to send ``observe`` to now; asked once per loop round."""
        return self.view.unobserved(now_ms)

    def observe(self) -> list[bytes]:
        """The message that registers the broker as observer, and asks for the status."""
        return [OBSERVE_BATCH, b"", CLIENT_FRAME, encode_batch([encode_request(Kind.OBSERVE)])]

    # -- to clients ------------------------------------------------------------------------

    def take_batches(self, now_ms: int) -> list[Outgoing]:
        """The batches that may leave now; the caller sends them or calls ``not_sent``."""
        return self._dispatch.take_batches(now_ms)

    def take_replies(self) -> list[tuple[bytes, list[bytes]]]:
        """(routing id, frames after it) of what is to be sent to clients now."""
        return self._replies.take()

    def _finish(self, item: Pending, blob: bytes) -> None:
        self._settle(item)
        self._replies.add(item.identity, [blob])

    def _settle(self, item: Pending) -> None:
        """``item`` has its answer, and gives back its room."""
        item.done = True
        self._shares.give_back(item.identity, 1, len(item.blob))
        self.counters.replies += 1

    def _finish_together(self, holder: bytes, blobs: list[bytes], size_bytes: int) -> None:
        """What ``_finish`` does, for requests of one connection that are ``done``."""
        if blobs:
            self._shares.give_back(holder, len(blobs), size_bytes)
            self.counters.replies += len(blobs)
            self._replies.add(holder, blobs)

    def _finish_with(self, item: Pending, error: RequestError) -> None:
        self._finish(item, error_blob(item.client, item.sequence, error, self._name))

    def _refuse(self, identity: bytes, client: bytes, sequence: int, error: RequestError) -> None:
        self._reply(identity, error_blob(client, sequence, error, self._name))

    def _reply(self, identity: bytes, blob: bytes) -> None:
        self.counters.replies += 1
        self._replies.add(identity, [blob])


_READ_ELSEWHERE: Final = frozenset(
    {
        NotExecuted.code,
        NotLeader.code,
        Overloaded.code,
        Unavailable.code,
        ShuttingDown.code,
        DiskFull.code,
        OutcomeUnknown.code,
    }
)
