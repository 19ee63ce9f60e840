"""What the broker remembers of a request until it is answered, and of a batch in flight."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from raftzmq import limits
from raftzmq.broker.batch_sizes import BatchSizes


class Lane(IntEnum):
    """Which lanes of a node a batch uses.

    A batch is answered as a whole, and linearizable reads wait until all that was committed
    before is applied. While a long UPDATE is applied, that is as long as the UPDATE. Reads that
    need not wait for it therefore travel neither with them nor behind them.
    """

    WRITE = 0
    FAST = 1
    """Short reads at LINEARIZABLE or LEADER."""
    SLOW = 2
    FREE = 3
    """Short reads at SESSION or STALE."""
    FAST_BULK = 4
    """As FAST, of connections that hold many requests: whoever holds few does not wait for them."""
    FREE_BULK = 5
    """As FREE, of such connections."""


LANES: Final = (
    limits.WRITE_LANES,
    limits.FAST_READ_LANES,
    limits.SLOW_READ_LANES,
    limits.FAST_READ_LANES,
    limits.FAST_READ_LANES,
    limits.FAST_READ_LANES,
)
"""Batches in flight per node, by ``Lane``."""
NEVER_MS: Final = 1 << 62
"""A time that does not come."""


class Pending:
    """One request that is not answered yet.

    Attributes:
        identity: routing id of the client's connection; the reply goes there and nowhere else.
        order: arrival number; requests that come back into a queue keep their place by it.
        bulk: its connection held many requests when it came.
        deadline_ms: when the client stops waiting, on the broker's clock.
        flying: a node has it and has not answered yet.
        doubt: an earlier hand-over of this write may have been executed, so that no later
            answer may tell the client NOT_EXECUTED.
        avoid: the node that could not serve it last, or empty.
        text: its SQL if that is one of ``slow_texts``, else empty.
        tries: answers that sent it back into a queue.
        refusals: how often a full node would not take it.
        reason: why it is still here, for the message when its time runs out.
        done: answered; whoever still holds it lets it go.
    """

    __slots__ = (
        "avoid",
        "blob",
        "bulk",
        "client",
        "deadline_ms",
        "done",
        "doubt",
        "flying",
        "identity",
        "is_write",
        "level",
        "min_index",
        "order",
        "reason",
        "refusals",
        "sequence",
        "slow",
        "text",
        "tries",
    )

    def __init__(
        self,
        identity: bytes,
        blob: bytes,
        client: bytes,
        sequence: int,
        is_write: bool,
        level: int,
        min_index: int,
        deadline_ms: int,
        slow: bool,
        order: int,
        bulk: bool,
    ) -> None:
        self.identity = identity
        self.blob = blob
        self.client = client
        self.sequence = sequence
        self.is_write = is_write
        self.level = level
        self.min_index = min_index
        self.deadline_ms = deadline_ms
        self.slow = slow
        self.order = order
        self.bulk = bulk
        self.flying = False
        self.doubt = False
        self.done = False
        self.avoid = ""
        self.tries = 0
        self.refusals = 0
        self.text = b""
        self.reason = ""


class InFlight:
    """A batch at a node; a position is None once its request left for another batch."""

    __slots__ = ("items", "lane", "node", "sent_ms")

    def __init__(self, node: str, lane: Lane, items: list[Pending | None], sent_ms: int) -> None:
        self.node = node
        self.lane = lane
        self.items = items
        self.sent_ms = sent_ms

    def settled(self) -> bool:
        """Nobody waits for this batch any more."""
        return all(item is None or item.done for item in self.items)


class Load:
    """Work outstanding at one node: batches and requests by ``Lane``."""

    __slots__ = ("busy", "held", "last_used", "sizes")

    def __init__(self) -> None:
        self.busy = [0] * len(LANES)
        self.held = [0] * len(LANES)
        self.sizes = [BatchSizes() for _ in LANES]
        self.last_used = 0

    @property
    def requests(self) -> int:
        """All requests at the node."""
        return sum(self.held)


@dataclass(slots=True)
class Counters:
    """What the broker did since it started; part of its STATUS answer."""

    requests: int = 0
    replies: int = 0
    batches: int = 0
    resent: int = 0
    repeated: int = 0
    deferred: int = 0
    refused_full: int = 0
    redirected: int = 0
    leader_changes: int = 0
    nodes_lost: int = 0
    dropped_envelope: int = 0
    dropped_overlong: int = 0
    dropped_version: int = 0
    dropped_malformed: int = 0
    dropped_overload: int = 0
    dropped_expired: int = 0
    dropped_late_answer: int = 0
    dropped_bad_answer: int = 0
    dropped_bad_status: int = 0
    dropped_reply: int = 0
    dropped_departed: int = 0
    abandoned: int = 0
