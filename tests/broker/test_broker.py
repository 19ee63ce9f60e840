"""The broker's sockets against clients that are no raftzmq clients."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import zmq

from raftzmq.broker.broker import Broker
from raftzmq.errors import AddressInUse, MalformedRequest, UnsupportedVersion
from raftzmq.wire.client import (
    Kind,
    decode_batch,
    decode_reply,
    encode_batch,
    encode_request,
)
from raftzmq.wire.version import CLIENT_FRAME
from tests.client.fake_node import BrokerThread, broker, nodes


@pytest.fixture
def served() -> Iterator[tuple[BrokerThread, str]]:
    with nodes(3) as found, broker(found) as running:
        yield running


@pytest.fixture
def plain() -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    with zmq.Context() as context:
        yield context


def codes(frames: list[bytes]) -> list[int]:
    return [decode_reply(blob).code for blob in decode_batch(frames[-1])]


def test_a_plain_req_socket_is_served(
    served: tuple[BrokerThread, str], plain: zmq.Context[zmq.Socket[bytes]]
) -> None:
    with plain.socket(zmq.REQ) as req:
        req.connect(served[1])
        for kind in (Kind.WRITE, Kind.READ, Kind.STATUS):
            req.send_multipart([CLIENT_FRAME, encode_batch([encode_request(kind, b"c", 1)])])
            assert req.poll(5_000)
            frames = req.recv_multipart()
            assert frames[0] == CLIENT_FRAME
            assert codes(frames) == [0]


def test_nonsense_is_answered_or_dropped_and_harms_nobody(
    served: tuple[BrokerThread, str], plain: zmq.Context[zmq.Socket[bytes]]
) -> None:
    with plain.socket(zmq.DEALER) as dealer:
        dealer.linger = 0
        dealer.connect(served[1])
        for frames in ([b""], [b"", b"", b"", b""], [b"x" * 100_000], [b"", CLIENT_FRAME]):
            dealer.send_multipart(frames)
        dealer.send_multipart([b"", b"RZQ\x09", b"?"])
        assert dealer.poll(5_000)
        assert codes(dealer.recv_multipart()) == [UnsupportedVersion.code]
        dealer.send_multipart([b"", CLIENT_FRAME, b"\x91\x91\x91"])
        assert dealer.poll(5_000)
        assert codes(dealer.recv_multipart()) == [MalformedRequest.code]
        dealer.send_multipart([b"", CLIENT_FRAME, encode_batch([encode_request(Kind.READ, b"c")])])
        assert dealer.poll(5_000)
        assert codes(dealer.recv_multipart()) == [0]
    assert served[0].broker.router.counters.dropped_envelope == 4


def test_an_address_in_use_is_named(served: tuple[BrokerThread, str]) -> None:
    with zmq.Context() as context, pytest.raises(AddressInUse, match="cannot listen on"):
        Broker([served[1]], {}, context=context)


def test_what_a_client_that_left_had_sent_is_dropped_unread(
    served: tuple[BrokerThread, str], plain: zmq.Context[zmq.Socket[bytes]]
) -> None:
    """Its first answers find out; nobody reads the rest."""
    counters = served[0].broker.router.counters
    message = [b"", CLIENT_FRAME, encode_batch([encode_request(Kind.STATUS)] * 1_000)]
    with plain.socket(zmq.DEALER) as dealer:
        dealer.sndhwm = 0
        dealer.linger = 30_000
        dealer.connect(served[1])
        for _ in range(2_000):
            dealer.send_multipart(message)
    with plain.socket(zmq.REQ) as other:
        other.connect(served[1])
        for _ in range(1_000):
            other.send_multipart([CLIENT_FRAME, encode_batch([encode_request(Kind.STATUS)])])
            assert other.poll(10_000)
            other.recv_multipart()
            if counters.dropped_departed:
                break
    assert counters.dropped_departed
    assert counters.dropped_reply
