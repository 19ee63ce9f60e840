"""Requests and replies between client, broker and node; all hops carry the same bytes.

A message is, after the ROUTER envelope, two frames: ``version.CLIENT_FRAME`` and a *batch*: an
array of opaque blobs. A request blob is a header of eight fields and a payload; the broker
reads the header alone and passes the blob on unchanged. Replies come back as a batch in the
order of the requests. ``wire/payload.py`` knows what is inside payload and body; its functions
are offered here too, so that a user of this exchange needs one module.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum, IntFlag
from typing import Any, Final, NamedTuple, TypeAlias

import msgpack

from raftzmq.errors import RequestError, error_from_wire
from raftzmq.limits import BATCH_REQUESTS_MAX, CLIENT_ID_BYTES_MAX, REQUEST_TIMEOUT_MS
from raftzmq.wire.codec import (
    DecodeError,
    array_head,
    bytes_head,
    pack,
    pack_each,
    unpack_array,
)
from raftzmq.wire.payload import (
    StatementResult,
    decode_error,
    decode_results,
    decode_statements,
    encode_error,
    encode_results,
    encode_statements,
)

__all__ = [
    "Flags",
    "Kind",
    "Level",
    "Reply",
    "ReplyFields",
    "ReplyFlags",
    "RequestFields",
    "RequestHeader",
    "StatementResult",
    "decode_batch",
    "decode_error",
    "decode_lone_head",
    "decode_reply",
    "decode_request",
    "decode_results",
    "decode_statements",
    "encode_batch",
    "encode_error",
    "encode_large_replies",
    "encode_replies",
    "encode_reply",
    "encode_request",
    "encode_requests",
    "encode_results",
    "encode_statements",
    "error_of",
]


class Kind(IntEnum):
    """What a request asks for. Numbers are never reused; 8 to 11 are spoken for."""

    WRITE = 1
    READ = 2
    STATUS = 3
    DIGEST = 4
    OBSERVE = 5
    TRANSFER = 6
    STOP = 7
    VERIFY = 11
    QUERIES = 12
    KILL = 13


class Level(IntEnum):
    """How fresh a read must be."""

    LINEARIZABLE = 0
    SESSION = 1
    STALE = 2
    LEADER = 3


class Flags(IntFlag):
    """Bits of ``RequestHeader.flags``; unknown bits are ignored."""

    SLOW = 1
    """A read that belongs into a slow lane."""
    FAST_ONLY = 2
    """Stop this read at FAST_READ_MS and answer ``errors.Deferred``."""
    NO_FOREIGN_KEYS = 4
    """Apply this write without enforcing foreign keys."""
    KEYED = 8
    """``client`` is an idempotency key; it names this write, whoever sends it."""
    NO_RESULT = 16
    """Remember of this write that it was applied, not what came of it: costs the least room."""
    BULK = 32
    """Of a message: those whose requests these are have many waiting. They take turns with what
    else comes over the same connection, so that a broker's other clients do not wait for them."""
    AGAIN = 64
    """Sent before over this connection, and not answered for long: ignored by a receiver that
    still holds the first one, taken as new by one that does not."""


class ReplyFlags(IntFlag):
    """Bits of ``Reply.flags``; unknown bits are ignored."""

    APPLIED_BEFORE = 1
    """Another request with this idempotency key was applied before; this is its result."""
    RESULT_FORGOTTEN = 2
    """The write was applied, at ``index``; its result is told without its rows, or not at all,
    because it was too large to be remembered, or was sent with NO_RESULT."""


class RequestHeader(NamedTuple):
    """One decoded request.

    ``kind`` and ``level`` are known values of ``Kind`` and ``Level`` as plain integers, which
    compare equal to the members: making members would double the cost of decoding.

    Attributes:
        client: 0 to CLIENT_ID_BYTES_MAX random bytes; empty means that nothing is remembered.
            With KEYED the idempotency key.
        sequence: number of this request at its client, from 1; names the write for exactly once.
            With KEYED a random number, kept when this attempt is repeated.
        min_index: highest log index the client has seen. A read at level SESSION waits until it
            is applied. A write is told by it from one the ledger has forgotten, so it dates from
            before the first attempt and stays when the write is repeated.
        max_age_ms: at level STALE, oldest acceptable contact with a leader.
        timeout_ms: how long the sender waits, from the moment of sending.
        flags: bits of ``Flags``.
        payload: for WRITE and READ the statements, see ``wire/payload.py``; for TRANSFER the
            name of the next leader; for KILL see ``wire/queries.py``, for VERIFY
            ``wire/verify.py``.
    """

    kind: int
    client: bytes
    sequence: int
    level: int
    min_index: int
    max_age_ms: int
    timeout_ms: int
    flags: int
    payload: bytes


