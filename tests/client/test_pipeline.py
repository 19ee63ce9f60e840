"""The pipeline's handling of silence and loss, with a scripted channel and clock."""

from __future__ import annotations

from collections import deque
from itertools import pairwise
from typing import cast

import pytest

from raftzmq.client.channel import Channel
from raftzmq.client.pipeline import PROBE_MS, Pipeline, says_cut_off
from raftzmq.client.session import ANSWER_LOST_MS, RETRY_MS, Session
from raftzmq.errors import (
    DeadlineExpired,
    MalformedRequest,
    OutcomeUnknown,
    Overloaded,
    UnsupportedVersion,
)
from raftzmq.wire.client import (
    Flags,
    Kind,
    Level,
    Reply,
    RequestHeader,
    decode_batch,
    decode_request,
    encode_batch,
    encode_error,
    encode_reply,
)
from raftzmq.wire.codec import pack
from raftzmq.wire.version import CLIENT_FRAME


class ScriptedChannel:
    """Waiting takes virtual time; a STATUS is answered at once while ``alive``."""

    def __init__(self) -> None:
        self.now_ms = 0
        self.client = b"client-0"
        self.addresses = ["one", "two"]
        self.address = "one"
        self.ready = True
        self.alive = True
        self.status_body = b""
        self.all_cut_off = False
        self.moved_ms: list[int] = []
        self.full_until_ms = 0
        self.sent: list[RequestHeader] = []
        self._at_ms: list[tuple[int, int]] = []
        self._inbox: deque[list[bytes]] = deque()

    def wait(self, timeout_ms: int) -> bool:
        """Time passes, unless there is something to receive."""
        if not self._inbox:
            self.now_ms += timeout_ms
        return True

    def send(self, frame: bytes) -> bool:
        """Keep what was sent."""
        if self.now_ms < self.full_until_ms:
            return False
        for request in map(decode_request, decode_batch(frame)):
            self.sent.append(request)
            self._at_ms.append((request.sequence, self.now_ms))
            if request.kind == Kind.STATUS and self.alive:
                self.answer(request.sequence, 0, body=self.status_body)
        return True

    def sent_ms(self, sequence: int) -> list[int]:
        """When the request was sent."""
        return [at_ms for number, at_ms in self._at_ms if number == sequence]

    def answer(self, sequence: int, code: int, *, body: bytes | None = None) -> None:
        """An answer arrives."""
        content = encode_error("because") if body is None else body
        blob = encode_reply(self.client, sequence, code, 5, content, "n1")
        self._inbox.append([CLIENT_FRAME, encode_batch([blob])])

    def refuse(self, code: int) -> None:
        """The other side could not read a message; it cannot say which."""
        blob = encode_reply(b"", 0, code, 0, encode_error("cannot be read"), "n1")
        self._inbox.append([CLIENT_FRAME, encode_batch([blob])])

    def receive(self) -> list[bytes] | None:
        """The next message."""
        return self._inbox.popleft() if self._inbox else None

    def go_elsewhere(self, address: str = "") -> None:
        """The other address, which lives."""
        self.address, self.alive = "two", True
        self.moved_ms.append(self.now_ms)
        self._inbox.clear()
        if not self.all_cut_off:
            self.status_body = b""


@pytest.fixture
def channel() -> ScriptedChannel:
    return ScriptedChannel()


@pytest.fixture
def pipeline(channel: ScriptedChannel) -> Pipeline:
    session = Session(b"client-0", timeout_ms=20 * PROBE_MS)
    return Pipeline(cast(Channel, channel), session, lambda: channel.now_ms)


def flags(channel: ScriptedChannel) -> list[int]:
    return [request.flags for request in channel.sent if request.kind != Kind.STATUS]


def reads(channel: ScriptedChannel) -> list[int]:
    return [request.sequence for request in channel.sent if request.kind == Kind.READ]


def test_a_long_answer_is_waited_for_while_the_server_lives(
    channel: ScriptedChannel, pipeline: Pipeline
) -> None:
    call = pipeline.read([("select long", [])])
    while not call.done:
        pipeline.poll(PROBE_MS)
    assert isinstance(call.error, DeadlineExpired)
    assert channel.address == "one"


def test_a_lost_answer_is_asked_for_again_ever_more_rarely(
    channel: ScriptedChannel, pipeline: Pipeline
) -> None:
    call = pipeline.read([("select", [])])
    while not call.done:
        pipeline.poll(PROBE_MS)
    assert reads(channel) == [1, 1, 1]
    assert flags(channel) == [0, Flags.AGAIN, Flags.AGAIN]
    assert channel.sent_ms(1) == [0, ANSWER_LOST_MS, 3 * ANSWER_LOST_MS]


