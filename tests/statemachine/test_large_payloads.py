"""Payloads of any size and shape: decoded alike whichever way, and never larger than they are."""

from __future__ import annotations

import tracemalloc
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftzmq import limits
from raftzmq.errors import MalformedRequest, TooLarge
from raftzmq.statemachine.statements import decode_payload

SCALARS = st.none() | st.integers(-(1 << 63), (1 << 63) - 1) | st.text() | st.binary() | st.floats()
PARAMETERS = (
    st.none() | st.lists(SCALARS, max_size=40) | st.dictionaries(st.text(), SCALARS, max_size=40)
)
STATEMENTS = st.lists(st.tuples(st.text(), PARAMETERS), max_size=20)
PROMISE = b"\xdc\xff\xff"


def packed(value: object) -> bytes:
    data: bytes = msgpack.packb(value)
    return data


@settings(max_examples=200, deadline=None)
@given(STATEMENTS)
def test_a_long_array_in_it_changes_nothing_of_the_rest(statements: list[Any]) -> None:
    long = ["SELECT 1", list(range(5_000))]
    found = decode_payload(packed([*statements, long]), limits.STATEMENTS_MAX)
    assert packed(found) == packed([*statements, long])
    short = ["SELECT 1", [bytes(8 << 10)]]
    found = decode_payload(packed([*statements, short]), limits.STATEMENTS_MAX)
    assert packed(found) == packed([*statements, short])


def test_more_parameters_than_any_statement_has_are_left_to_sqlite() -> None:
    values = list(range(65_536))
    assert decode_payload(packed([["SELECT 1", values]]), 1) == [["SELECT 1", values]]


def test_many_named_parameters() -> None:
    names = {f"p{number}": number for number in range(5_000)}
    assert decode_payload(packed([["SELECT 1", names]]), 1) == [["SELECT 1", names]]


LONG = packed([["SELECT 1", list(range(5_000))]])


@pytest.mark.parametrize(
    "payload",
    [
        LONG[:-1],
        LONG[:12],
        LONG + b"\0",
        packed([["SELECT 1"], ["SELECT 1", list(range(5_000))]]),
        packed([["SELECT 1", list(range(5_000)), 1]]),
        packed([["SELECT 1", [*range(5_000), [1]]]]),
        packed([[1, list(range(5_000))]]),
        packed([["SELECT 1", 1], ["SELECT 1", list(range(5_000))]]),
        packed([["SELECT 1", dict.fromkeys(range(5000), 1)]]),
        packed({"SELECT 1": list(range(5_000))}),
        packed([["SELECT 1", list(range(65_537))]]),
        packed([["SELECT 1", {str(number): 1 for number in range(65_537)}]]),
        b"\x91\x92\xa1a" + PROMISE * 5_000,
    ],
)
def test_what_is_no_list_of_statements_is_malformed(payload: bytes) -> None:
    assert len(payload) == 12 or len(payload) > 4 << 10, "this would go the short way"
    with pytest.raises(MalformedRequest):
        decode_payload(payload, limits.STATEMENTS_MAX)


@pytest.mark.parametrize("levels", [300, 1_300, 20_000, 1_000_000])
@pytest.mark.parametrize("start", [b"", b"\x91\x92\xa1a", b"\x91", b"\x91\x92\xa1a\x91"])
def test_promises_within_promises_take_no_room(start: bytes, levels: int) -> None:
    for promise in (PROMISE, b"\xdc\x03\xff", b"\xdc\x04\x00"):
        payload = start + promise * levels
        tracemalloc.start()
        try:
            with pytest.raises((MalformedRequest, TooLarge)):
                decode_payload(payload, limits.STATEMENTS_MAX)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < (16 << 20) + 3 * len(payload)
