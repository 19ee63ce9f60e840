"""Queues, lanes and batches: which requests leave for which node, and when.

A batch leaves when a lane of its node is free; what arrives meanwhile collects for the next one.
No clock, no sockets.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from raftzmq import limits
from raftzmq.broker.health import ClusterView
from raftzmq.broker.pending import LANES, NEVER_MS, Counters, InFlight, Lane, Load, Pending
from raftzmq.transport.turns import Turns
from raftzmq.wire.client import Flags, Level, encode_batch
from raftzmq.wire.version import CLIENT_FRAME

ANSWER_LOST_MS: Final = 3_000
"""An unanswered batch in a live node is sent again after this, doubled with each attempt: a
ROUTER drops messages silently. Slow reads are exempt, they may take their time."""
READ_SPREAD_MIN: Final = 32
"""Reads are spread over free lanes, but not into smaller batches than this."""
READ_SPREAD_ENOUGH: Final = 64
"""As long as each node has one, batches are larger, up to this. What a batch costs a node, whatever
is in it, is then a small part of what its reads cost; and larger ones would make the nodes, the
proxy and the client wait for each other with a few hundred reads in flight."""
_SLOW_LOOKAHEAD: Final = 64
"""Slow reads that may be passed over in one round because no node can take them yet."""
_SLOW: Final = bytes((Flags.SLOW,))
_FAST_ONLY: Final = bytes((Flags.FAST_ONLY,))
_FAST_BULK: Final = bytes((Flags.FAST_ONLY | Flags.BULK,))
# Plain integers: to look up and compare members costs more than the rest of finding the queue.
_LINEARIZABLE: Final = int(Level.LINEARIZABLE)
_SESSION: Final = int(Level.SESSION)
_STALE: Final = int(Level.STALE)
_LEADER: Final = int(Level.LEADER)


class Outgoing(NamedTuple):
    """One batch to send to a node: ``frames`` complete but for the socket."""

    node: str
    batch_id: bytes
    frames: list[bytes]


class _FastReads(NamedTuple):
    """Short reads that wait, by level."""

    linearizable: Turns[Pending]
    session: Turns[Pending]
    stale: Turns[Pending]
    leader: Turns[Pending]

    @classmethod
    def none(cls) -> _FastReads:
        """Queues in which nothing waits."""
        return cls(Turns(), Turns(), Turns(), Turns())


class Dispatch:
    """What waits, and what is at the nodes.

    Args:
        view: the nodes and their leader.
        counters: ``batches`` is counted here.
        expired: is told of each request whose time ran out before it could leave.

    Attributes:
        again: requests on their way back into their queues, with the next ``take_batches``.
        in_flight: batches at nodes, by batch id.
        loads: what is outstanding at each node.
        next_lost_ms: no batch is due to be sent again before this.
    """

    def __init__(
        self, view: ClusterView, counters: Counters, expired: Callable[[Pending], None]
    ) -> None:
        self._view = view
        self._counters = counters
        self._expired = expired
        self.writes: Turns[Pending] = Turns()
        self._few = _FastReads.none()
        self._bulk = _FastReads.none()
        self.slow: Turns[Pending] = Turns()
        self.again: list[Pending] = []
        self.in_flight: dict[bytes, InFlight] = {}
        self.loads = {node: Load() for node in view.nodes}
        self.next_lost_ms = NEVER_MS
        self._batch_number = 0

    def queue_of(self, item: Pending) -> Turns[Pending]:
        """Where ``item`` waits."""
        if item.is_write:
            return self.writes
        if item.slow:
            return self.slow
        reads = self._bulk if item.bulk else self._few
        if item.level == _LINEARIZABLE:
            return reads.linearizable
        if item.level == _SESSION:
            return reads.session
        if item.level == _LEADER:
            return reads.leader
        if item.level == _STALE:
            return reads.stale
        return reads.linearizable

    def queues(self) -> tuple[Turns[Pending], ...]:
        """All queues."""
        return self.writes, *self._few, *self._bulk, self.slow

    def fast_reads(self) -> int:
        """Short reads that wait."""
        return sum(map(len, (*self._few, *self._bulk)))

    def take_batches(self, now_ms: int) -> list[Outgoing]:
        """The batches that may leave now; the caller sends them or calls ``not_sent``."""
        if self.again:
            self._requeue()
        out: list[Outgoing] = []
        if self.writes:
            self._send_writes(out, now_ms)
        for reads, waits, free, flags in (
            (self._few, Lane.FAST, Lane.FREE, _FAST_ONLY),
            (self._bulk, Lane.FAST_BULK, Lane.FREE_BULK, _FAST_BULK),
        ):
            if reads.linearizable:
                self._send_reads(reads.linearizable, waits, flags, out, now_ms)
            if reads.session:
                self._send_reads(reads.session, free, flags, out, now_ms)
            if reads.stale:
                self._send_reads(reads.stale, free, flags, out, now_ms)
            if reads.leader:
                self._send_reads(reads.leader, waits, flags, out, now_ms)
        if self.slow:
            self._send_slow(out, now_ms)
        return out

    def _requeue(self) -> None:
        again, self.again = self.again, []
        touched: dict[int, tuple[Turns[Pending], list[Pending]]] = {}
        for item in again:
            if not item.done:
                queue = self.queue_of(item)
                touched.setdefault(id(queue), (queue, []))[1].append(item)
        for queue, items in touched.values():
            _put_back(queue, items)

    def _send_writes(self, out: list[Outgoing], now_ms: int) -> None:
        leader = self._view.leader
        if leader is None or not self._view.usable(leader):
            return
        busy = self.loads[leader].busy
        while self.writes and busy[Lane.WRITE] < LANES[Lane.WRITE]:
            items = self._take(self.writes, limits.BATCH_REQUESTS_MAX, now_ms)
            if items:
                out.append(self._batch(leader, Lane.WRITE, items, b"\0", now_ms))

    def _send_reads(
        self, queue: Turns[Pending], lane: Lane, flags: bytes, out: list[Outgoing], now_ms: int
    ) -> None:
        while queue:
            first = queue.first()
            able, free, node = self._target(first, lane)
            if node is None:
                return
            waiting = len(queue)
            most = self.loads[node].sizes[lane].most
            count = min(most, max(self._worth_while(able, lane, waiting), -(-waiting // free)))
            reaches = None
            if first.level == _SESSION and node != self._view.leader:
                reaches = max(self._view.nodes[node].applied_index, first.min_index)
            items = self._take(queue, count, now_ms, reaches)
            if items:
                out.append(self._batch(node, lane, items, flags, now_ms))

    def _worth_while(self, able: list[str], lane: Lane, waiting: int) -> int:
        """What a batch of reads is not cut below, although another lane is free.

        Enough for each node to have one: two halves keep two nodes busy, and two lanes of one
        node are worth little more than one. Counted with what is under way, or the batches would
        fall apart: one that comes back while another lane is free would be cut in two, then those.
        """
        held = waiting + sum(self.loads[node].held[lane] for node in able)
        return min(max(READ_SPREAD_MIN, -(-held // len(able))), READ_SPREAD_ENOUGH)

    def _send_slow(self, out: list[Outgoing], now_ms: int) -> None:
        waiting: list[Pending] = []
        while self.slow:
            item = self.slow.take()
            if item.deadline_ms <= now_ms:
                self._expired(item)
                continue
            *_, node = self._target(item, Lane.SLOW)
            if node is None:
                waiting.append(item)
                if len(waiting) == _SLOW_LOOKAHEAD or not self._any_lane(Lane.SLOW):
                    break
                continue
            # Alone in its batch: a batch is answered as a whole, by its slowest request.
            out.append(self._batch(node, Lane.SLOW, [item], _SLOW, now_ms))
        _put_back(self.slow, waiting)

    def _any_lane(self, lane: Lane) -> bool:
        return any(
            load.busy[lane] < LANES[lane] and self._view.readable(node)
            for node, load in self.loads.items()
        )

    def _target(self, item: Pending, lane: Lane) -> tuple[list[str], int, str | None]:
        """The nodes that may serve ``item``, free lanes among them, and the one that should."""
        able = self._able(item)
        if len(able) > 1 and item.avoid in able:
            able.remove(item.avoid)
        free = 0
        best: str | None = None
        best_key = (0, 0)
        for node in able:
            load = self.loads[node]
            spare = LANES[lane] - load.busy[lane]
            if spare <= 0:
                continue
            free += spare
            key = (load.requests, load.last_used)
            if best is None or key < best_key:
                best, best_key = node, key
        return able, free, best

    def _able(self, item: Pending) -> list[str]:
        view = self._view
        leader = view.leader
        leads = [leader] if leader is not None and view.readable(leader) else []
        if item.level == _LEADER:
            return leads
        followers = [node for node in view.nodes if node != leader and view.readable(node)]
        if item.level != _SESSION:
            return followers or leads
        fresh = [node for node in followers if view.nodes[node].applied_index >= item.min_index]
        if fresh or leads or not followers:
            return fresh or leads
        return [max(followers, key=lambda node: view.nodes[node].applied_index)]

    def _take(
        self, queue: Turns[Pending], count: int, now_ms: int, reaches: int | None = None
    ) -> list[Pending | None]:
        """Up to ``count`` requests from the front, none of them expired or beyond ``reaches``."""
        taken: list[Pending | None] = []
        size = 0
        while queue and len(taken) < count:
            item = queue.first()
            if item.deadline_ms <= now_ms:
                queue.take()
                self._expired(item)
                continue
            size += len(item.blob)
            if taken and size > limits.BATCH_BYTES_MAX:
                break
            if taken and reaches is not None and item.min_index > reaches:
                break
            queue.take()
            taken.append(item)
        return taken

    def _batch(
        self, node: str, lane: Lane, items: list[Pending | None], flags: bytes, now_ms: int
    ) -> Outgoing:
        blobs = []
        for item in items:
            if item is not None:
                item.flying = True
                blobs.append(item.blob)
        self._batch_number += 1
        batch_id = self._batch_number.to_bytes(8, "big")
        self.in_flight[batch_id] = InFlight(node, lane, items, now_ms)
        load = self.loads[node]
        load.busy[lane] += 1
        load.held[lane] += len(items)
        load.last_used = self._batch_number
        if lane is not Lane.SLOW and now_ms + ANSWER_LOST_MS < self.next_lost_ms:
            self.next_lost_ms = now_ms + ANSWER_LOST_MS
        self._counters.batches += 1
        return Outgoing(node, batch_id, [batch_id, b"", CLIENT_FRAME, encode_batch(blobs), flags])

    def came_back(self, batch: InFlight, now_ms: int) -> None:
        """``batch`` was answered, or waited for in vain: the next may be larger or smaller."""
        sizes = self.loads[batch.node].sizes[batch.lane]
        sizes.answered(len(batch.items), now_ms - batch.sent_ms)

    def release(self, batch_id: bytes) -> None:
        """The batch is settled, or no answer of it is wanted any more: its lane is free."""
        batch = self.in_flight.pop(batch_id)
        load = self.loads[batch.node]
        load.busy[batch.lane] -= 1
        load.held[batch.lane] -= len(batch.items)


def _put_back(queue: Turns[Pending], items: list[Pending]) -> None:
    of: dict[bytes, list[Pending]] = {}
    for item in items:
        of.setdefault(item.identity, []).append(item)
    for identity, back in of.items():
        queue.put_back(identity, back, _arrival)


def _arrival(item: Pending) -> int:
    return item.order
