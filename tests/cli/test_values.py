"""What is typed on a command line means the same as in SQL."""

from __future__ import annotations

import pytest

from raftzmq.cli.values import ParameterError, from_json, from_word


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("12", 12),
        ("-3", -3),
        ("0", 0),
        ("007", "007"),
        ("1.5", 1.5),
        ("-2e3", -2000.0),
        ("1.", "1."),
        ("null", None),
        ("NULL", None),
        ("'NULL'", "NULL"),
        ("'12'", "12"),
        ("'it''s'", "it's"),
        ("'", "'"),
        ("x'00ff'", b"\x00\xff"),
        ("X''", b""),
        ("x'0'", "x'0'"),
        ("hello", "hello"),
        ("", ""),
    ],
)
def test_words(word: str, value: object) -> None:
    found = from_word(word)
    assert found == value
    assert type(found) is type(value)


def test_json() -> None:
    assert from_json('[1, "1", null, true, 2.5]') == [1, "1", None, 1, 2.5]
    for wrong in ("", "{}", "[[1]]", '[{"a": 1}]', "3"):
        with pytest.raises(ParameterError):
            from_json(wrong)
