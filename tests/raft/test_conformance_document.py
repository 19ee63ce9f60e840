"""docs/CONFORMANCE.md names what exists, answers every question, and no scenario is forgotten."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
PAGE = ROOT / "docs" / "CONFORMANCE.md"
RULES = ROOT / "docs" / "RULES.md"
TESTS = "\n".join(path.read_text() for path in sorted((ROOT / "tests").rglob("*.py")))
DEFINED = frozenset(re.findall(r"^ *(?:def |class )?((?:test_|Test)\w+)(?=[ (:])", TESTS, re.M))


def rows(text: str) -> list[list[str]]:
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("|") and not line.startswith(("|---", "| file", "| rule"))
    ]


ROWS = rows(PAGE.read_text())
THEIRS = {"etcd-io/raft": 299, "tikv/raft-rs": 280, "canonical/raft": 517}
"""How many tests each had when the page was written."""


@pytest.mark.parametrize("project", THEIRS)
def test_every_test_of_the_project_is_named_once(project: str) -> None:
    _, after = PAGE.read_text().split(f"\n## {project}", 1)
    part = after.split("\n## ", 1)[0]
    theirs = [
        (where, name) for where, names, _ in rows(part) for name in re.findall(r"`([^`]+)`", names)
    ]
    assert len(theirs) == len(set(theirs)) == THEIRS[project]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0]} {row[1][:60]}")
def test_row(row: list[str]) -> None:
    where, theirs, ours = row
    assert where
    assert theirs
    cited = re.findall(r"`((?:test_|Test|scenarios/|tests/)[\w/.]+)`", ours)
    assert cited or re.match(r"–: \w+", ours) or "files of `testdata/`" in ours, "an answer"
    for name in cited:
        if name.startswith("scenarios/"):
            assert (HERE / f"{name}.txt").exists(), name
        elif name.startswith("tests/"):
            assert (ROOT / name).exists(), name
        else:
            assert name in DEFINED, name


@pytest.mark.parametrize("path", sorted((HERE / "scenarios").glob("*.txt")), ids=lambda p: p.stem)
def test_no_scenario_is_forgotten(path: Path) -> None:
    named = f"`scenarios/{path.stem}`"
    assert named in RULES.read_text() or named in PAGE.read_text()
