"""Turns end, and overlong messages go away, whatever is sent."""

from __future__ import annotations

import time

import pytest
import zmq

from raftzmq.transport import frames
from raftzmq.transport import intake as module
from raftzmq.transport.frames import is_readable
from raftzmq.transport.intake import FRAMES_MAX, Intake
from raftzmq.transport.sockets import Context, Purpose, Socket, bind, open_socket


def pair(context: Context) -> tuple[Socket, Socket]:
    server = open_socket(context, Purpose.CLIENT_ROUTER)
    bind(server, "tcp://127.0.0.1:*")
    client = context.socket(zmq.DEALER)
    client.setsockopt(zmq.LINGER, 0)
    client.setsockopt(zmq.RECONNECT_IVL, 20)
    client.connect(server.getsockopt_string(zmq.LAST_ENDPOINT))
    return server, client


def take(intake: Intake, server: Socket, count: int) -> list[list[bytes]]:
    """At least ``count`` messages, over as many turns as needed."""
    found: list[list[bytes]] = []
    while len(found) < count:
        assert server.poll(5_000)
        found += intake.turn()
    return found


def at_once(context: Context, *, clients: int = 1) -> tuple[Socket, list[Socket]]:
    """A server and clients in one process: what was sent has arrived."""
    server = open_socket(context, Purpose.CLIENT_ROUTER)
    server.bind("inproc://intake")
    connected = []
    for _ in range(clients):
        client = context.socket(zmq.DEALER)
        client.setsockopt(zmq.LINGER, 0)
        client.setsockopt(zmq.SNDHWM, 0)
        client.connect("inproc://intake")
        connected.append(client)
    return server, connected


def until_silent(intake: Intake, server: Socket) -> list[list[bytes]]:
    """What is there, over as many turns as needed."""
    found: list[list[bytes]] = []
    while is_readable(server):
        found += intake.turn()
    return found


@pytest.mark.parametrize(("turn_ms", "lengths"), [(60_000, [4, 4, 2, 0]), (0, [1, 1, 1, 1])])
def test_a_turn_is_bounded_in_messages_and_time(
    context: Context, monkeypatch: pytest.MonkeyPatch, turn_ms: int, lengths: list[int]
) -> None:
    monkeypatch.setattr(module, "TURN_MS", turn_ms)
    server, [client] = at_once(context)
    with server, client:
        for number in range(10):
            client.send_multipart([b"", b"%d" % number])
        intake = Intake(server, 4)
        assert [len(list(intake.turn())) for _ in lengths] == lengths


