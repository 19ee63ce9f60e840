"""One message, one reply: whole, in order, once, and never larger than a message may be."""

from __future__ import annotations

from raftzmq.errors import DeadlineExpired, OutcomeUnknown, TooLarge
from raftzmq.node.batches import REPLIES_BYTES_MAX, Batch
from raftzmq.wire.client import (
    Kind,
    Reply,
    RequestHeader,
    decode_batch,
    decode_reply,
    decode_request,
    encode_request,
)


def request(kind: Kind, sequence: int) -> RequestHeader:
    return decode_request(encode_request(kind, b"client", sequence))


class Wire:
    """Collects what is sent."""

    def __init__(self, *kinds: Kind) -> None:
        self.sent: list[list[Reply]] = []
        requests = [request(kind, number) for number, kind in enumerate(kinds, 1)]
        self.batch = Batch([b"id"], requests, self.send, "n1", 1000)

    def send(self, envelope: list[bytes], frame: bytes, count: int) -> None:
        assert envelope == [b"id"]
        replies = [decode_reply(blob) for blob in decode_batch(frame)]
        assert len(replies) == count
        self.sent.append(replies)


def test_reply_leaves_when_the_last_request_is_answered_in_order_of_the_requests() -> None:
    wire = Wire(Kind.READ, Kind.READ)
    wire.batch.answer(1, 0, b"second", 7)
    assert wire.sent == []
    wire.batch.answer(0, 0, b"first", 7)
    assert [reply.body for reply in wire.sent[0]] == [b"first", b"second"]
    assert [reply.sequence for reply in wire.sent[0]] == [1, 2]


def test_second_answer_is_ignored_before_and_after_the_reply_left() -> None:
    wire = Wire(Kind.READ, Kind.READ)
    wire.batch.answer(0, 0, b"first", 7)
    wire.batch.fail(0, DeadlineExpired("late"))
    wire.batch.answer(1, 0, b"", 7)
    wire.batch.fail(1, DeadlineExpired("late"))
    assert len(wire.sent) == 1
    assert [reply.code for reply in wire.sent[0]] == [0, 0]


def test_results_that_do_not_fit_together_are_refused_by_name() -> None:
    wire = Wire(Kind.READ, Kind.READ, Kind.WRITE)
    half = bytes(REPLIES_BYTES_MAX // 2 + 1)
    for position in range(3):
        wire.batch.answer(position, 0, half, 7)
    assert [reply.code for reply in wire.sent[0]] == [0, TooLarge.code, OutcomeUnknown.code]


def test_an_error_keeps_its_code_when_there_is_no_room_for_its_words() -> None:
    wire = Wire(Kind.READ, Kind.WRITE, Kind.WRITE)
    wire.batch.answer(0, 0, bytes(REPLIES_BYTES_MAX), 7)
    wire.batch.fail(1, OutcomeUnknown("it may still be applied"))
    wire.batch.fail(2, DeadlineExpired("too late"))
    codes = [reply.code for reply in wire.sent[0]]
    assert codes == [0, OutcomeUnknown.code, DeadlineExpired.code]


def test_what_is_let_go_is_answered_to_nobody() -> None:
    sent: list[tuple[bytes, int]] = []
    requests = [request(Kind.READ, 1), request(Kind.READ, 2)]
    batch = Batch(
        [b"id"], requests, lambda _, frame, count: sent.append((frame, count)), "n1", 1000
    )
    batch.answer(1, 0, b"in vain", 7)
    batch.let_go()
    batch.answer(0, 0, b"late", 7)
    batch.let_go()
    assert sent == [(b"", 2)]
    assert batch.done
