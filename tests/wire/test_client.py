from __future__ import annotations

from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftzmq.errors import NotLeader, OutcomeUnknown
from raftzmq.limits import BATCH_REQUESTS_MAX, CLIENT_ID_BYTES_MAX, REQUEST_TIMEOUT_MS
from raftzmq.wire.client import (
    Flags,
    Kind,
    Level,
    Reply,
    ReplyFields,
    RequestHeader,
    decode_batch,
    decode_reply,
    decode_request,
    encode_batch,
    encode_error,
    encode_large_replies,
    encode_replies,
    encode_reply,
    encode_request,
    encode_requests,
    error_of,
)
from raftzmq.wire.codec import DecodeError
from raftzmq.wire.version import CLIENT_FRAME, VersionMismatch, check_client_frame
from tests.wire.samples import I63, REPLY, REQUEST, U64


def test_a_request_comes_back_equal() -> None:
    assert decode_request(REQUEST) == RequestHeader(
        Kind.WRITE,
        bytes(range(16)),
        U64,
        Level.SESSION,
        I63,
        1_500,
        10_000,
        Flags.NO_FOREIGN_KEYS,
        b"payload",
    )


def test_the_shortest_request_has_defaults_for_the_rest() -> None:
    header = decode_request(encode_request(Kind.STATUS))
    assert header == (Kind.STATUS, b"", 0, Level.LINEARIZABLE, 0, 0, REQUEST_TIMEOUT_MS, 0, b"")


def test_a_reply_comes_back_equal() -> None:
    assert decode_reply(REPLY) == Reply(bytes(range(16)), U64, 0, I63, b"body", "n1", 3)


@pytest.mark.parametrize(("blob", "decode"), [(REQUEST, decode_request), (REPLY, decode_reply)])
def test_no_field_may_be_missing_added_or_of_another_type(blob: bytes, decode: Any) -> None:
    values = msgpack.unpackb(blob)
    for at in range(len(values)):
        for wrong in (None, [], {}, 1.5, True, -1, [values[at]], bytearray(65).hex()):
            if type(wrong) is type(values[at]) and wrong != -1:
                continue
            with pytest.raises(DecodeError):
                decode(msgpack.packb([*values[:at], wrong, *values[at + 1 :]]))
        with pytest.raises(DecodeError):
            decode(msgpack.packb(values[:at]))
    with pytest.raises(DecodeError):
        decode(msgpack.packb([*values, 0]))
    with pytest.raises(DecodeError):
        decode(blob + b"\xc0")


@pytest.mark.parametrize("kind", [0, 8, 255])
def test_an_unknown_kind_is_refused(kind: int) -> None:
    with pytest.raises(DecodeError, match=f"unknown kind {kind}"):
        decode_request(encode_request(kind))


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(DecodeError, match="unknown kind 2 or level 4"):
        decode_request(encode_request(Kind.READ, level=4))


def test_a_client_id_is_bounded() -> None:
    longest, longer = bytes(CLIENT_ID_BYTES_MAX), bytes(CLIENT_ID_BYTES_MAX + 1)
    assert decode_request(encode_request(Kind.READ, longest)).client == longest
    with pytest.raises(DecodeError, match="client id"):
        decode_request(encode_request(Kind.READ, longer))
    with pytest.raises(DecodeError, match="client id"):
        decode_reply(encode_reply(longer, 1, 0, 0, b"", ""))


def test_a_batch_keeps_its_order_and_does_not_look_inside() -> None:
    blobs = [b"one", b"", b"\xff" * 300]
    assert decode_batch(encode_batch(blobs)) == blobs


def test_a_batch_is_bounded_on_both_sides() -> None:
    assert len(decode_batch(encode_batch([b"x"] * BATCH_REQUESTS_MAX))) == BATCH_REQUESTS_MAX
    for blobs in ([b"x"] * (BATCH_REQUESTS_MAX + 1), []):
        with pytest.raises(DecodeError):
            decode_batch(encode_batch(blobs))


@pytest.mark.parametrize("batch", [["text"], [b"x", 1], [b"x", [b"y"]], [[b"x"]], {}, b"x", None])
def test_a_batch_is_made_of_byte_strings(batch: object) -> None:
    with pytest.raises(DecodeError):
        decode_batch(bytes(msgpack.packb(batch)))


def test_a_nested_array_fails_before_the_rest_is_built() -> None:
    """A million empty arrays would be 70 MB of lists; the first one ends the decoding."""
    inner = bytes(msgpack.packb([[]] * 1_000))
    bomb = b"\xdc\x03\xe8" + inner * 1_000
    with pytest.raises(DecodeError, match="non-empty array of byte strings"):
        decode_batch(bomb)


def test_a_reply_with_an_error_becomes_that_error() -> None:
    body = encode_error("n2 is not the leader", "tcp://127.0.0.1:7101")
    error = error_of(decode_reply(encode_reply(b"", 1, NotLeader.code, 0, body, "n2")))
    assert type(error) is NotLeader
    assert (error.message, error.detail) == ("n2 is not the leader", "tcp://127.0.0.1:7101")


def test_an_error_of_a_newer_server_is_an_unknown_outcome() -> None:
    reply = decode_reply(encode_reply(b"", 1, 999, 0, encode_error("new"), "n2"))
    assert type(error_of(reply)) is OutcomeUnknown


def test_another_version_is_told_from_rubbish() -> None:
    check_client_frame(CLIENT_FRAME)
    with pytest.raises(VersionMismatch, match="RZQ version 2; this program speaks version 1"):
        check_client_frame(b"RZQ\x02")
    for rubbish in (b"", b"RZQ", b"RZQ\x01\x00", b"RZP\x01"):
        with pytest.raises(DecodeError) as caught:
            check_client_frame(rubbish)
        assert type(caught.value) is DecodeError


def test_a_message_encoded_at_once_is_what_its_blobs_would_be_one_by_one() -> None:
    requests = [
        (int(Kind.WRITE), b"client", number, 0, 7, 0, 500, 0, bytes(size))
        for number, size in enumerate((0, 300_000, 3), 1)
    ]
    replies = [
        (b"client", number, 0, 9, bytes(size), "n1", 0) for number, size in ((1, 70_000), (2, 1))
    ]
    assert encode_requests(requests) == encode_batch([encode_request(*each) for each in requests])
    assert encode_replies(replies) == encode_batch([encode_reply(*each) for each in replies])


@settings(max_examples=50)
@given(
    st.lists(
        st.tuples(
            st.binary(max_size=64),
            st.integers(0, U64),
            st.integers(0, 99),
            st.integers(0, U64),
            st.sampled_from([0, 1, 200, 256, 70_000, 1 << 20]).map(bytes),
            st.text(max_size=40),
            st.integers(0, 3),
        ),
        min_size=1,
        max_size=40,
    )
)
def test_large_replies_are_the_same_bytes(replies: list[ReplyFields]) -> None:
    assert encode_large_replies(replies) == encode_replies(replies)
