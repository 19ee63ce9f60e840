"""Replies on their way to clients: one message per connection and round, within its bounds."""

from __future__ import annotations

from collections.abc import Iterable

from raftzmq import limits
from raftzmq.errors import RequestError
from raftzmq.wire.client import Reply, encode_batch, encode_reply
from raftzmq.wire.codec import DecodeError
from raftzmq.wire.payload import decode_error, encode_error
from raftzmq.wire.version import CLIENT_FRAME


class Replies:
    """Collects reply blobs by the routing id of the connection they go to."""

    __slots__ = ("_frames", "_waiting")

    def __init__(self) -> None:
        self._frames: list[tuple[bytes, bytes]] = []
        self._waiting: dict[bytes, list[bytes]] = {}

    def add(self, identity: bytes, blobs: list[bytes]) -> None:
        """More replies for ``identity``; the list is kept."""
        waiting = self._waiting.get(identity)
        if waiting is None:
            self._waiting[identity] = blobs
        else:
            waiting += blobs

    def add_frame(self, identity: bytes, frame: bytes) -> None:
        """A batch of replies for ``identity``, encoded, to be sent by itself."""
        self._frames.append((identity, frame))

    def take(self) -> list[tuple[bytes, list[bytes]]]:
        """(routing id, frames after it) of all that was added since the last call."""
        if not self._waiting and not self._frames:
            return []
        replies, self._waiting = self._waiting, {}
        frames, self._frames = self._frames, []
        frames += (
            (identity, encode_batch(part))
            for identity, blobs in replies.items()
            for part in _parts(blobs)
        )
        return [(identity, [b"", CLIENT_FRAME, frame]) for identity, frame in frames]


def error_blob(client: bytes, sequence: int, error: RequestError, server: str) -> bytes:
    """A reply that says ``error``."""
    body = encode_error(error.message, error.detail)
    return encode_reply(client, sequence, error.code, 0, body, server)


def error_words(reply: Reply) -> tuple[str, str]:
    """(message, detail) of a reply with an error, whatever its body looks like."""
    try:
        return decode_error(reply.body)
    except DecodeError:
        return f"code {reply.code}", ""


def _parts(blobs: list[bytes]) -> Iterable[list[bytes]]:
    """``blobs`` in batches within the bounds of one message."""
    if len(blobs) <= limits.BATCH_REQUESTS_MAX and sum(map(len, blobs)) <= limits.BATCH_BYTES_MAX:
        yield blobs
        return
    part: list[bytes] = []
    size = 0
    for blob in blobs:
        full = len(part) == limits.BATCH_REQUESTS_MAX or size + len(blob) > limits.BATCH_BYTES_MAX
        if part and full:
            yield part
            part, size = [], 0
        part.append(blob)
        size += len(blob)
    yield part
