from __future__ import annotations

import os
import select
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest
import zmq

from raftzmq.transport.readiness import Readiness
from raftzmq.transport.sockets import Context, Purpose, open_context, open_socket

WAIT_MS = 5_000


class Pair:
    """A ROUTER that is watched, and a DEALER that talks to it."""

    def __init__(self, context: Context, *, receives_only: bool = False) -> None:
        self.router = open_socket(context, Purpose.CLIENT_ROUTER)
        self.router.bind("tcp://127.0.0.1:*")
        self.dealer = open_socket(context, Purpose.CLIENT_DEALER)
        self.dealer.connect(self.router.getsockopt(zmq.LAST_ENDPOINT).rstrip(b"\0").decode())
        self.readiness = Readiness()
        self.name = self.readiness.watch(self.router, receives_only=receives_only)

    def signalled(self, timeout_ms: int = WAIT_MS) -> bool:
        """Whether the descriptor of the router says that there is something."""
        poll = select.poll()
        poll.register(self.name, select.POLLIN)
        return bool(poll.poll(timeout_ms))

    def until_ready(self) -> None:
        """Wait until the router is ready; other commands of libzmq may wake before."""
        until = time.monotonic() + WAIT_MS / 1000
        while self.name not in self.readiness.wait(WAIT_MS):
            assert time.monotonic() < until

    def greet(self) -> bytes:
        """Exchange a first message; returns the routing id of the dealer."""
        self.dealer.send(b"first")
        identity, _ = self.take()
        return identity

    def take(self) -> list[bytes]:
        """The next message; to be named ready may turn out to be nothing, so again and again."""
        until = time.monotonic() + WAIT_MS / 1000
        while True:
            self.until_ready()
            try:
                return self.router.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                assert time.monotonic() < until

    def close(self) -> None:
        self.readiness.close()
        self.router.close()
        self.dealer.close()


@pytest.fixture
def context() -> Iterator[Context]:
    made = open_context()
    yield made
    made.destroy(linger=0)


@pytest.fixture(params=[False, True], ids=["sends", "receives only"])
def pair(context: Context, request: pytest.FixtureRequest) -> Iterator[Pair]:
    made = Pair(context, receives_only=request.param)
    yield made
    made.close()


def settle(pair: Pair) -> None:
    """Take all that libzmq has to say by itself, until nothing is ready."""
    while pair.readiness.wait(0):
        with suppress(zmq.Again):
            pair.router.recv_multipart(zmq.DONTWAIT)


def test_nothing_is_ready_when_nothing_came(pair: Pair) -> None:
    settle(pair)
    assert pair.readiness.wait(0) == set()


def test_a_message_makes_its_socket_ready(pair: Pair) -> None:
    identity = pair.greet()
    pair.dealer.send(b"second")
    assert pair.take() == [identity, b"second"]


def test_messages_left_behind_are_ready_though_the_descriptor_is_silent(pair: Pair) -> None:
    identity = pair.greet()
    settle(pair)
    pair.dealer.send(b"one")
    pair.dealer.send(b"two")
    pair.until_ready()
    until = time.monotonic() + WAIT_MS / 1000
    while pair.router.getsockopt(zmq.EVENTS) & zmq.POLLIN == 0:
        assert time.monotonic() < until
    assert pair.router.recv_multipart() == [identity, b"one"]
    pair.until_ready()
    assert pair.router.recv_multipart() == [identity, b"two"]


def test_a_message_that_a_send_took_notice_of_is_ready(context: Context) -> None:
    pair = Pair(context)
    identity = pair.greet()
    settle(pair)
    pair.dealer.send(b"second")
    assert pair.signalled()
    until = time.monotonic() + WAIT_MS / 1000
    while pair.signalled(0):
        # A send takes commands in once a millisecond or so has passed since the last time.
        assert time.monotonic() < until
        pair.router.send_multipart([identity, b"reply"], zmq.DONTWAIT)
    assert pair.readiness.wait(0) == {pair.name}
    assert pair.router.recv_multipart(zmq.DONTWAIT) == [identity, b"second"]
    pair.close()


def test_a_socket_that_was_received_from_unasked_is_ready_if_that_is_told(
    context: Context,
) -> None:
    pair = Pair(context, receives_only=True)
    identity = pair.greet()
    settle(pair)
    for content in (b"one", b"two"):
        pair.dealer.send(content)
    until = time.monotonic() + WAIT_MS / 1000
    while not pair.router.getsockopt(zmq.EVENTS) & zmq.POLLIN:
        assert time.monotonic() < until
    time.sleep(0.05)  # both are there
    assert pair.router.recv_multipart(zmq.DONTWAIT) == [identity, b"one"]
    assert pair.readiness.wait(0) == set(), "its descriptor is silent"
    pair.readiness.ask_next(pair.name)
    assert pair.readiness.wait(0) == {pair.name}
    pair.close()


def test_what_came_before_it_was_watched_is_ready(context: Context) -> None:
    pair = Pair(context, receives_only=True)
    pair.dealer.send(b"first")
    until = time.monotonic() + WAIT_MS / 1000
    while not pair.router.getsockopt(zmq.EVENTS) & zmq.POLLIN:
        assert time.monotonic() < until
    other = Readiness()
    name = other.watch(pair.router, receives_only=True)
    assert other.wait(0) == {name}
    other.close()
    pair.close()


def test_a_descriptor_is_ready_as_long_as_it_can_be_read() -> None:
    readiness = Readiness()
    descriptor = os.eventfd(0, os.EFD_NONBLOCK)
    assert readiness.watch_descriptor(descriptor) == descriptor
    assert readiness.wait(0) == set()
    os.eventfd_write(descriptor, 1)
    assert readiness.wait(WAIT_MS) == {descriptor}
    assert readiness.wait(WAIT_MS) == {descriptor}
    os.eventfd_read(descriptor)
    assert readiness.wait(0) == set()
    readiness.close()
    os.close(descriptor)
