"""A large request that is none is refused by who takes it, before it goes anywhere."""

from __future__ import annotations

from pathlib import Path

import msgpack
import pytest

from raftzmq.errors import MalformedRequest
from raftzmq.node.service import LARGE_BYTES
from raftzmq.transport.clock import monotonic_ms
from raftzmq.wire.client import Kind, Level, encode_batch
from raftzmq.wire.client import encode_request as request
from raftzmq.wire.payload import encode_statements
from raftzmq.wire.sql_text import begins_like_statements
from tests.node.test_end_service import Desk


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def ask(desk: Desk, payload: bytes) -> None:
    desk.ask(b"a", request(Kind.WRITE, b"client", 1, timeout_ms=60_000, payload=payload))
    desk.service.end_of_round(0)


def test_it_is_refused(desk: Desk) -> None:
    ask(desk, b"\xdd\x00\xff\xff\xff" + b"\xc0" * LARGE_BYTES)
    assert desk.codes() == {b"a": MalformedRequest.code}
    assert desk.replica.raft.proposed == 0


@pytest.mark.parametrize(
    "payload",
    [
        encode_statements([("INSERT INTO t VALUES (?)", [bytes(LARGE_BYTES)])]),
        encode_statements([("INSERT INTO t VALUES (1)", [])] * 1_000 + [("x" * LARGE_BYTES, [])]),
        b"w",
    ],
)
def test_others_are_proposed(desk: Desk, payload: bytes) -> None:
    ask(desk, payload)
    assert desk.codes() == {}
    assert desk.replica.raft.proposed == 1


@pytest.mark.parametrize("level", Level)
def test_so_is_a_read(desk: Desk, level: Level) -> None:
    def ask_for(payload: bytes) -> bool:
        blob = request(Kind.READ, b"client", 1, level=level, payload=payload)
        return desk.service.receive([b"a"], encode_batch([blob]), 0, monotonic_ms())

    assert not ask_for(b"\xc0" * LARGE_BYTES), "and it ends no turn"
    assert desk.replies == [(b"a", MalformedRequest.code)]
    assert ask_for(encode_statements([("SELECT ?", [bytes(LARGE_BYTES)])]))
    assert ask_for(b"\xc0" * 100), "a worker says so as well"
    assert len(desk.replies) == 1


@pytest.mark.parametrize("size", [0, 1, 31, 32, 255, 256, 65_535, 65_536])
@pytest.mark.parametrize("count", [1, 15, 16, 1_000])
def test_statements_begin_like_statements(size: int, count: int) -> None:
    statements = [("x" * size, []), *[("y", [])] * (count - 1)]
    assert begins_like_statements(encode_statements(statements))
    assert begins_like_statements(b"\xdd\x00\x00\x00\x01\xdd\x00\x00\x00\x02\xdb")


def test_nothing_is_a_list_of_no_statements() -> None:
    assert begins_like_statements(b"\x90")


@pytest.mark.parametrize(
    "value", [1, "x", {}, [1], [[1]], [["x"]], [[1, 2]], [[b"x", []]], [["x", [], 1]], [None]]
)
def test_other_values_do_not(value: object) -> None:
    assert not begins_like_statements(msgpack.packb(value))


@pytest.mark.parametrize("payload", [b"", b"\x91", b"\x91\x92", b"\xc1", b"\xdc\x00"])
def test_nor_does_what_ends_too_soon(payload: bytes) -> None:
    assert not begins_like_statements(payload)