class Reply(NamedTuple):
    """One decoded reply.

    Attributes:
        client: the request's, to match the reply.
        sequence: the request's.
        code: 0, or a code of ``errors.WIRE_ERRORS``.
        index: log index at which it was applied, or that the read saw. A repeated write is told
            where it was applied first.
        body: results (code 0) or message and detail, see ``wire/payload.py``.
        server: name of the node that answered; empty for the broker itself.
        flags: bits of ``ReplyFlags``.
    """

    client: bytes
    sequence: int
    code: int
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs here
    body: bytes
    server: str
    flags: int = 0


RequestFields: TypeAlias = tuple[int, bytes, int, int, int, int, int, int, bytes]
"""A ``RequestHeader`` to be encoded."""
ReplyFields: TypeAlias = tuple[bytes, int, int, int, bytes, str, int]
"""A ``Reply`` to be encoded."""

_KINDS: Final = frozenset(map(int, Kind))
_LEVELS: Final = frozenset(map(int, Level))
_REQUEST_TYPES: Final = (int, bytes, int, int, int, int, int, int, bytes)
_REPLY_TYPES: Final = (bytes, int, int, int, bytes, str, int)
_BYTES_ONLY: Final = {bytes}
_LONE_HEAD_BYTES: Final = 6
"""In front of one blob of 64 KiB and more, and of the array that holds nothing else."""
_FIELDS_BYTES: Final = 128
"""More than the first four fields of a reply take, with a client id of CLIENT_ID_BYTES_MAX."""


def encode_request(
    kind: int,
    client: bytes = b"",
    sequence: int = 0,
    level: int = Level.LINEARIZABLE,
    min_index: int = 0,
    max_age_ms: int = 0,
    timeout_ms: int = REQUEST_TIMEOUT_MS,
    flags: int = 0,
    payload: bytes = b"",
) -> bytes:
    """One request blob; the arguments are the fields of ``RequestHeader``."""
    return pack((kind, client, sequence, level, min_index, max_age_ms, timeout_ms, flags, payload))


def decode_request(blob: bytes) -> RequestHeader:
    """The request in ``blob``.

    Raises:
        DecodeError: not a request, or of an unknown kind or level.
    """
    return unpack_array(blob, _shape_request, RequestHeader, 9)


def encode_reply(
    client: bytes, sequence: int, code: int, index: int, body: bytes, server: str, flags: int = 0
) -> bytes:
    """One reply blob; the arguments are the fields of ``Reply``."""
    return pack((client, sequence, code, index, body, server, flags))


def decode_reply(blob: bytes) -> Reply:
    """The reply in ``blob``. An unknown code passes: ``errors.error_from_wire`` knows it.

    Raises:
        DecodeError: not a reply.
    """
    return unpack_array(blob, _shape_reply, Reply, 7)


def decode_lone_head(frame: bytes) -> Reply:
    """The one reply in a frame 1 of megabytes, without body, server and flags: nothing is copied.

    Raises:
        DecodeError: ``frame`` is not a batch of one large blob, or that does not begin like a
            reply. What follows the head is not looked at.
    """
    head = array_head(1) + bytes_head(max(0, len(frame) - _LONE_HEAD_BYTES))
    if len(head) != _LONE_HEAD_BYTES or not frame.startswith(head):
        raise DecodeError("not a batch of one large blob")
    unpacker = msgpack.Unpacker(max_buffer_size=_FIELDS_BYTES, max_array_len=0, max_map_len=0)
    unpacker.feed(memoryview(frame)[_LONE_HEAD_BYTES:][:_FIELDS_BYTES])
    try:
        count = unpacker.read_array_header()
        fields = [unpacker.unpack() for _ in range(4)]
    except (ValueError, msgpack.UnpackException) as error:
        raise DecodeError(f"not the head of a reply: {error}") from None
    if count != len(_REPLY_TYPES):
        raise DecodeError(f"a reply has 7 fields, not {count}")
    return _shape_reply([*fields, b"", "", 0])


