"""A connection ends; others are left alone."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest
import zmq

from raftzmq.transport.hanging_up import hang_up, port_of
from raftzmq.transport.sockets import Context, Purpose, bind, open_socket


@pytest.fixture
def connection() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Of a client, at the server."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname(), timeout=5)
        accepted, _ = listener.accept()
        accepted.settimeout(5)
        with client, accepted:
            yield client, accepted


def test_both_sides_see_the_end(connection: tuple[socket.socket, socket.socket]) -> None:
    client, accepted = connection
    hang_up(accepted.fileno(), accepted.getsockname()[1])
    assert client.recv(1) == accepted.recv(1) == b""


def test_a_descriptor_that_is_another_one_by_now_is_left_alone(
    connection: tuple[socket.socket, socket.socket],
) -> None:
    client, accepted = connection
    hang_up(client.fileno(), accepted.getsockname()[1])
    client.sendall(b"well")
    assert accepted.recv(4) == b"well"


def test_what_is_no_connection_or_not_open_is_passed_over() -> None:
    reading, writing = os.pipe()
    pair = socket.socketpair(socket.AF_UNIX)  # of no name
    hang_up(reading, 1)
    os.write(writing, b"x")
    assert os.read(reading, 1) == b"x"
    os.close(reading)
    os.close(writing)
    hang_up(reading, 1)
    with pair[0], pair[1]:
        hang_up(pair[0].fileno(), 1)
        pair[0].sendall(b"x")
        assert pair[1].recv(1) == b"x"


def test_the_port_of_a_socket(context: Context) -> None:
    with open_socket(context, Purpose.PEER_ROUTER) as server:
        bind(server, "tcp://127.0.0.1:*")
        endpoint = server.getsockopt_string(zmq.LAST_ENDPOINT)
        assert endpoint == f"tcp://127.0.0.1:{port_of(server)}"
    with context.socket(zmq.DEALER) as inner:
        inner.bind("inproc://here")
        assert port_of(inner) == 0
