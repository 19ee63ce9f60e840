"""A large answer goes through as it came; whatever is odd about one goes the usual way."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from raftzmq.errors import Killed, Unavailable
from raftzmq.limits import LARGE_RESULT_BYTES
from raftzmq.wire.client import (
    Flags,
    decode_batch,
    decode_lone_head,
    decode_reply,
    decode_request,
    encode_batch,
    encode_error,
    encode_reply,
)
from raftzmq.wire.codec import DecodeError
from raftzmq.wire.version import CLIENT_FRAME
from tests.broker.fake_cluster import ALICE, FakeCluster, read

BODY = bytes(LARGE_RESULT_BYTES)


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


def frame_of(sequence: int, *, code: int = 0, client: bytes = b"client-a") -> bytes:
    return encode_batch([encode_reply(client, sequence, code, 17, BODY, "n2", 1)])


def test_it_is_passed_on_untouched(cluster: FakeCluster) -> None:
    cluster.ask(read(1, flags=Flags.SLOW))
    (batch,) = cluster.round()
    frame = frame_of(1)
    cluster.router.from_node(batch.node, [batch.batch_id, b"", CLIENT_FRAME, frame], 1_000)
    [(identity, frames)] = cluster.router.take_replies()
    assert identity == ALICE
    assert frames == [b"", CLIENT_FRAME, frame]
    assert frames[2] is frame
    assert not cluster.router.busy
    assert cluster.router.view.nodes[batch.node].applied_index == 17
    assert cluster.router.counters.replies == 1
    assert cluster.router.take_replies() == []


def test_it_goes_beside_small_ones(cluster: FakeCluster) -> None:
    cluster.ask(read(1, flags=Flags.SLOW), read(2))
    for batch in cluster.round():
        [blob] = [decode_request(each) for each in decode_batch(batch.frames[3])]
        if blob.sequence == 1:
            answer = [batch.batch_id, b"", CLIENT_FRAME, frame_of(1)]
            cluster.router.from_node(batch.node, answer, 1_000)
        else:
            cluster.answer(batch)
    assert sorted(cluster.verdicts()) == [(ALICE, 1, 0), (ALICE, 2, 0)]


@pytest.mark.parametrize(
    "odd",
    [
        lambda: frame_of(2),
        lambda: frame_of(1, client=b"client-b"),
        lambda: frame_of(1)[:-1],
        lambda: frame_of(1) + b"\0",
        lambda: encode_batch([BODY]),
        lambda: BODY,
    ],
)
def test_what_is_no_answer_to_it_is_asked_again(
    cluster: FakeCluster, odd: Callable[[], bytes]
) -> None:
    cluster.ask(read(1, flags=Flags.SLOW))
    (batch,) = cluster.round()
    cluster.router.from_node(batch.node, [batch.batch_id, b"", CLIENT_FRAME, odd()], 1_000)
    (again,) = cluster.round(100)
    cluster.answer(again)
    assert cluster.verdicts() == [(ALICE, 1, 0)]


def test_a_large_error_is_an_error(cluster: FakeCluster) -> None:
    cluster.ask(read(1, flags=Flags.SLOW))
    (batch,) = cluster.round()
    body = encode_error("x" * LARGE_RESULT_BYTES, "")
    blob = encode_reply(b"client-a", 1, Unavailable.code, 0, body, "n2")
    cluster.answer_raw(batch, [blob])
    (again,) = cluster.round(100)
    cluster.answer(again, Killed.code)
    assert cluster.verdicts() == [(ALICE, 1, Killed.code)]


def test_one_that_comes_too_late_is_nobodys(cluster: FakeCluster) -> None:
    cluster.ask(read(1, flags=Flags.SLOW, timeout_ms=500))
    (batch,) = cluster.round()
    cluster.round(600)
    before = len(cluster.verdicts())
    cluster.router.from_node(batch.node, [batch.batch_id, b"", CLIENT_FRAME, frame_of(1)], 1_600)
    assert len(cluster.verdicts()) == before == 1


def test_the_head_alone_is_read() -> None:
    frame = frame_of(7)
    whole = decode_reply(decode_batch(frame)[0])
    assert decode_lone_head(frame) == whole._replace(body=b"", server="", flags=0)
    longest = encode_batch([encode_reply(b"c" * 64, (1 << 64) - 1, 99, 1 << 63, BODY, "n")])
    assert decode_lone_head(longest).index == 1 << 63


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\x91",
        encode_batch([encode_reply(b"c", 1, 0, 1, b"small", "n")]),
        encode_batch([BODY, BODY]),
        encode_batch([BODY]),
        encode_batch([encode_reply(b"c" * 65, 1, 0, 1, BODY, "n")]),
        encode_batch([b"\x97\xc0\x01\x00\x01" + BODY]),
        encode_batch([b"\x96\xc4\x01c\x01\x00\x01" + BODY]),
        encode_batch([b"\x97\xc4\x01c\xff\x00\x01" + BODY]),
        encode_batch([b"\x97\xdc\xff\xff\xdc\xff\xff" + BODY]),
    ],
)
def test_no_head_of_a_lone_large_reply(frame: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_lone_head(frame)
