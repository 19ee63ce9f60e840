"""Lengths of time on the command line."""

from __future__ import annotations

import pytest
import typer

from raftzmq.cli.duration import milliseconds


@pytest.mark.parametrize(
    ("text", "expected_ms"),
    [("0", 0), ("2", 2_000), ("1.5", 1_500), ("500ms", 500), ("2 s", 2_000), ("3m", 180_000),
     ("1h", 3_600_000), ("0.2ms", 1)],
)  # fmt: skip
def test_lengths(text: str, expected_ms: int) -> None:
    assert milliseconds(text) == expected_ms


@pytest.mark.parametrize("text", ["", "ms", "-1", "1 day", "9999999h", "1e3", "1s2"])
def test_nonsense(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        milliseconds(text)
