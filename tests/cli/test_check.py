"""raftzmq check: a verdict for people, a code for scripts, and no pass without a judgement."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from raftzmq.cli.main import app

GOOD = [("write", 1, None, 0, 10, True), ("read", None, 1, 20, 30, True)]
STALE = [*GOOD, ("write", 2, None, 40, 50, True), ("read", None, 1, 60, 70, True)]


def file_with(folder: Path, rows: list[tuple[str, object, object, int, int, object]]) -> Path:
    path = folder / "history.jsonl"
    names = ("op", "value", "result", "call", "return", "ok")
    lines = [
        json.dumps({"client": "c[b]1", "key": "k[/b]", **dict(zip(names, row, strict=True))})
        for row in rows
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def run(path: Path, *options: str) -> Result:
    return CliRunner().invoke(app, ["check", str(path), *options])


def test_linearizable(tmp_path: Path) -> None:
    result = run(file_with(tmp_path, GOOD))
    assert result.exit_code == 0, result.output
    assert "linearizable: 2 operations on 1 keys" in result.output


def test_a_violation_is_shown_and_drawn(tmp_path: Path) -> None:
    svg, html = tmp_path / "w.svg", tmp_path / "w.html"
    result = run(file_with(tmp_path, STALE), "--svg", str(svg), "--html", str(html))
    assert result.exit_code == 6
    assert "VIOLATED" in result.output
    assert "c[b]1" in result.output
    assert "k[/b]" in result.output
    assert svg.read_text().startswith("<svg")
    page = html.read_text()
    assert "<svg" in page
    assert "write 2" in page


def test_a_violation_is_one_also_when_it_cannot_be_drawn(tmp_path: Path) -> None:
    result = run(file_with(tmp_path, STALE), "--svg", str(tmp_path / "no" / "such" / "folder.svg"))
    assert result.exit_code == 6
    assert "not drawn" in result.output
    assert "VIOLATED: 1 of 1 keys" in result.output


@pytest.mark.parametrize("rows", [[], GOOD[:1]])
def test_nothing_to_judge_is_no_pass(
    tmp_path: Path, rows: list[tuple[str, object, object, int, int, object]]
) -> None:
    result = run(file_with(tmp_path, rows))
    assert result.exit_code == 7
    assert "nothing to judge" in result.output


def test_undecided_is_no_pass(tmp_path: Path) -> None:
    rows: list[tuple[str, object, object, int, int, object]] = [
        ("add", 3**n * sign, None, n, n + 1, None) for n in range(30) for sign in (1, -1)
    ]
    rows.append(("read", None, 3**29 // 2 + 1, 100, 110, True))
    result = run(file_with(tmp_path, rows), "--model", "counter", "--states", "500")
    assert result.exit_code == 7
    assert "undecided" in result.output


@pytest.mark.parametrize("text", ["{", '{"op": "read"}', "[]", "\xff"])
def test_an_unreadable_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "history.jsonl"
    path.write_bytes(text.encode("latin-1"))
    assert run(path).exit_code == 8
    assert run(tmp_path / "missing").exit_code == 8
