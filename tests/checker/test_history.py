"""A history survives the way to a file and back, and a bad line is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from raftzmq.checker.history import HistoryUnreadable, Operation, read_history, write_history

OPERATIONS = [
    Operation("c1", "cas", "k", 2, 1, True, 10, 20, True, "n1 term 2"),
    Operation("c2", "append", "k", "é", None, None, 11, None, None),
    Operation("c3", "read", "k", None, None, [1, 2], 12, 15, False),
]


def test_there_and_back(tmp_path: Path) -> None:
    path = tmp_path / "h.jsonl"
    assert write_history(path, OPERATIONS) == 3
    assert list(read_history(path)) == OPERATIONS
    first = json.loads(path.read_text().splitlines()[0])
    assert {"client", "op", "key", "value", "expected", "result", "call", "return", "ok"} <= set(
        first
    )


def test_node_and_values_may_be_absent(tmp_path: Path) -> None:
    path = tmp_path / "h.jsonl"
    path.write_text('\n{"client":"c","op":"read","key":"k","call":1,"return":2,"ok":true}\n')
    assert list(read_history(path)) == [Operation("c", "read", "k", None, None, None, 1, 2, True)]


@pytest.mark.parametrize("line", ["{", "[]", "3", '{"client":"c"}'])
def test_a_bad_line_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "h.jsonl"
    path.write_text("\n" + line + "\n")
    with pytest.raises(HistoryUnreadable, match=r"h\.jsonl, line 2"):
        list(read_history(path))
