"""Whatever bytes arrive: a value or DecodeError, nothing else (promise P8)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftzmq.wire.client import (
    Kind,
    Level,
    decode_batch,
    decode_reply,
    decode_request,
    encode_reply,
    encode_request,
)
from raftzmq.wire.codec import DecodeError
from raftzmq.wire.payload import decode_error, decode_results, decode_statements
from raftzmq.wire.peer import decode_peer
from raftzmq.wire.queries import decode_queries
from raftzmq.wire.status import decode_status
from raftzmq.wire.version import check_client_frame
from tests.wire.samples import samples

DECODERS: Final[dict[str, Callable[[bytes], object]]] = {
    "peer": decode_peer,
    "client request": decode_request,
    "client reply": decode_reply,
    "client batch": decode_batch,
    "payload statements": decode_statements,
    "body results": decode_results,
    "body error": decode_error,
    "body status": decode_status,
    "body queries": decode_queries,
    "frame": check_client_frame,
}
SAMPLES: Final = list(samples().values())

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.floats()
    | st.text(max_size=20)
    | st.binary(max_size=20)
    | st.builds(msgpack.ExtType, st.integers(0, 127), st.binary(max_size=9))
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=12) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=30,
)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A valid message with bytes changed, cut out, inserted, or another message's tail."""
    data = bytearray(draw(st.sampled_from(SAMPLES)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        change = draw(st.sampled_from(["set", "cut", "insert", "splice", "truncate"]))
        if change == "set" and at < len(data):
            data[at] = draw(st.integers(0, 255))
        elif change == "cut":
            del data[at : at + draw(st.integers(1, 8))]
        elif change == "insert":
            data[at:at] = draw(st.binary(min_size=1, max_size=8))
        elif change == "splice":
            data[at:] = draw(st.sampled_from(SAMPLES))[at:]
        elif change == "truncate":
            del data[at:]
    return bytes(data)


def survives(data: bytes) -> None:
    for decode in DECODERS.values():
        try:
            decode(data)
        except DecodeError:
            continue


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_random_bytes(data: bytes) -> None:
    survives(data)
    survives(b"RZP\x01" + data)


@settings(max_examples=300, deadline=None)
@given(values)
def test_random_values(value: Any) -> None:
    data = bytes(msgpack.packb(value))
    survives(data)
    survives(b"RZP\x01" + data)


@settings(max_examples=1_000, deadline=None)
@given(mutated())
def test_mutated_messages(data: bytes) -> None:
    survives(data)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(samples())), st.data())
def test_elements_of_other_types(name: str, data: st.DataObject) -> None:
    """The right number of elements, some of them random: past the first checks."""
    sample = samples()[name]
    prefix = sample[:4] if name.startswith("peer") else b""
    elements = msgpack.unpackb(sample[len(prefix) :])
    if isinstance(elements, dict):
        key = data.draw(st.sampled_from(sorted(elements)))
        elements[key] = data.draw(values)
    else:
        for _ in range(data.draw(st.integers(1, 3))):
            elements[data.draw(st.integers(0, len(elements) - 1))] = data.draw(values)
    survives(prefix + bytes(msgpack.packb(elements)))


@pytest.mark.parametrize("name", DECODERS)
@pytest.mark.parametrize("head", [b"\x91", b"\xdd\xff\xff\xff\xff", b"\xdc\xff\xff", b"\x81\xa0"])
def test_deep_nesting_and_promised_length(name: str, head: bytes) -> None:
    prefix = b"RZP\x01" if name == "peer" else b""
    with pytest.raises(DecodeError):
        DECODERS[name](prefix + head * 10_000)


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(list(Kind)),
    st.binary(max_size=64),
    st.integers(0, (1 << 64) - 1),
    st.sampled_from(list(Level)),
    st.lists(st.integers(0, (1 << 64) - 1), min_size=4, max_size=4),
    st.binary(max_size=300),
)
def test_every_request_and_reply_comes_back(
    kind: Kind, client: bytes, sequence: int, level: Level, numbers: list[int], payload: bytes
) -> None:
    sent = (kind, client, sequence, level, *numbers, payload)
    assert decode_request(encode_request(*sent)) == sent
    answer = (client, sequence, numbers[0], numbers[1], payload, "ü", numbers[2])
    assert decode_reply(encode_reply(*answer)) == answer
