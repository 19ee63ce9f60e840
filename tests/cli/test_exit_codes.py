"""Each kind of failure ends the command with its own documented code, without a traceback."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from raftzmq.chaos.trouble import ChaosError
from raftzmq.cli import exit_codes
from raftzmq.cli.main import main
from raftzmq.errors import ConfigError, OutcomeUnknown, Overloaded, SqlError, StartError


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["raftzmq", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code if isinstance(ended.value.code, int) else 0


def test_outcomes_have_codes() -> None:
    assert exit_codes.of_request(Overloaded("x")) == 3
    assert exit_codes.of_request(SqlError("x")) == 4
    assert exit_codes.of_request(OutcomeUnknown("x")) == 5


def test_every_code_of_the_process_is_documented() -> None:
    documented = {
        int(line.split()[0])
        for line in (exit_codes.__doc__ or "").splitlines()
        if line[:1].isdigit()
    }
    assert ChaosError in StartError.__subclasses__()
    for error in StartError.__subclasses__():
        if error.__module__.startswith("raftzmq."):
            assert error.exit_code in documented, error


def test_wrong_usage(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "read", "--nonsense") == 2
    assert run(monkeypatch, "nonsense") == 2
    assert run(monkeypatch, "write", "SELECT 'a") == 2
    assert run(monkeypatch, "write", "SELECT ?; SELECT ?", "1") == 2
    assert run(monkeypatch, "write", "SELECT ?", "1", "--params", "[1]") == 2
    assert run(monkeypatch, "write", "SELECT ?", "--params", "{}") == 2
    assert run(monkeypatch, "write", "--file", "/nonexistent/dump.sql") == 2
    assert "Traceback" not in capsys.readouterr().err


def test_wrong_configuration(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "nodes.toml"
    file.write_text("[cluster]\nid='c'\ntypo=1\n")
    assert run(monkeypatch, "status", "--config", str(file)) == ConfigError.exit_code
    shown = capsys.readouterr().err
    assert str(file) in shown
    assert "typo" in shown
    monkeypatch.setenv("RAFTZMQ_CONFIG", str(file))
    assert run(monkeypatch, "start", "n1") == ConfigError.exit_code


def test_an_unknown_name_is_told_the_known_ones(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, "start", "n9") == ConfigError.exit_code
    assert "n1, n2, n3, proxy" in capsys.readouterr().err
    assert run(monkeypatch, "stop", "n9") == ConfigError.exit_code


def test_nobody_there_is_not_executed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    nobody = ("--connect", "ipc:///nonexistent/raftzmq", "--timeout", "0.2")
    assert run(monkeypatch, "read", "SELECT 1", *nobody) == 3
    assert run(monkeypatch, "write", "SELECT 1", *nobody) == 3
    assert "NOT_EXECUTED" in capsys.readouterr().err


def test_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "--version") == 0
    assert capsys.readouterr().out.startswith("raftzmq ")
