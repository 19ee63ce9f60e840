from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import zmq

from raftzmq.errors import ConfigError
from raftzmq.transport.clock import monotonic_ms
from raftzmq.transport.peers import LinkEvent, PeerLinks
from raftzmq.transport.sockets import Context, Purpose, Socket, bind, open_socket

PATIENCE_MS = 5_000
NOBODY = "tcp://127.0.0.1:1"


def router(context: Context, address: str = "tcp://127.0.0.1:*") -> tuple[Socket, str]:
    made = open_socket(context, Purpose.PEER_ROUTER)
    bind(made, address)
    return made, made.getsockopt_string(zmq.LAST_ENDPOINT)


@contextmanager
def links(context: Context, addresses: dict[str, str]) -> Iterator[PeerLinks]:
    made = PeerLinks(context, "n1", addresses)
    try:
        yield made
    finally:
        made.close()


def wait(links: PeerLinks, until: Callable[[list[LinkEvent]], bool]) -> list[LinkEvent]:
    """Collect events until the condition on them holds."""
    poller = zmq.Poller()
    for monitor in links.monitors():
        poller.register(monitor, zmq.POLLIN)
    found: list[LinkEvent] = []
    deadline = monotonic_ms() + PATIENCE_MS
    while not until(found):
        assert poller.poll(max(0, deadline - monotonic_ms())), f"waited in vain after {found}"
        found += links.events()
    return found


def test_the_own_address_gets_no_link(context: Context) -> None:
    with links(context, {"n1": "tcp://127.0.0.1:1", "n2": NOBODY}) as made:
        assert len(made.monitors()) == 1
        assert not made.send("n1", [b"to myself"])


def test_a_link_comes_up_and_carries_messages(context: Context) -> None:
    inbox, address = router(context)
    with inbox, links(context, {"n2": address}) as made:
        assert wait(made, bool) == [LinkEvent("n2", True)]
        assert made.connected() == {"n2"}
        assert made.send("n2", [b"one"])
        assert made.send("n2", [b"large" * 100_000])
        assert made.send("n2", [b"two", b"frames"])
        arrived = []
        for _ in range(3):
            assert inbox.poll(PATIENCE_MS)
            arrived.append(inbox.recv_multipart()[1:])
        assert arrived == [[b"one"], [b"large" * 100_000], [b"two", b"frames"]]
        assert made.dropped() == {"n2": 0}


def test_a_peer_that_was_never_there_is_not_lost(context: Context) -> None:
    inbox, address = router(context)
    with inbox, links(context, {"n2": NOBODY, "n3": address}) as made:
        found = wait(made, bool)
        # Several attempts to reach n2 fail meanwhile: they start 20 ms apart.
        poller = zmq.Poller()
        for monitor in made.monitors():
            poller.register(monitor, zmq.POLLIN)
        poller.poll(200)
        assert found + made.events() == [LinkEvent("n3", True)]
        assert not made.send("n2", [b"lost"])
        assert made.dropped() == {"n2": 1, "n3": 0}


def test_a_port_that_hangs_up_before_the_handshake_is_not_a_lost_peer(context: Context) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as foreign,
        links(context, {"n2": f"tcp://127.0.0.1:{foreign.getsockname()[1]}"}) as made,
    ):
        foreign.settimeout(PATIENCE_MS / 1_000)
        foreign.accept()[0].close()
        assert made.monitors()[0].poll(PATIENCE_MS), "the disconnection is not even reported"
        assert made.events() == []


def test_a_lost_link_is_reported_once_and_comes_back(context: Context) -> None:
    inbox, address = router(context)
    with links(context, {"n2": address}) as made:
        wait(made, bool)
        inbox.close()
        assert wait(made, bool) == [LinkEvent("n2", False)]
        assert made.connected() == frozenset()
        # The end, too, is reported a moment before libzmq stops taking messages for it.
        deadline = monotonic_ms() + PATIENCE_MS
        while made.send("n2", [b"into the void"]):
            assert monotonic_ms() < deadline
        inbox, _ = router(context, address)
        with inbox:
            assert wait(made, bool) == [LinkEvent("n2", True)]
            # The handshake is reported a moment before libzmq takes messages for the connection.
            deadline = monotonic_ms() + PATIENCE_MS
            while not made.send("n2", [b"again"]):
                assert monotonic_ms() < deadline
            assert inbox.poll(PATIENCE_MS)
            assert inbox.recv_multipart()[1:] == [b"again"]


def test_a_full_queue_drops_and_counts_instead_of_waiting(context: Context) -> None:
    with (
        context.socket(zmq.ROUTER) as inbox,  # stands for a machine that takes no more
        contextlib.ExitStack() as closing,
    ):
        inbox.setsockopt(zmq.RCVHWM, 1)
        bind(inbox, "tcp://127.0.0.1:*")
        address = inbox.getsockopt_string(zmq.LAST_ENDPOINT)
        made = closing.enter_context(links(context, {"n2": address}))
        wait(made, bool)
        frame = b"x" * 100_000
        results = [made.send("n2", [frame]) for _ in range(2_000)]
        assert not results[-1]
        assert made.dropped()["n2"] == results.count(False)


def test_links_can_be_added_and_removed(context: Context) -> None:
    inbox, address = router(context)
    with inbox, links(context, {}) as made:
        made.add("n2", address)
        wait(made, bool)
        made.add("n2", address)
        assert wait(made, bool) == [LinkEvent("n2", True)]
        made.remove("n2")
        made.remove("n2")
        assert made.events() == []
        assert made.monitors() == []


def test_a_wrong_address_leaks_nothing(context: Context) -> None:
    with pytest.raises(ConfigError, match="is no ZeroMQ address"):
        PeerLinks(context, "n1", {"n2": NOBODY, "n3": "nonsense"})
