"""What VERIFY carries is decoded strictly."""

from __future__ import annotations

import msgpack
import pytest

from raftzmq.wire.codec import DecodeError
from raftzmq.wire.verify import (
    Comparison,
    NodeFinding,
    decode_comparison,
    decode_verify,
    encode_comparison,
    encode_verify,
)

FINDING = NodeFinding("n1", "equal", "0a")


def test_a_question_comes_back_equal() -> None:
    assert decode_verify(b"") is None
    assert decode_verify(encode_verify(7, 2)) == (7, 2)


def test_an_answer_comes_back_equal() -> None:
    assert decode_comparison(encode_comparison(7, 2, True, [FINDING])) == Comparison(
        7, 2, True, (FINDING,)
    )


@pytest.mark.parametrize("value", [7, None, [7], [7, 2, 1], [7, "2"], [-7, 2], [1 << 63, 2], {}])
def test_no_other_question_is_understood(value: object) -> None:
    with pytest.raises(DecodeError):
        decode_verify(msgpack.packb(value))


@pytest.mark.parametrize(
    "value",
    [
        [],
        {},
        [7, 2, True],
        [7, 2, 1, []],
        ["7", 2, True, []],
        [7, 2, True, {}],
        [7, 2, True, ["n1"]],
        [7, 2, True, [["n1", "equal"]]],
        [7, 2, True, [["n1", "equal", b"0a"]]],
        [7, 2, True, [["n1", "equal", "0a", ""]]],
    ],
)
def test_no_other_answer_is_understood(value: object) -> None:
    with pytest.raises(DecodeError):
        decode_comparison(msgpack.packb(value))
