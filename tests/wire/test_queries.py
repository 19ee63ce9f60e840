"""The list of running queries: bounded whatever is in it, strict about what it is made of."""

from __future__ import annotations

from dataclasses import replace

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftzmq.wire.codec import DecodeError
from raftzmq.wire.payload import encode_statements
from raftzmq.wire.queries import (
    ANSWER_SQL_BYTES_MAX,
    ID_LENGTH_MAX,
    STATEMENTS_LISTED_MAX,
    WHO_LENGTH_MAX,
    QueryList,
    RunningQuery,
    bounded,
    decode_kill,
    decode_queries,
    encode_kill,
    encode_queries,
)
from raftzmq.wire.sql_text import first_text, statement_texts
from tests.wire.samples import QUERIES

QUERY = QUERIES.queries[0]


def test_there_and_back() -> None:
    assert decode_queries(encode_queries(QUERIES)) == QUERIES


@pytest.mark.parametrize(
    ("name", "value"),
    [("queries", 1), ("queries", [1]), ("left_out", -1), ("node", b"n1"), ("left_out", True)],
)
def test_wrong_lists_are_refused(name: str, value: object) -> None:
    wrong = msgpack.unpackb(encode_queries(QUERIES)) | {name: value}
    with pytest.raises(DecodeError):
        decode_queries(msgpack.packb(wrong))


@pytest.mark.parametrize("name", RunningQuery.__dataclass_fields__)
def test_a_query_without_a_field_is_refused(name: str) -> None:
    wrong = msgpack.unpackb(encode_queries(QUERIES))
    del wrong["queries"][0][name]
    with pytest.raises(DecodeError):
        decode_queries(msgpack.packb(wrong))


def test_an_answer_is_bounded_in_rows_and_in_sql() -> None:
    kept, left_out = bounded([QUERY] * (STATEMENTS_LISTED_MAX + 5))
    assert (len(kept), left_out) == (STATEMENTS_LISTED_MAX, 5)
    long = replace(QUERY, sql="x" * (ANSWER_SQL_BYTES_MAX // 2))
    kept, left_out = bounded([long] * 5)
    assert left_out == 0
    assert [bool(query.sql) for query in kept] == [True, True, False, False, False]
    assert [query.sql_whole for query in kept] == [True, True, False, False, False]


def test_an_empty_list() -> None:
    nothing = QueryList(node="n1", queries=(), left_out=0, reads_waiting=0, entries_waiting=0)
    assert decode_queries(encode_queries(nothing)) == nothing


def test_a_kill_names_the_query_and_who_wants_it() -> None:
    assert decode_kill(encode_kill("n2-1a2b3-17", "ada@host")) == ("n2-1a2b3-17", "ada@host")
    assert decode_kill(encode_kill("n2-1a2b3-17")) == ("n2-1a2b3-17", "")


def test_what_goes_into_a_log_line_is_one_printable_bounded_line() -> None:
    query, who = decode_kill(encode_kill("a\x1b[2J", "b\nc\r\x00d" + "e" * 1000))
    assert query == "a[2J"
    assert who == "bcd" + "e" * (WHO_LENGTH_MAX - 3)
    assert len(decode_kill(b"i" * (1 << 20))[0]) == ID_LENGTH_MAX
    assert decode_kill(b"\xff\xfe")[1] == ""


@given(st.lists(st.tuples(st.text(max_size=300), st.lists(st.integers(0, 9))), min_size=1))
def test_the_sql_of_a_payload(statements: list[tuple[str, list[int]]]) -> None:
    payload = encode_statements(statements)
    assert statement_texts(payload) == ("; ".join(sql for sql, _ in statements), True)
    if len(statements) <= 15:
        assert first_text(payload) == statements[0][0].encode()


@given(st.integers(1, 400))
def test_the_sql_of_a_payload_that_is_cut(size: int) -> None:
    payload = encode_statements([("a" * 200, [b"p" * 90]), ("b" * 100, [])])
    text, whole = statement_texts(payload, size)
    assert ("a" * 200 + "; " + "b" * 100).startswith(text.removesuffix("; "))
    assert whole == (size >= len(payload))
    assert len(text) <= size
    if size < 200:
        assert text == "a" * max(0, size - 4)


@given(st.binary(max_size=60))
def test_garbage_has_some_sql_or_none(payload: bytes) -> None:
    statement_texts(payload)
    first_text(payload)