def test_a_write_asked_for_again_is_answered_from_the_ledger(
    channel: ScriptedChannel, pipeline: Pipeline
) -> None:
    pipeline.session.index_known = True
    call = pipeline.write([("insert", [])])
    while channel.now_ms < ANSWER_LOST_MS:
        pipeline.poll(PROBE_MS)
    pipeline.poll(0)
    assert flags(channel) == [0, Flags.AGAIN]
    channel.answer(call.sequence, Overloaded.code)
    while not call.done and channel.now_ms < 2 * ANSWER_LOST_MS:
        pipeline.poll(1)
        if len(flags(channel)) == 3:
            channel.answer(call.sequence, 0)
    assert call.error is None, "a refused repeat says nothing about the first attempt"


def test_an_anonymous_write_is_not_asked_for_again(channel: ScriptedChannel) -> None:
    session = Session(b"", timeout_ms=4 * ANSWER_LOST_MS)
    session.index_known = True
    pipeline = Pipeline(cast(Channel, channel), session, lambda: channel.now_ms)
    call = pipeline.write([("insert", [])])
    while not call.done:
        pipeline.poll(PROBE_MS)
    assert flags(channel) == [0]
    assert isinstance(call.error, OutcomeUnknown)


@pytest.mark.parametrize("pause_ms", [PROBE_MS, 10 * PROBE_MS, 99 * PROBE_MS])
def test_a_pause_of_the_client_is_not_taken_for_silence_of_the_server(
    channel: ScriptedChannel, pipeline: Pipeline, pause_ms: int
) -> None:
    channel.alive = False
    call = pipeline.read([("select", [])])
    pipeline.poll(PROBE_MS + 1)
    channel.answer(call.sequence, 0)
    channel.now_ms += pause_ms
    pipeline.poll(0)
    assert call.done
    assert call.error is None
    assert channel.address == "one"
    assert reads(channel) == [1]


def test_what_the_socket_does_not_take_is_offered_again_soon(
    channel: ScriptedChannel, pipeline: Pipeline
) -> None:
    channel.full_until_ms = 50
    pipeline.read([("select", [])])
    pipeline.poll(PROBE_MS)
    assert [at_ms <= 50 + RETRY_MS for at_ms in channel.sent_ms(1)] == [True]


def test_a_message_that_cannot_be_read_leaves_other_writes_unknown(
    channel: ScriptedChannel, pipeline: Pipeline
) -> None:
    pipeline.session.index_known = True
    first, second = pipeline.write([("insert", [])]), pipeline.write([("insert", [])])
    pipeline.poll(0)
    channel.refuse(MalformedRequest.code)
    pipeline.poll(1)
    assert [type(call.error) for call in (first, second)] == [OutcomeUnknown, OutcomeUnknown]


def test_the_only_message_that_cannot_be_read_is_rejected(
    channel: ScriptedChannel, pipeline: Pipeline
) -> None:
    pipeline.session.index_known = True
    call = pipeline.write([("insert", [])])
    pipeline.poll(0)
    channel.refuse(MalformedRequest.code)
    pipeline.poll(1)
    assert isinstance(call.error, MalformedRequest)


def test_a_server_of_another_version_refuses_the_first_write_at_once(
    channel: ScriptedChannel, pipeline: Pipeline
) -> None:
    channel.alive = False
    call = pipeline.write([("insert", [])])
    pipeline.poll(0)
    channel.refuse(UnsupportedVersion.code)
    pipeline.poll(1)
    assert isinstance(call.error, UnsupportedVersion)


def test_a_server_that_answers_no_probe_is_left(
    channel: ScriptedChannel, pipeline: Pipeline
) -> None:
    pipeline.read([("select", [])])
    channel.alive = False
    while channel.address == "one":
        assert channel.now_ms <= 2 * PROBE_MS
        pipeline.poll(PROBE_MS)
    pipeline.poll(1)
    assert reads(channel) == [1, 1], "sent again, under the same number"


def proxy_status(*, takes_writes: bool) -> bytes:
    return pack({"nodes": [], "broker": {"leader": "n1", "takes_writes": takes_writes}})


def test_a_proxy_that_is_cut_off_is_left(channel: ScriptedChannel, pipeline: Pipeline) -> None:
    pipeline.session.index_known = True
    pipeline.write([("insert", [])])
    pipeline.read([("select", [])])
    channel.status_body = proxy_status(takes_writes=False)
    while channel.address == "one":
        assert channel.now_ms <= PROBE_MS
        pipeline.poll(PROBE_MS)
    pipeline.poll(RETRY_MS + 1)
    named = [(r.kind, r.sequence) for r in channel.sent if r.kind != Kind.STATUS]
    assert named == [(Kind.WRITE, 1), (Kind.READ, 2)] * 2, "sent again, under the same numbers"


