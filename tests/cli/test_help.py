"""A command that nobody can find out about does not exist."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer

from raftzmq.cli.main import app

README = Path(__file__).parents[2] / "README.md"
COMMANDS = getattr(typer.main.get_command(app), "commands")  # noqa: B009 - typed as a command


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_help_with_an_example(name: str) -> None:
    command = COMMANDS[name]
    assert f"Example: raftzmq {name}" in (command.help or "")
    for parameter in command.params:
        assert getattr(parameter, "help", None), f"{name}: {parameter.name} has no help"


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_is_in_the_readme(name: str) -> None:
    if not README.exists():
        pytest.skip("no README")
    assert f"raftzmq {name}" in README.read_text(encoding="utf-8")
