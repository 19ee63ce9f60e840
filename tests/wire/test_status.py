from __future__ import annotations

import msgpack
import pytest

from raftzmq.wire.codec import DecodeError
from raftzmq.wire.status import STATUS_BYTES_MAX, decode_status, encode_status
from tests.wire.samples import STATUS


def test_a_status_comes_back_equal() -> None:
    assert decode_status(encode_status(STATUS)) == STATUS


def test_a_field_of_a_newer_node_is_ignored() -> None:
    found = msgpack.unpackb(encode_status(STATUS))
    found["temperature"] = [20.5]
    found["peers"]["n2"]["lag"] = 1
    assert decode_status(bytes(msgpack.packb(found))) == STATUS


@pytest.mark.parametrize("name", msgpack.unpackb(encode_status(STATUS)))
def test_no_field_may_be_missing_or_of_another_type(name: str) -> None:
    found = msgpack.unpackb(encode_status(STATUS))
    for wrong in (None, -1, 1.5, [], True, {"n2": 1}, {"n2": -1}, {"n2": {"match": 1}}):
        if (name, wrong) in (("dropped", {"n2": 1}), ("serves_reads", True)):
            continue  # there it is right
        with pytest.raises(DecodeError):
            decode_status(bytes(msgpack.packb({**found, name: wrong})))
    del found[name]
    with pytest.raises(DecodeError, match=name):
        decode_status(bytes(msgpack.packb(found)))


def test_a_status_is_bounded() -> None:
    with pytest.raises(DecodeError, match="at most"):
        decode_status(bytes(STATUS_BYTES_MAX + 1))
