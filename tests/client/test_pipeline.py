"""The pipeline's handling of silence and loss, with a scripted channel and clock."""

from __future__ import annotations

from collections import deque
from typing import cast

import pytest

from raftzmq.client.channel import Channel
from raftzmq.client.pipeline import PROBE_MS, Pipeline
from raftzmq.client.session import Session
from raftzmq.errors import DeadlineExpired
from raftzmq.wire.client import (
    Kind,
    RequestHeader,
    decode_batch,
    decode_request,
    encode_batch,
    encode_reply,
)
from raftzmq.wire.version import CLIENT_FRAME


class ScriptedChannel:
    """Waiting takes virtual time; a STATUS is answered at once while ``alive``."""

    def __init__(self) -> None:
        self.now_ms = 0
        self.addresses = ["one", "two"]
        self.address = "one"
        self.ready = True
        self.alive = True
        self.sent: list[RequestHeader] = []
        self._inbox: deque[list[bytes]] = deque()

    def wait(self, timeout_ms: int) -> bool:
        """Time passes, unless there is something to receive."""
        if not self._inbox:
            self.now_ms += timeout_ms
        return True

    def send(self, frame: bytes) -> bool:
        """Keep what was sent."""
        for request in map(decode_request, decode_batch(frame)):
            self.sent.append(request)
            if request.kind == Kind.STATUS and self.alive:
                blob = encode_reply(request.client, request.sequence, 0, 5, b"", "n1")
                self._inbox.append([CLIENT_FRAME, encode_batch([blob])])
        return True

    def receive(self) -> list[bytes] | None:
        """The next message."""
        return self._inbox.popleft() if self._inbox else None

    def go_elsewhere(self, address: str = "") -> None:
        """The other address, which lives."""
        self.address, self.alive = "two", True


@pytest.fixture
def channel() -> ScriptedChannel:
    return ScriptedChannel()


@pytest.fixture
def pipeline(channel: ScriptedChannel) -> Pipeline:
    session = Session(b"client-0", timeout_ms=20 * PROBE_MS)
    return Pipeline(cast(Channel, channel), session, lambda: channel.now_ms)


def reads(channel: ScriptedChannel) -> list[int]:
    return [request.sequence for request in channel.sent if request.kind == Kind.READ]


def test_a_long_answer_is_waited_for_while_the_server_lives(
    channel: ScriptedChannel, pipeline: Pipeline
) -> None:
    call = pipeline.read([("select long", [])])
    while not call.done:
        pipeline.poll(PROBE_MS)
    assert isinstance(call.error, DeadlineExpired)
    assert len(reads(channel)) == 1
    assert channel.address == "one"


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


def test_writes_wait_until_an_index_is_known(channel: ScriptedChannel, pipeline: Pipeline) -> None:
    pipeline.write([("insert", [])])
    pipeline.poll(1)
    pipeline.poll(1)
    assert [(r.kind, r.min_index) for r in channel.sent] == [(Kind.STATUS, 0), (Kind.WRITE, 5)]
