"""Who may have requests waiting at a node, and who has to give some up for others.

There are three spaces. Writes leave theirs as soon as they are applied, reads at level SESSION may
wait for what never comes for as long as their client likes, and the others wait for a leader or a
worker. What fills one must keep nothing out of another, least of all requests of the same proxy,
which brings those of honest clients and of others over one connection.

Called by the raft thread only. Writes are never given up: they are in the log already, or on their
way there. Reads are, at any time before they are answered; that says NOT_EXECUTED, and is true.
"""

from __future__ import annotations

from itertools import islice
from operator import attrgetter
from typing import Final

from raftzmq import limits
from raftzmq.errors import Overloaded, RequestError
from raftzmq.node.batches import Batch
from raftzmq.transport.shares import Shares
from raftzmq.wire.client import Kind, Level
from raftzmq.wire.payload import encode_error

_LOOKED_AT_MAX: Final = 64
"""Messages of one connection that are looked at for those that can be given up: one that has
thousands of writes waiting must not make each refusal dear."""
_WRITE: Final = int(Kind.WRITE)
_SESSION: Final = int(Level.SESSION)
_LEVEL: Final = attrgetter("level")


class Room:
    """The messages whose requests are not all answered yet.

    Args:
        requests_max: requests of each space that may wait at the same time.
        bytes_max: of the messages they came in: half of it for those that hold writes only, a
            quarter for those that hold reads at level SESSION, a quarter for the rest.

    Attributes:
        given_up: messages that were given up for somebody who held less.
        abandoned: messages whose sender left.
        messages: messages that wait.
    """

    def __init__(self, requests_max: int, bytes_max: int) -> None:
        self._writes = Shares(requests_max, bytes_max // 2)
        self._sessions = Shares(requests_max, bytes_max // 4)
        self._others = Shares(requests_max, bytes_max // 4)
        self._open: dict[bytes, dict[int, tuple[Batch, Shares]]] = {}
        self.messages = 0
        self.given_up = 0
        self.abandoned = 0

    @property
    def requests(self) -> int:
        """Requests that wait."""
        return self._writes.requests + self._sessions.requests + self._others.requests

    def of(self, holder: bytes) -> list[Batch]:
        """The messages of ``holder`` that wait."""
        return [batch for batch, _ in self._open.get(holder, {}).values()]

    def admit(self, number: int, batch: Batch, size_bytes: int) -> bool:
        """Whether ``batch`` may wait here; it is counted at once if so.

        Args:
            number: names it, for ``closed``.
            batch: none of its requests is answered yet.
            size_bytes: of the message it came in.
        """
        holder, count = batch.envelope[0], len(batch.requests)
        shares = self._space(batch)
        while not shares.take(holder, count, size_bytes):
            if shares is self._writes:
                return False
            largest = shares.outweighs(holder, count, size_bytes)
            if largest is None or not self._give_up(largest, shares):
                return False
        self.messages += 1
        self._open.setdefault(holder, {})[number] = batch, shares
        return True

    def abandon(self, holder: bytes) -> None:
        """Nobody is there to be answered: let go of what ``holder`` has waiting, but for writes.

        Of some of it: what is left is answered some time, in vain again. So this is called once for
        each of thousands of writes of one that left, and must cost little where it finds nothing.
        """
        oldest = list(islice(self._open.get(holder, {}).values(), _LOOKED_AT_MAX))
        looked_at = 0
        for batch, shares in oldest:
            if shares is self._writes:
                continue
            looked_at += len(batch.requests)
            if looked_at > limits.BATCH_REQUESTS_MAX:
                return
            if not _awaits_write(batch):
                self.abandoned += 1
                batch.let_go()

    def closed(self, number: int, holder: bytes, requests: int, size_bytes: int) -> None:
        """The message is answered."""
        batches = self._open[holder]
        _, shares = batches.pop(number)
        if not batches:
            del self._open[holder]
        self.messages -= 1
        shares.give_back(holder, requests, size_bytes)

    def _space(self, batch: Batch) -> Shares:
        if all(request.kind == _WRITE for request in batch.requests):
            return self._writes
        # Also with writes among them: a message is answered as a whole, so a read that waits for
        # what never comes would hold room for writes as long as its client likes.
        if _SESSION in map(_LEVEL, batch.requests):
            return self._sessions
        return self._others

    def _give_up(self, holder: bytes, space: Shares) -> bool:
        """Answer the latest that ``holder`` has in ``space`` and may lose; False: there is none."""
        latest = islice(reversed(self._open[holder].values()), _LOOKED_AT_MAX)
        found = next(
            (batch for batch, shares in latest if shares is space and not _awaits_write(batch)),
            None,
        )
        if found is None:
            return False
        self.given_up += 1
        fail_all(found, Overloaded("given up for others, who ask less of this node"))
        return True


def _awaits_write(batch: Batch) -> bool:
    return any(
        request.kind == _WRITE and not batch.answered(position)
        for position, request in enumerate(batch.requests)
    )


def fail_all(batch: Batch, error: RequestError) -> None:
    """Answer whatever is not answered yet with one error, packed once."""
    body = encode_error(error.message, error.detail)
    for position in range(len(batch.requests)):
        batch.answer(position, error.code, body, 0)
