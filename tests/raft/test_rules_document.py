"""docs/RULES.md names what exists, and leaves no cell empty."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PAGE = HERE.parent.parent / "docs" / "RULES.md"
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.read_text().splitlines()
    if line.startswith("|") and not line.startswith(("|---", "| section"))
]
TESTS = "\n".join(path.read_text() for path in sorted(HERE.parent.rglob("*.py")))
DEFINED = frozenset(re.findall(r"^ *(?:def |class )?((?:test_|Test)\w+)(?=[ (:])", TESTS, re.M))


def test_the_page_has_its_rows() -> None:
    assert len(ROWS) >= 50


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[1])
def test_row(row: list[str]) -> None:
    section, rule, functions, tests = row
    assert section
    assert rule
    names = re.findall(r"`([\w./]+)`", functions)
    assert names, "a rule is enforced somewhere"
    for name in names:
        module, attribute = name.split(".")
        package = "raftzmq" if "/" in module or module == "config" else "raftzmq.raft"
        found = importlib.import_module(f"{package}.{module.replace('/', '.')}")
        assert hasattr(found, attribute), name
    cited = re.findall(r"`([\w/]+)`", tests)
    assert cited, "a rule has a test"
    for name in cited:
        if name.startswith("scenarios/"):
            assert (HERE / f"{name}.txt").exists(), name
        else:
            assert name in DEFINED, name
