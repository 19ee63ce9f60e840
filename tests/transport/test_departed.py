"""What connections leave behind when they end is dropped, unread."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import zmq

from raftzmq.transport import departed as module
from raftzmq.transport import intake as intake_module
from raftzmq.transport.departed import Departed
from raftzmq.transport.frames import send
from raftzmq.transport.intake import FRAMES_MAX, Intake
from raftzmq.transport.sockets import Context, Purpose, Socket, bind, open_socket

OURS = b"\0\x01\x02\x03\x04"


def test_only_ids_that_nobody_chose_are_remembered() -> None:
    departed = Departed()
    departed.note(OURS)
    for chosen in (b"worker", b"\x01\x01\x02\x03\x04", b"\0\x01\x02\x03", b""):
        departed.note(chosen)
        assert chosen not in departed
    assert OURS in departed


def test_the_memory_is_bounded_and_the_oldest_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT_MAX", 3)
    departed = Departed()
    ids = [b"\0\0\0\0%c" % number for number in range(4)]
    for each in (*ids[:3], ids[0], ids[3]):
        departed.note(each)
    assert [each in departed for each in ids] == [False, True, True, True]


@pytest.fixture
def front(context: Context) -> Iterator[Socket]:
    with open_socket(context, Purpose.CLIENT_ROUTER) as opened:
        bind(opened, "tcp://127.0.0.1:*")
        yield opened


def client_of(context: Context, front: Socket) -> Socket:
    client = context.socket(zmq.DEALER)
    client.setsockopt(zmq.LINGER, 5_000)
    client.connect(front.getsockopt_string(zmq.LAST_ENDPOINT))
    return client


def leave(front: Socket, routing_id: bytes, intake: Intake) -> None:
    """Wait until the connection has ended, as a reply finds out; then it is noted."""
    for _ in range(500):
        if not takes(front, routing_id):
            intake.departed.note(routing_id)
            return
        front.poll(10, zmq.POLLERR)
    pytest.fail("the connection did not end")


def takes(front: Socket, routing_id: bytes) -> bool:
    try:
        send(front, (routing_id, b"", b"reply"))
    except zmq.ZMQError as error:
        return error.errno != zmq.EHOSTUNREACH
    return True


def test_what_a_connection_left_behind_is_dropped_and_others_are_served(
    context: Context, front: Socket
) -> None:
    gone, stays = client_of(context, front), client_of(context, front)
    intake = Intake(front, 3)
    with stays:
        for number in range(100):
            gone.send_multipart([b"", b"%d" % number])
        assert front.poll(5_000)
        first = next(iter(intake.turn()))
        gone.close()
        leave(front, bytes(first[0]), intake)
        stays.send_multipart([b"", b"here"])
        found = []
        while not found:
            assert front.poll(5_000)
            found = [frames[2] for frames in intake.turn()]
        assert found == [b"here"]
        while front.poll(100):
            assert list(intake.turn()) == []
    assert intake.departed.dropped == 99


def test_to_drop_is_bounded_in_time(
    context: Context, front: Socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = client_of(context, front)
    for number in range(100):
        gone.send_multipart([b"", b"%d" % number])
    assert front.poll(5_000)
    intake = Intake(front, 1_000)
    first = next(iter(intake.turn()))
    gone.close()
    leave(front, bytes(first[0]), intake)
    monkeypatch.setattr(intake_module, "TURN_MS", 0)
    assert list(intake.turn()) == []
    assert intake.departed.dropped == 1


def test_an_overlong_message_of_a_connection_that_ended_goes_away_whole(
    context: Context, front: Socket
) -> None:
    """A frame from its middle would else be taken for the begin of the next message."""
    gone = client_of(context, front)
    gone.send_multipart([b"", b"first"])
    assert front.poll(5_000)
    intake = Intake(front, 100)
    [first] = intake.turn()
    for _ in range(3):
        gone.send_multipart([b"x"] * (FRAMES_MAX + 500))
    gone.send_multipart([b"", b"last"])
    gone.close()
    leave(front, bytes(first[0]), intake)
    while front.poll(100):
        assert list(intake.turn()) == []
    assert (intake.overlong, intake.departed.dropped) == (3, 1)
