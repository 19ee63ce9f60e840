"""One message from a client or broker: several requests, one reply when all are answered."""

from __future__ import annotations

from collections.abc import Callable

from raftzmq import limits
from raftzmq.errors import OutcomeUnknown, RequestError, TooLarge
from raftzmq.wire.client import (
    Kind,
    ReplyFields,
    RequestHeader,
    encode_large_replies,
    encode_replies,
)
from raftzmq.wire.payload import encode_error

REPLIES_BYTES_MAX = limits.MESSAGE_BYTES_MAX - (2 << 20)
"""Results in one message; beyond it the receiver would close the connection. The rest of the
message is room for errors and envelopes."""


class Batch:
    """Requests that came in one message; the reply goes out once, whole, in their order.

    Args:
        envelope: frames in front of the empty delimiter, identity first.
        requests: decoded headers in message order.
        send: sends (envelope, reply frame 1) of so many requests; an empty frame: to nobody.
        server: name of this node, part of each reply.
        deadline_ms: on the monotonic clock; what is unanswered then is answered as too late.

    Attributes:
        fast_only: whoever sent it asks elsewhere for what outgrows a fast worker (``Deferred``).
        slow: its reads are known to take long, and begin at a slow worker.
        holder: with whom its reads take turns at the workers.
    """

    __slots__ = (
        "_missing",
        "_replies",
        "_room_bytes",
        "_send",
        "_server",
        "deadline_ms",
        "envelope",
        "fast_only",
        "holder",
        "requests",
        "slow",
    )

    def __init__(
        self,
        envelope: list[bytes],
        requests: list[RequestHeader],
        send: Callable[[list[bytes], bytes, int], None],
        server: str,
        deadline_ms: int,
    ) -> None:
        self.envelope = envelope
        self.requests = requests
        self._replies: list[ReplyFields | None] = [None] * len(requests)
        self._missing = len(requests)
        self._room_bytes = REPLIES_BYTES_MAX
        self._send = send
        self._server = server
        self.deadline_ms = deadline_ms
        self.fast_only = False
        self.slow = False
        self.holder = envelope[0]

    def answer(self, position: int, code: int, body: bytes, index: int, flags: int = 0) -> None:
        """Answer one request; a second answer to the same one is ignored."""
        if not self._missing or self._replies[position] is not None:
            return
        request = self.requests[position]
        if len(body) > self._room_bytes:
            index = flags = 0
            code, body = _does_not_fit(request, code)
        else:
            self._room_bytes -= len(body)
        # Encoded together at the end, which is cheaper.
        client, sequence = request.client, request.sequence
        self._replies[position] = (client, sequence, code, index, body, self._server, flags)
        self._missing -= 1
        if not self._missing:
            replies = [reply for reply in self._replies if reply is not None]
            # Jobs that wait hold on to this batch for a while; its bytes must not stay.
            self._replies, self.requests = [], []
            large = REPLIES_BYTES_MAX - self._room_bytes >= limits.LARGE_RESULT_BYTES
            frame = encode_large_replies(replies) if large else encode_replies(replies)
            self._send(self.envelope, frame, len(replies))

    def answer_whole(self, frame: bytes) -> None:
        """Answer the only request of this message with ``frame``, its reply frame 1.

        Whoever made it saw to REPLIES_BYTES_MAX; a second answer is ignored.
        """
        self._end(frame)

    def let_go(self) -> None:
        """Answer nothing of this message any more: whoever sent it has left."""
        self._end(b"")

    def _end(self, frame: bytes) -> None:
        if self._missing:
            self._missing = 0
            count = len(self.requests)
            self._replies, self.requests = [], []
            self._send(self.envelope, frame, count)

    def answered(self, position: int) -> bool:
        """Whether this request has its answer, sent or not."""
        return not self._missing or self._replies[position] is not None

    @property
    def done(self) -> bool:
        """Whether the reply went out; ``requests`` is empty from then on."""
        return not self._missing

    def fail(self, position: int, error: RequestError) -> None:
        """Answer one request with an error."""
        self.answer(position, error.code, encode_error(error.message, error.detail), 0)


def _does_not_fit(request: RequestHeader, code: int) -> tuple[int, bytes]:
    if code:
        # The code says what became of the request, and must not turn into another one.
        return code, encode_error("the reply to this message has no room for the reason")
    error: RequestError = TooLarge(
        "the results of this message's requests are too large together; send this one alone"
    )
    if request.kind == Kind.WRITE:
        error = OutcomeUnknown(
            "this write was applied, but its rows do not fit into the reply to its message"
        )
    return error.code, encode_error(error.message, error.detail)