def test_a_turn_of_large_messages_is_shorter(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that goes beyond the bound is the last of its turn."""
    monkeypatch.setattr(module, "TURN_MS", 60_000)
    server, [client] = at_once(context)
    with server, client:
        for size_bytes in (*[module.TURN_BYTES // 2] * 3, 5):
            client.send_multipart([b"", bytes(size_bytes)])
        intake = Intake(server, 100)
        assert [len(list(intake.turn())) for _ in range(3)] == [2, 2, 0]


def test_what_was_refused_does_not_end_a_turn(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TURN_MS", 60_000)
    server, [client] = at_once(context)
    with server, client:
        for number in range(6):
            client.send_multipart([b"%d" % number, bytes(module.TURN_BYTES)])
        intake = Intake(server, 100)
        taken = []
        for frames in intake.turn():
            taken.append(frames[1])
            if frames[1] != b"3":
                intake.refused()
        assert taken == [b"0", b"1", b"2", b"3"]
        assert len(list(intake.turn())) == 1


def test_what_is_large_is_shown_and_not_copied(context: Context) -> None:
    server, [client] = at_once(context)
    with server, client:
        client.send_multipart([b"", bytes(module.VIEW_BYTES - 1), bytes(module.VIEW_BYTES)])
        [[_, empty, small, large]] = Intake(server, 100).turn()
        assert [type(frame) for frame in (empty, small, large)] == [bytes, bytes, memoryview]
        assert large == bytes(module.VIEW_BYTES)


@pytest.mark.parametrize("lossy", [False, True])
def test_an_overlong_message_goes_away_and_its_connection_is_closed(
    context: Context, monkeypatch: pytest.MonkeyPatch, lossy: bool
) -> None:
    """The turn has no time at all, so that the rest is thrown away bit by bit."""
    monkeypatch.setattr(module, "TURN_MS", 0)
    monkeypatch.setattr(module, "LEAST_FRAMES", 1_024)
    server, client = pair(context)
    with server, client:
        monitor = client.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        intake = Intake(server, 100, lossy=lossy)
        client.send_multipart([b""] * 20_000)
        turns = 0
        assert server.poll(5_000)
        while server.poll(200):
            assert list(intake.turn()) == []
            turns += 1
        assert turns > 10
        assert intake.overlong == 1
        assert monitor.poll(5_000), "the connection is closed"
        client.disable_monitor()
        monitor.close()
        client.send_multipart([b"", b"well"])
        assert [frames[1:] for frames in take(intake, server, 1)] == [[b"", b"well"]]


@pytest.mark.parametrize("lossy", [False, True])
def test_a_message_of_one_frame_too_many_takes_no_other_along(
    context: Context, lossy: bool
) -> None:
    server, client = pair(context)
    with server, client, context.socket(zmq.DEALER) as other:
        other.setsockopt(zmq.LINGER, 0)
        other.connect(server.getsockopt_string(zmq.LAST_ENDPOINT))
        intake = Intake(server, 100, lossy=lossy)
        client.send_multipart([b"x"] * FRAMES_MAX)
        assert server.poll(5_000)
        other.send_multipart([b"first", b"y"])
        other.send(b"second")
        time.sleep(0.2)
        found = take(intake, server, 2)
        assert [frames[1:] for frames in found] == [[b"first", b"y"], [b"second"]]
        assert intake.overlong == 1


@pytest.mark.parametrize("lossy", [False, True])
@pytest.mark.parametrize("last", [b"x", b"\0like"])
def test_overlong_messages_take_no_message_of_a_peer_along(
    context: Context, lossy: bool, last: bytes
) -> None:
    """A turn is taken from each connection between two messages of another, so that what peers
    sent stands between messages that follow on each other.
    """
    server, [stranger, peer] = at_once(context, clients=2)
    with server, stranger, peer:
        for _ in range(5):
            stranger.send_multipart([*[b"x"] * 1_000, last])
        sent = [b"well %d" % number for number in range(20)]
        for content in sent:
            peer.send(content)
        intake = Intake(server, 100, lossy=lossy)
        assert [content for _, content in until_silent(intake, server)] == sent
        assert intake.overlong >= 1


def test_what_ends_like_a_routing_id_cuts_no_peer_off(
    context: Context,
) -> None:
    """The first frame of the next message is a peer's, and not what follows on a routing id."""
    brought: list[bytes] = []

    class Watched(Intake):
        def _hang_up(self, frame: zmq.Frame) -> None:
            brought.append(frame.bytes)

    server, [stranger, peer] = at_once(context, clients=2)
    with server, stranger, peer:
        stranger.send_multipart([*[b"x"] * 1_000, b"\0like"])
        peer.send(b"well")
        intake = Watched(server, 100, lossy=True)
        assert [content for _, content in until_silent(intake, server)] == [b"well"]
        assert brought == [b"x"]


def test_what_was_found_behind_the_rest_of_an_overlong_message_is_handed_over(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when it takes turns of its own to throw the rest away."""
    monkeypatch.setattr(module, "TURN_MS", 0)
    monkeypatch.setattr(module, "LEAST_FRAMES", 0)
    server, [stranger, peer] = at_once(context, clients=2)
    with server, stranger, peer:
        stranger.send_multipart([b"x"] * 1_000)
        peer.send(b"well")
        intake = Intake(server, 100, lossy=True)
        assert [content for _, content in until_silent(intake, server)] == [b"well"]


@pytest.mark.parametrize("end", [[b"abcde", b"y"], [b"\0long-", b"y"], [b"\0like", b"y", b"z"]])
def test_only_what_looks_like_a_whole_message_of_a_peer_is_one(
    context: Context, end: list[bytes]
) -> None:
    server, [stranger] = at_once(context)
    with server, stranger:
        stranger.send_multipart([*[b"\0like"] * 1_000, *end])
        intake = Intake(server, 100, lossy=True)
        assert until_silent(intake, server) == []
        assert intake.overlong == 1


def test_the_frames_of_an_overlong_message_are_not_asked_one_by_one(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it was the last costs several times as much as the frame."""
    asked: list[zmq.Frame] = []

    def receive_frame(socket: Socket) -> zmq.Frame:
        asked.append(frame := frames.receive_frame(socket))
        return frame

    monkeypatch.setattr(module, "receive_frame", receive_frame)
    server, [stranger] = at_once(context)
    with server, stranger:
        stranger.send_multipart([b"x"] * 10_000)
        assert until_silent(Intake(server, 100, lossy=True), server) == []
        assert len(asked) < 2 * FRAMES_MAX


def test_a_connection_is_closed_once_for_each_overlong_message(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not for each frame of it; and again for the next, whose connection may have got the
    descriptor of the one before.
    """
    closed: list[int] = []
    monkeypatch.setattr(module, "hang_up", lambda descriptor, port: closed.append(descriptor))
    server, client = pair(context)
    with server, client:
        intake = Intake(server, 100, lossy=True)
        for count in (1, 2):
            client.send_multipart([b"\0like"] * 1_001)
            assert server.poll(5_000)
            assert until_silent(intake, server) == []
            assert intake.overlong == count
            assert len(closed) == count
        assert len(set(closed)) == 1


@pytest.mark.parametrize("start", [b"\0like", b"x"])
def test_every_connection_that_brings_an_overlong_message_is_closed(
    context: Context, start: bytes
) -> None:
    """Also the one whose message follows on another, and is thrown away with it."""
    server, first = pair(context)
    with server, first, context.socket(zmq.DEALER) as second:
        second.setsockopt(zmq.LINGER, 0)
        second.connect(server.getsockopt_string(zmq.LAST_ENDPOINT))
        monitors = []
        for client in (first, second):
            monitors.append(client.get_monitor_socket(zmq.EVENT_DISCONNECTED))
            client.send_multipart([start] * 5_000)
        intake = Intake(server, 100, lossy=True)
        time.sleep(0.2)
        while server.poll(200):
            list(intake.turn())
        for client, monitor in zip((first, second), monitors, strict=True):
            assert monitor.poll(5_000), "the connection is closed"
            client.disable_monitor()
            monitor.close()


def test_a_turn_without_time_throws_away_its_least(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where processors are scarce, the time of a turn passes by without one."""
    monkeypatch.setattr(module, "TURN_MS", 0)
    server, client = pair(context)
    with server, client, context.socket(zmq.DEALER) as peer:
        intake = Intake(server, 100, lossy=True)
        client.send_multipart([b"x"] * module.LEAST_FRAMES)
        assert server.poll(5_000)
        peer.connect(server.getsockopt_string(zmq.LAST_ENDPOINT))
        peer.send(b"well")
        time.sleep(0.2)
        turns = [list(intake.turn()) for _ in range(3)]
        assert sum(map(len, turns[:2])) == 1, "the overlong one needs one turn, and a frame more"


def test_the_longest_message_that_is_taken(context: Context) -> None:
    server, client = pair(context)
    with server, client:
        intake = Intake(server, 100)
        client.send_multipart([b"x"] * (FRAMES_MAX - 1))
        [frames] = take(intake, server, 1)
        assert len(frames) == FRAMES_MAX
        assert intake.overlong == 0
