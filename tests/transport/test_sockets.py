from __future__ import annotations

import subprocess
import sys

import pytest
import zmq

from raftzmq.errors import AddressInUse, ConfigError, StartError
from raftzmq.limits import MESSAGE_BYTES_MAX
from raftzmq.transport.sockets import (
    SOCKETS,
    Context,
    Purpose,
    bind,
    connect,
    open_context,
    open_socket,
    require_libzmq,
)

INPROC = {Purpose.WORKER_ROUTER, Purpose.WORKER_REP}


@pytest.mark.parametrize("purpose", Purpose)
def test_each_purpose_gets_its_type_and_options(context: Context, purpose: Purpose) -> None:
    with open_socket(context, purpose) as socket:
        assert socket.type == SOCKETS[purpose].socket_type
        for option in SOCKETS[purpose].options:
            if option.option not in (zmq.ROUTER_MANDATORY, zmq.ROUTER_HANDOVER):  # write-only
                assert socket.getsockopt(option.option) == option.value, option


@pytest.mark.parametrize("purpose", Purpose)
def test_each_option_stands_once_and_has_a_reason(purpose: Purpose) -> None:
    options = SOCKETS[purpose].options
    assert len({each.option for each in options}) == len(options)
    assert all(each.why for each in options)


def test_no_socket_waits_at_close_and_no_network_socket_is_unbounded() -> None:
    for purpose in Purpose:
        values = {each.option: each.value for each in SOCKETS[purpose].options}
        assert values[zmq.LINGER] == 0
        if purpose not in INPROC:
            assert values[zmq.MAXMSGSIZE] == MESSAGE_BYTES_MAX
            heartbeats = zmq.HEARTBEAT_IVL in values
            assert values[zmq.RCVHWM] == 0, "a bound lets a lost connection end the process"
            assert heartbeats or values[zmq.TCP_KEEPALIVE] == 1
            assert not heartbeats or values[zmq.HEARTBEAT_TIMEOUT] > values[zmq.HEARTBEAT_IVL]
        if SOCKETS[purpose].socket_type == zmq.DEALER:
            assert values[zmq.IMMEDIATE] == 1


def test_an_address_in_use_is_named(context: Context) -> None:
    with (
        open_socket(context, Purpose.CLIENT_ROUTER) as first,
        open_socket(context, Purpose.CLIENT_ROUTER) as second,
    ):
        bind(first, "tcp://127.0.0.1:*")
        address = first.getsockopt_string(zmq.LAST_ENDPOINT)
        with pytest.raises(AddressInUse, match=f"cannot listen on {address}: another process"):
            bind(second, address)


def test_an_address_of_another_machine_is_named(context: Context) -> None:
    with (
        open_socket(context, Purpose.CLIENT_ROUTER) as socket,
        pytest.raises(AddressInUse, match="no such"),
    ):
        bind(socket, "tcp://192.0.2.1:5555")


@pytest.mark.parametrize("address", ["127.0.0.1:5555", "tcp://127.0.0.1:port", "http://a:1", ""])
def test_what_is_no_address_is_a_configuration_error(context: Context, address: str) -> None:
    with open_socket(context, Purpose.CLIENT_DEALER) as socket:
        with pytest.raises(ConfigError, match="is no ZeroMQ address"):
            bind(socket, address)
        with pytest.raises(ConfigError, match="is no ZeroMQ address"):
            connect(socket, address)


def test_an_old_libzmq_is_refused() -> None:
    require_libzmq()
    require_libzmq((4, 3, 2))
    with pytest.raises(StartError, match=r"libzmq 4\.3\.1 is too old"):
        require_libzmq((4, 3, 1))


def test_open_context_gives_a_usable_context() -> None:
    with open_context() as made, open_socket(made, Purpose.WORKER_REP) as socket:
        bind(socket, "inproc://somewhere")


def test_a_plain_req_reaches_a_front_router(context: Context) -> None:
    with (
        open_socket(context, Purpose.CLIENT_ROUTER) as front,
        context.socket(zmq.REQ) as foreign,
    ):
        bind(front, "tcp://127.0.0.1:*")
        foreign.linger = 0
        foreign.connect(front.getsockopt_string(zmq.LAST_ENDPOINT))
        foreign.send_multipart([b"a", b"b"])
        assert front.poll(5_000)
        envelope, empty, *frames = front.recv_multipart()
        assert (empty, frames) == (b"", [b"a", b"b"])
        front.send_multipart([envelope, b"", b"answer"])
        assert foreign.poll(5_000)
        assert foreign.recv() == b"answer"


def test_a_front_router_tells_of_a_client_that_left(context: Context) -> None:
    with open_socket(context, Purpose.BROKER_ROUTER) as front:
        bind(front, "tcp://127.0.0.1:*")
        with pytest.raises(zmq.ZMQError) as caught:
            front.send_multipart([b"nobody", b"", b"answer"], zmq.DONTWAIT)
        assert caught.value.errno == zmq.EHOSTUNREACH


def test_the_worker_router_notices_a_worker_that_is_gone(context: Context) -> None:
    with open_socket(context, Purpose.WORKER_ROUTER) as queue:
        bind(queue, "inproc://workers")
        with pytest.raises(zmq.ZMQError) as caught:
            queue.send_multipart([b"nobody", b"", b"request"], zmq.DONTWAIT)
        assert caught.value.errno == zmq.EHOSTUNREACH


def test_a_dealer_without_connection_queues_nothing(context: Context) -> None:
    with open_socket(context, Purpose.NODE_DEALER) as dealer:
        connect(dealer, "tcp://127.0.0.1:1")
        with pytest.raises(zmq.Again):
            dealer.send(b"request", zmq.DONTWAIT)


def test_frames_can_be_lent_before_there_are_threads() -> None:
    """In a process of its own: whoever lends first in one has settled it for all others."""
    program = (
        "from raftzmq.transport.sockets import open_context;"
        "from zmq.utils.garbage import gc;"
        "assert not gc.is_alive(); context = open_context(); assert gc.is_alive(); context.term()"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
