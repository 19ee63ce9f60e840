"""Rows as people and as programs want them."""

from __future__ import annotations

import io
import json

from rich.console import Console

from raftzmq.cli.show import Format, show_rows
from raftzmq.wire.payload import StatementResult

RESULT = StatementResult(
    0, 0, ("id", "note"), ((1, 'a "b", [c]\n'), (None, b"\x00\xff"), (2.5, ""))
)


def shown(form: Format, result: StatementResult = RESULT) -> str:
    out = io.StringIO()
    show_rows(result, form, Console(file=out, width=60))
    return out.getvalue()


def test_json_is_json_with_a_row_a_line() -> None:
    text = shown(Format.JSON)
    assert json.loads(text) == [
        {"id": 1, "note": 'a "b", [c]\n'},
        {"id": None, "note": "x'00ff'"},
        {"id": 2.5, "note": ""},
    ]
    assert text.count("\n") == 5
    assert json.loads(shown(Format.JSON, RESULT._replace(rows=()))) == []


def test_csv() -> None:
    assert shown(Format.CSV) == 'id,note\n1,"a ""b"", [c]\n"\n,x\'00ff\'\n2.5,\n'
    assert shown(Format.CSV, RESULT._replace(rows=())) == "id,note\n"


def test_line() -> None:
    assert shown(Format.LINE).splitlines()[-2:] == ["  id = 2.5", "note = "]


def test_table_shows_brackets_as_they_are() -> None:
    text = shown(Format.TABLE)
    assert "[c]" in text
    assert "NULL" in text


def test_no_rows_no_output() -> None:
    assert shown(Format.TABLE, StatementResult(1, 1, None, None)) == ""
