"""Links that are cut: silence, resets, and what arrives when the cable is back."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress

import pytest

from scripts.chaos.cutting import Cutter, CutterError

SHORT_S = 0.2
LONG_S = 20.0


class Ends:
    """A listener, a link to it, and one connection through it."""

    def __init__(self, cutter: Cutter) -> None:
        self.cutter = cutter
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(LONG_S)
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        cutter.tell("link", "a>b", self.port, self.listener.getsockname()[1])
        self.near, self.far = self.connect()

    def connect(self) -> tuple[socket.socket, socket.socket]:
        near = socket.create_connection(("127.0.0.1", self.port), timeout=LONG_S)
        far, _ = self.listener.accept()
        far.settimeout(LONG_S)
        return near, far


@pytest.fixture
def ends() -> Iterator[Ends]:
    with Cutter() as cutter:
        found = Ends(cutter)
        yield found
        for one in (found.near, found.far, found.listener):
            one.close()


def read(one: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        data += one.recv(count - len(data)) or b"end"
    return data


def test_bytes_pass_both_ways_more_than_any_buffer_holds(ends: Ends) -> None:
    sent = bytes(range(256)) * 40_000
    ends.near.setblocking(False)
    got = b""
    place = 0
    while len(got) < len(sent):
        if place < len(sent):
            with suppress(BlockingIOError):
                place += ends.near.send(sent[place : place + 300_000])
        got += ends.far.recv(1 << 20)
    assert got == sent
    ends.far.sendall(b"back")
    ends.near.settimeout(LONG_S)
    assert read(ends.near, 4) == b"back"


def test_dropped_link_is_silent_and_what_was_under_way_arrives_later(ends: Ends) -> None:
    ends.cutter.tell("drop", "a>b")
    ends.near.sendall(b"lost?")
    ends.far.settimeout(SHORT_S)
    with pytest.raises(TimeoutError):
        ends.far.recv(10)
    ends.near.settimeout(SHORT_S)
    with pytest.raises(TimeoutError):
        ends.near.recv(10)
    ends.cutter.tell("heal")
    ends.far.settimeout(LONG_S)
    assert read(ends.far, 5) == b"lost?"


def test_nobody_gets_in_while_a_link_is_dropped(ends: Ends) -> None:
    ends.cutter.tell("drop", "a>b")
    near = socket.create_connection(("127.0.0.1", ends.port), timeout=LONG_S)
    ends.listener.settimeout(SHORT_S)
    with pytest.raises(TimeoutError):
        ends.listener.accept()
    ends.cutter.tell("heal", "a>b")
    ends.listener.settimeout(LONG_S)
    far, _ = ends.listener.accept()
    near.close()
    far.close()


@pytest.mark.parametrize("how", ["break", "reset"])
def test_reset_link_is_noticed_by_both_ends(ends: Ends, how: str) -> None:
    ends.cutter.tell(how, "a>b")
    for one in (ends.near, ends.far):
        one.settimeout(LONG_S)
        with pytest.raises(ConnectionResetError):
            one.recv(10)


def test_broken_link_lets_new_connections_in_and_a_reset_one_does_not(ends: Ends) -> None:
    ends.cutter.tell("break", "a>b")
    near, far = ends.connect()
    near.sendall(b"x")
    assert read(far, 1) == b"x"
    ends.cutter.tell("reset", "a>b")
    with (
        pytest.raises(ConnectionResetError),  # perhaps before connect has returned
        socket.create_connection(("127.0.0.1", ends.port), timeout=LONG_S) as refused,
    ):
        refused.recv(1)
    near.close()
    far.close()


def test_unknown_link_is_refused_by_name(ends: Ends) -> None:
    with pytest.raises(CutterError, match="nowhere"):
        ends.cutter.tell("drop", "nowhere")
    ends.cutter.tell("heal")
