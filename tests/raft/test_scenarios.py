"""Protocol behaviour as conversations, see scenarios/README.md."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.raft.script import Script

FOLDER = Path(__file__).parent / "scenarios"
SCENARIOS = sorted(FOLDER.glob("*.txt"))


def test_there_are_scenarios() -> None:
    assert len(SCENARIOS) >= 30


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_scenario(path: Path) -> None:
    expected = path.read_text()
    happened = Script().play(expected)
    if os.environ.get("RAFTZMQ_RECORD") == "1":
        path.write_text(happened)
    else:
        assert happened == expected
