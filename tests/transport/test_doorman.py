"""Connections: too many, not finished, not reading, of a process that grows."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import zmq

from raftzmq.transport.doorman import STEP_BYTES, Doorman, Growth, Guest, Traffic, choose
from raftzmq.transport.sockets import Context, Purpose, Socket, bind, open_socket
from tests.hostile import zmtp


def until(condition: Callable[[], bool]) -> bool:
    """Real sockets need real time; a condition that holds ends the wait."""
    deadline = time.monotonic() + 10
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


@contextmanager
def watched(context: Context, **options: object) -> Iterator[tuple[Doorman, Socket, str]]:
    with open_socket(context, Purpose.CLIENT_ROUTER) as server:
        doorman = Doorman({"client": server}, **options)  # type: ignore[arg-type]
        bind(server, "tcp://127.0.0.1:*")
        doorman.start()
        try:
            yield doorman, server, server.getsockopt_string(zmq.LAST_ENDPOINT)
        finally:
            doorman.stop()


def closed(connection: socket.socket) -> bool:
    connection.settimeout(0.05)
    try:
        return connection.recv(4_096) == b""
    except TimeoutError:
        return False
    except ConnectionError:
        return True


def test_who_comes_when_it_is_full_is_sent_away_and_the_others_stay(context: Context) -> None:
    with watched(context, connections_max=2) as (doorman, _, address):
        inside = [zmtp.open_zmtp(address) for _ in range(2)]
        assert until(lambda: len(doorman._guests["client"]) == 2)
        third = zmtp.open_tcp(address)
        assert until(lambda: doorman.seen.get("client too many connections") == 1)
        assert until(lambda: closed(third))
        assert not any(closed(each) for each in inside)
        for each in (*inside, third):
            each.close()
        assert until(lambda: not doorman._guests["client"])


def test_a_failed_handshake_is_counted(context: Context) -> None:
    with watched(context) as (doorman, _, address):
        with zmtp.open_tcp(address) as connection:
            zmtp.send_all(connection, zmtp.greeting(b"BOGUS"))
            assert until(lambda: closed(connection))
        assert until(lambda: doorman.seen == {"client handshake failed": 1})


def test_a_process_that_grows_closes_who_sends_much(context: Context) -> None:
    size = [0]
    with (
        watched(context, bytes_max=1 << 20, own_bytes=lambda: size[0]) as (doorman, _, address),
        zmtp.open_zmtp(address) as quiet,
        zmtp.open_zmtp(address) as loud,
    ):
        assert until(lambda: len(doorman._guests["client"]) == 2)
        part = zmtp.frame(bytes(1 << 20), zmtp.MORE)
        size[0] = (1 << 20) + STEP_BYTES
        while not doorman.seen:
            zmtp.send_all(loud, part)
        assert doorman.seen == {"client connection closed for memory": 1}
        assert until(lambda: closed(loud))
        assert not closed(quiet)


def test_growth_costs_one_connection_per_step_and_only_once() -> None:
    growth = Growth(100 * STEP_BYTES)
    assert growth.steps(100 * STEP_BYTES) == 0
    assert growth.steps(102 * STEP_BYTES) == 2
    assert growth.steps(102 * STEP_BYTES) == 0
    assert growth.steps(50 * STEP_BYTES) == 0
    assert growth.steps(101 * STEP_BYTES) == 1


def test_who_does_not_read_goes_first_and_else_who_sent_most_is_likely() -> None:
    stuck, loud, quiet = Guest(1), Guest(2), Guest(3)
    for _ in range(12):
        stuck.looked_at(Traffic(acknowledged=5, received=9, unsent=1_000))
    rng = random.Random(1)
    assert choose([(loud, 1 << 30), (stuck, 0), (quiet, 0)], rng) is stuck
    stuck.looked_at(Traffic(acknowledged=6, received=9, unsent=1_000))
    picks = [choose([(loud, 1 << 30), (quiet, 0)], rng) for _ in range(100)]
    assert picks.count(loud) > 95
    assert choose([], rng) is None
