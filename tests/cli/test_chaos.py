"""raftzmq chaos: wrong usage and a run without a verdict are told apart from a violation."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from raftzmq.chaos.trouble import ChaosError
from raftzmq.cli import exit_codes
from raftzmq.cli.main import app, main
from raftzmq.errors import ConfigError, Overloaded


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


@pytest.mark.parametrize(
    "error",
    [ChaosError("no tun"), Overloaded("no leader"), OSError(28, "full"), ConfigError("odd")],
    ids=["cannot begin", "no schema", "no room", "no nodes.toml"],
)
@pytest.mark.parametrize("words", [["--faults", "kill"], ["--hold"]], ids=["run", "hold"])
def test_a_run_without_a_verdict_is_not_a_violation(
    error: Exception,
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr("raftzmq.chaos.cluster.ChaosCluster.__enter__", fails)
    monkeypatch.setattr(
        sys, "argv", ["raftzmq", "chaos", "--loopback", "--out", str(tmp_path / "out"), *words]
    )
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == ChaosError.exit_code
    assert ended.value.code not in (exit_codes.FAILED, exit_codes.USAGE)
    assert str(error) in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_folder_with_something_in_it_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "something").touch()
    monkeypatch.setattr(
        sys, "argv", ["raftzmq", "chaos", "--loopback", "--out", str(tmp_path), "--faults", "kill"]
    )
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == ChaosError.exit_code
    assert "is not empty" in capsys.readouterr().err
    assert [each.name for each in tmp_path.iterdir()] == ["something"]


def test_who_interrupts_is_told_that_there_is_no_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("raftzmq.chaos.cluster.ChaosCluster.__enter__", interrupted)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setattr(
        sys, "argv", ["raftzmq", "chaos", "--loopback", "--out", str(tmp_path / "out")]
    )
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 130
    assert "no verdict" in capsys.readouterr().err
