"""raftzmq chaos: wrong usage is told apart from a verdict, and leaves nothing behind."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from raftzmq.cli import exit_codes
from raftzmq.cli.main import app


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--faults", "meteor"], "meteor"),
        (["--loopback", "--faults", "partition"], "--loopback"),
        (["--loopback", "--minutes", "0.05", "--faults", "kill"], "minutes"),
    ],
    ids=["unknown", "impossible", "too many for the time"],
)
def test_faults_that_cannot_be_are_wrong_usage(
    words: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = CliRunner().invoke(app, ["chaos", *words])
    assert found.exit_code == exit_codes.USAGE, found.output
    assert told in found.output
    assert not list(tmp_path.iterdir())
