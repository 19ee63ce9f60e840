from __future__ import annotations

from decimal import Decimal

import msgpack
import pytest

from raftzmq.errors import MalformedRequest, TooLarge
from raftzmq.limits import PARAMETERS_MAX, REQUEST_BYTES_MAX, STATEMENTS_MAX
from raftzmq.wire.codec import DecodeError
from raftzmq.wire.payload import (
    StatementResult,
    decode_error,
    decode_results,
    decode_statements,
    encode_error,
    encode_results,
    encode_statements,
)


def packed(value: object) -> bytes:
    return bytes(msgpack.packb(value))


def test_statements_come_back_with_every_type_sqlite_has() -> None:
    values = (None, -(1 << 63), (1 << 63) - 1, 0.1, "ü\x00", b"\x00\xff")
    payload = encode_statements([("SELECT ?", values), ("COMMIT", ())])
    assert decode_statements(payload) == [("SELECT ?", values), ("COMMIT", ())]


def test_a_bool_is_sent_as_a_number() -> None:
    assert decode_statements(encode_statements([("SELECT ?", [True])])) == [("SELECT ?", (1,))]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ([Decimal(1)], "no type for a parameter of type Decimal in: SELECT"),
        ([[1]], "type list"),
        ([1 << 64], "does not fit"),
        ([1 << 63], "does not fit"),
        (["\ud800"], "not Unicode"),
        ("abc", "sequence of parameters"),
    ],
)
def test_what_sqlite_cannot_store_is_refused_before_it_is_sent(
    parameters: list[object], message: str
) -> None:
    with pytest.raises(MalformedRequest, match=message):
        encode_statements([("SELECT ?", parameters)])


def test_a_request_without_statements_is_refused() -> None:
    with pytest.raises(MalformedRequest, match="at least one"):
        encode_statements([])


def test_a_request_is_bounded() -> None:
    for statements in (
        [("SELECT 1", [])] * (STATEMENTS_MAX + 1),
        [("SELECT 1", [1] * (PARAMETERS_MAX + 1))],
        [("SELECT ?", [bytes(REQUEST_BYTES_MAX)])],
    ):
        with pytest.raises(TooLarge):
            encode_statements(statements)
    for beyond in (
        [("SELECT 1", [])] * (STATEMENTS_MAX + 1),
        [("SELECT 1", [1] * (PARAMETERS_MAX + 1))],
    ):
        with pytest.raises(DecodeError):
            decode_statements(packed(beyond))


@pytest.mark.parametrize(
    "payload",
    [
        [],
        [[]],
        [["SELECT 1"]],
        [["SELECT 1", [], 0]],
        [[b"SELECT 1", []]],
        [["SELECT 1", None]],
        [["SELECT 1", {}]],
        [["SELECT 1", [{}]]],
        [["SELECT 1", [[]]]],
        [["SELECT 1", [True]]],
        [["SELECT 1", [1 << 63]]],
        [["SELECT 1", [msgpack.Timestamp(1)]]],
        ["SELECT 1", []],
        None,
        b"",
    ],
)
def test_what_is_no_statement_is_refused(payload: object) -> None:
    with pytest.raises(DecodeError):
        decode_statements(packed(payload))


def test_a_map_fails_before_the_rest_is_built() -> None:
    """Empty maps would take 64 times the memory of the message."""
    with pytest.raises(DecodeError, match="a map where none belongs"):
        decode_statements(packed([["SELECT 1", [{}] * 1_000]]))


def test_results_come_back_equal() -> None:
    results = [
        StatementResult(1, 7, None, None),
        StatementResult(0, 0, ("a", "b"), ((1, "x"), (None, b""), (0.5, ""))),
        StatementResult(0, 0, ("a",), ()),
    ]
    assert decode_results(encode_results(results)) == results


@pytest.mark.parametrize(
    "result",
    [
        [],
        [0, 0, None],
        [None, 0, None, None],
        [0, 0, [], None],
        [0, 0, None, []],
        [0, 0, [1], []],
        [0, 0, ["a"], [1]],
        [0, 0, ["a"], [[1, 2]]],
        [0, 0, ["a"], [[[]]]],
        [0, 0, ["a"], [[{}]]],
        1,
    ],
)
def test_what_is_no_result_is_refused(result: object) -> None:
    with pytest.raises(DecodeError):
        decode_results(packed([result]))


def test_an_error_comes_back_equal() -> None:
    assert decode_error(encode_error("what", "where")) == ("what", "where")


@pytest.mark.parametrize("body", [[], ["a"], ["a", b"b"], ["a", "b", "c"], [["a", "b"], "c"], "ab"])
def test_what_is_no_error_is_refused(body: object) -> None:
    with pytest.raises(DecodeError):
        decode_error(packed(body))