def test_answers_to_stale_reads_do_not_hide_that_a_write_is_held(
    channel: ScriptedChannel, pipeline: Pipeline
) -> None:
    channel.status_body = proxy_status(takes_writes=False)
    pipeline.session.index_known = True
    pipeline.write([("insert", [])])
    while channel.address == "one":
        assert channel.now_ms <= PROBE_MS + 200
        stale = pipeline.read([("select", [])], level=Level.STALE)
        pipeline.poll(0)
        channel.answer(stale.sequence, 0, body=b"")
        pipeline.poll(100)
        channel.now_ms += 100


def test_a_slow_stale_read_does_not_leave_a_proxy_that_is_cut_off(
    channel: ScriptedChannel, pipeline: Pipeline
) -> None:
    channel.status_body = proxy_status(takes_writes=False)
    pipeline.read([("select slow", [])], level=Level.STALE)
    while channel.now_ms < 10 * PROBE_MS:
        pipeline.poll(PROBE_MS)
    assert not channel.moved_ms


def test_without_a_leader_anywhere_moves_grow_rare(
    channel: ScriptedChannel, pipeline: Pipeline
) -> None:
    channel.status_body = proxy_status(takes_writes=False)
    channel.all_cut_off = True
    pipeline.session.index_known = True
    pipeline.write([("insert", [])])
    while channel.now_ms < 15 * PROBE_MS:
        pipeline.poll(PROBE_MS)
    gaps = [after - before for before, after in pairwise([0, *channel.moved_ms])]
    assert len(gaps) >= 5
    assert all(gap >= PROBE_MS for gap in gaps)
    assert all(gap >= 2 * PROBE_MS for gap in gaps[2:])
    assert all(gap >= 4 * PROBE_MS for gap in gaps[4:])


def test_a_new_client_leaves_a_proxy_that_is_cut_off_at_once(
    channel: ScriptedChannel, pipeline: Pipeline
) -> None:
    channel.status_body = proxy_status(takes_writes=False)
    channel.all_cut_off = True
    pipeline.write([("insert", [])])
    while channel.now_ms < PROBE_MS:
        pipeline.poll(PROBE_MS - channel.now_ms)
    assert channel.moved_ms == [0]


def test_a_slow_proxy_with_a_leader_is_not_left(
    channel: ScriptedChannel, pipeline: Pipeline
) -> None:
    pipeline.read([("select", [])])
    channel.status_body = proxy_status(takes_writes=True)
    while channel.now_ms < 10 * PROBE_MS:
        pipeline.poll(PROBE_MS)
    assert channel.address == "one"


def test_an_anonymous_write_stays_where_it_was_sent(channel: ScriptedChannel) -> None:
    channel.client = b""
    session = Session(b"", timeout_ms=4 * PROBE_MS)
    session.index_known = True
    pipeline = Pipeline(cast(Channel, channel), session, lambda: channel.now_ms)
    channel.status_body = proxy_status(takes_writes=False)
    call = pipeline.write([("insert", [])])
    while not call.done:
        pipeline.poll(PROBE_MS)
    assert [r.kind for r in channel.sent].count(Kind.STATUS) >= 2, (
        "asked, and told that it is cut off"
    )
    assert not channel.moved_ms


def test_a_keyed_write_of_an_anonymous_client_is_taken_along(channel: ScriptedChannel) -> None:
    session = Session(b"")
    session.index_known = True
    pipeline = Pipeline(cast(Channel, channel), session, lambda: channel.now_ms)
    channel.client = b""
    channel.status_body = proxy_status(takes_writes=False)
    pipeline.write([("insert", [])], id="order-7")
    pipeline.poll(PROBE_MS)
    pipeline.poll(RETRY_MS + 1)
    pipeline.poll(RETRY_MS + 1)
    writes = [r.sequence for r in channel.sent if r.kind == Kind.WRITE]
    assert channel.address == "two"
    assert len(writes) == 2
    assert len(set(writes)) == 1, "under the same name, which the ledger recognises"


@pytest.mark.parametrize("body", [b"", b"\x80", pack({"broker": 1}), pack({"node": "n1"})])
def test_only_a_proxy_that_says_so_is_cut_off(body: bytes) -> None:
    assert not says_cut_off(Reply(b"", 1, 0, 0, body, "n1"))


def test_writes_wait_until_an_index_is_known(channel: ScriptedChannel, pipeline: Pipeline) -> None:
    pipeline.write([("insert", [])])
    pipeline.poll(1)
    pipeline.poll(1)
    assert [(r.kind, r.min_index) for r in channel.sent] == [(Kind.STATUS, 0), (Kind.WRITE, 5)]