def encode_requests(requests: Sequence[RequestFields]) -> bytes:
    """Frame 1 of 1 to BATCH_REQUESTS_MAX requests. The sender sees to the bounds."""
    return pack(pack_each(requests))


def encode_replies(replies: Sequence[ReplyFields]) -> bytes:
    """Frame 1 of 1 to BATCH_REQUESTS_MAX replies. The sender sees to the bounds."""
    return pack(pack_each(replies))


def encode_large_replies(replies: Sequence[ReplyFields]) -> bytes:
    """What ``encode_replies`` makes of them, where that is megabytes: each body is copied once.

    And by join(), which lets go of the interpreter while it copies a megabyte or more.
    """
    parts = [array_head(len(replies))]
    for *before, body, server, flags in replies:
        head = array_head(7) + b"".join(pack_each(before)) + bytes_head(len(body))
        tail = b"".join(pack_each((server, flags)))
        parts += (bytes_head(len(head) + len(body) + len(tail)), head, body, tail)
    return b"".join(parts)


def encode_batch(blobs: Sequence[bytes]) -> bytes:
    """Frame 1: 1 to BATCH_REQUESTS_MAX blobs. The sender sees to the bounds."""
    return pack(blobs)


def decode_batch(frame: bytes | memoryview) -> list[bytes]:
    """The blobs in frame 1, each still to be decoded.

    Raises:
        DecodeError: not an array of 1 to BATCH_REQUESTS_MAX byte strings.
    """
    return unpack_array(frame, _shape_batch, list, BATCH_REQUESTS_MAX)


def error_of(reply: Reply) -> RequestError:
    """The error that a reply with another code than 0 stands for; the caller raises it.

    Raises:
        DecodeError: the body is not [message, detail].
    """
    message, detail = decode_error(reply.body)
    return error_from_wire(reply.code, message, detail)


def _shape_request(fields: list[Any]) -> RequestHeader:
    if len(fields) != 9:
        raise DecodeError(f"a request has 9 fields, not {len(fields)}")
    kind, client, sequence, level, min_index, max_age_ms, timeout_ms, flags, payload = fields
    if (
        type(kind),
        type(client),
        type(sequence),
        type(level),
        type(min_index),
        type(max_age_ms),
        type(timeout_ms),
        type(flags),
        type(payload),
    ) != _REQUEST_TYPES:
        raise DecodeError("a field of the request has the wrong type")
    if kind not in _KINDS or level not in _LEVELS:
        raise DecodeError(f"unknown kind {kind} or level {level}")
    # The sign bit of any of them survives the "or".
    if (sequence | min_index | max_age_ms | timeout_ms | flags) < 0:
        raise DecodeError("a number of the request is negative")
    if len(client) > CLIENT_ID_BYTES_MAX:
        raise DecodeError(f"client id of {len(client)} bytes, at most {CLIENT_ID_BYTES_MAX}")
    return tuple.__new__(RequestHeader, fields)


def _shape_reply(fields: list[Any]) -> Reply:
    if len(fields) != 7:
        raise DecodeError(f"a reply has 7 fields, not {len(fields)}")
    client, sequence, code, index, body, server, flags = fields
    if (
        type(client),
        type(sequence),
        type(code),
        type(index),
        type(body),
        type(server),
        type(flags),
    ) != _REPLY_TYPES:
        raise DecodeError("a field of the reply has the wrong type")
    if (sequence | code | index | flags) < 0:
        raise DecodeError("a number of the reply is negative")
    if len(client) > CLIENT_ID_BYTES_MAX:
        raise DecodeError(f"client id of {len(client)} bytes, at most {CLIENT_ID_BYTES_MAX}")
    return tuple.__new__(Reply, fields)


def _shape_batch(blobs: list[Any]) -> list[bytes]:
    if set(map(type, blobs)) != _BYTES_ONLY:
        raise DecodeError("a batch is a non-empty array of byte strings")
    return blobs
