"""Connections: too many, not finished, not reading, of a process that grows."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import zmq

from raftzmq.transport import doorman as module
from raftzmq.transport.doorman import (
    BLAME_BYTES_MIN,
    SLOWEST_BYTES_PER_S,
    STEP_BYTES,
    STUCK_MS,
    Doorman,
    Growth,
    Guest,
    Traffic,
    choose,
)
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


def test_that_it_has_outgrown_its_bound_is_told_while_it_lasts(context: Context) -> None:
    size = [1 << 20]
    with watched(context, bytes_max=1 << 20, own_bytes=lambda: size[0]) as (doorman, _, _):
        assert not doorman.outgrown
        size[0] += 1
        assert until(lambda: doorman.outgrown)
        size[0] -= 1
        assert until(lambda: not doorman.outgrown)


@pytest.mark.parametrize(("size", "times"), [(30, 0), (31, 1), (150, 1), (151, 4)])
def test_a_process_that_is_not_small_returns_freed_memory_and_a_very_large_one_often(
    context: Context, monkeypatch: pytest.MonkeyPatch, size: int, times: int
) -> None:
    """Looked at once per 100 ms, for a second, on a clock that begins late."""
    now_ms = [100_000]
    returned = []
    monkeypatch.setattr(module, "monotonic_ms", lambda: now_ms[0])
    monkeypatch.setattr(module, "give_back", lambda: returned.append(now_ms[0]))
    with open_socket(context, Purpose.CLIENT_ROUTER) as server:
        doorman = Doorman({"client": server}, bytes_max=100, own_bytes=lambda: size)
        for _ in range(10):
            doorman._look()
            now_ms[0] += 100
        doorman.stop()
    assert len(returned) == times


@pytest.mark.parametrize(
    ("size", "calm_ms"), [(0, 250), (70, 250), (71, 249), (200, 120), (310, 25), (400, 25)]
)
def test_a_small_process_is_looked_at_before_it_can_have_passed_its_bound(
    context: Context, size: int, calm_ms: int
) -> None:
    with open_socket(context, Purpose.CLIENT_ROUTER) as server:
        doorman = Doorman({"client": server}, bytes_max=320 << 20, own_bytes=lambda: size << 20)
        doorman._look()
        assert doorman._calm_ms() == calm_ms
        doorman.stop()


def test_whoever_comes_ends_the_calm(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Doorman, "_calm_ms", lambda self: 60_000)
    monkeypatch.setattr(module, "put_strangers_last", lambda: True)
    with watched(context) as (doorman, _, address):
        time.sleep(4 * module.LOOK_MS / 1000)
        for count in (1, 2):
            with zmtp.open_zmtp(address):
                assert until(lambda: len(doorman._guests["client"]) == 1), count
            assert until(lambda: not doorman._guests["client"]), count


def test_growth_costs_one_connection_per_step_and_only_once() -> None:
    growth = Growth(100 * STEP_BYTES)
    assert growth.steps(100 * STEP_BYTES) == 0
    assert growth.steps(102 * STEP_BYTES) == 2
    assert growth.steps(102 * STEP_BYTES) == 0
    assert growth.steps(50 * STEP_BYTES) == 0
    assert growth.steps(101 * STEP_BYTES) == 1


def guest(descriptor: int, sent: int, *, stuck_ms: int = 0) -> Guest:
    found = Guest(descriptor, 0)
    found.looked_at(Traffic(acknowledged=0, received=sent, unsent=0), 0)
    found.stuck_ms = stuck_ms
    return found


def test_a_guest_that_takes_too_little_for_too_long_counts_as_one_that_does_not_read() -> None:
    found, slow = Guest(1, 0), 1_000  # bytes in 100 ms: less than SLOWEST_BYTES_PER_S
    taken = 0
    for now_ms in range(100, STUCK_MS, 100):
        taken += slow
        found.looked_at(Traffic(acknowledged=taken, received=9, unsent=1_000), now_ms)
        assert found.stuck_ms < STUCK_MS
    found.looked_at(Traffic(acknowledged=taken + slow, received=9, unsent=1_000), STUCK_MS)
    assert found.stuck_ms == STUCK_MS
    fast = taken + slow + SLOWEST_BYTES_PER_S
    found.looked_at(Traffic(acknowledged=fast, received=9, unsent=1_000), STUCK_MS + 100)
    assert found.stuck_ms == 0


def test_who_has_nothing_to_read_is_not_slow() -> None:
    found = Guest(1, 0)
    found.looked_at(Traffic(acknowledged=0, received=9, unsent=0), 10 * STUCK_MS)
    assert found.stuck_ms == 0


def test_what_a_guest_has_sent_is_forgotten_by_and_by() -> None:
    found = guest(1, 1 << 20)
    found.looked_at(found.traffic, 2_000)
    assert found.recent_bytes == 1 << 19
    found.looked_at(Traffic(0, (1 << 20) + 5, 0), 4_000)
    assert found.recent_bytes == (1 << 18) + 5


def test_who_does_not_read_goes_first_then_who_sent_most_is_likely() -> None:
    stuck, loud, less = guest(1, 0, stuck_ms=STUCK_MS), guest(2, 1 << 30), guest(3, 1 << 28)
    rng = random.Random(1)
    assert choose([loud, stuck, less], 1, rng) == [stuck]
    assert set(choose([loud, stuck, less], 9, rng)) == {stuck, loud, less}
    picks = [choose([loud, less], 1, rng) for _ in range(100)]
    assert 65 < picks.count([loud]) < 95
    assert choose([], 3, rng) == []


def test_who_sent_little_or_much_less_than_the_worst_stays_whatever_it_costs() -> None:
    """The connection of a peer that is closed looks like the death of that peer."""
    rng = random.Random(1)
    loud, peer, idle = guest(1, 1 << 30), guest(2, 100 << 20), guest(3, BLAME_BYTES_MIN - 1)
    assert choose([loud, peer, idle], 100, rng) == [loud]
    assert choose([idle, guest(4, 5)], 100, rng) == []
