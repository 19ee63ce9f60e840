"""The systemd units agree with the program: commands, exit codes, notification."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from raftzmq.errors import (
    AddressInUse,
    ConfigError,
    DataFolderLocked,
    DataFolderMismatch,
    StartError,
    StorageDamaged,
    StorageFailed,
)

ROOT = Path(__file__).resolve().parents[2]
NODE = ROOT / "config/systemd/raftzmq@.service"
PROXY = ROOT / "config/systemd/raftzmq-proxy.service"
USAGE = 2


def settings(unit: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in unit.read_text().splitlines():
        match = re.fullmatch(r"(\w+)=(.*)", line)
        if match:
            found.setdefault(match[1], []).append(match[2])
    return found


def codes(unit: Path) -> set[int]:
    return {int(code) for code in settings(unit)["RestartPreventExitStatus"][0].split()}


def test_node_is_not_restarted_when_only_a_person_can_help() -> None:
    people = {ConfigError, DataFolderMismatch, StorageDamaged}
    assert codes(NODE) == {USAGE} | {error.exit_code for error in people}


def errors_of_a_service() -> set[type[StartError]]:
    """Without those that only the command line raises, however the tests were imported."""
    return {e for e in StartError.__subclasses__() if e.__module__ == "raftzmq.errors"}


def test_every_error_at_start_was_thought_of() -> None:
    again = {AddressInUse, DataFolderLocked, StorageFailed}
    people = {ConfigError, DataFolderMismatch, StorageDamaged}
    assert errors_of_a_service() == again | people


@pytest.mark.parametrize("unit", [NODE, PROXY], ids=lambda unit: unit.name)
def test_unit_restarts_for_ever_and_runs_unprivileged(unit: Path) -> None:
    found = settings(unit)
    assert found["Type"] == ["notify"]
    assert found["Restart"] == ["always"]
    assert found["StartLimitIntervalSec"] == ["0"]
    assert found["User"] == ["raftzmq"]
    assert found["KillSignal"] == ["SIGTERM"]
    assert "AF_NETLINK" in found["RestrictAddressFamilies"][0]


def test_node_may_take_as_long_as_it_needs_to_catch_up() -> None:
    assert settings(NODE)["TimeoutStartSec"] == ["infinity"]


def test_units_start_what_the_command_line_knows() -> None:
    start = "/opt/raftzmq/bin/raftzmq start {} --config /etc/raftzmq/nodes.toml"
    assert settings(NODE)["ExecStart"] == [start.format("%i")]
    assert settings(PROXY)["ExecStart"] == [start.format("proxy")]


@pytest.mark.parametrize(
    "error",
    sorted(errors_of_a_service(), key=lambda error: error.exit_code),
    ids=lambda error: error.__name__,
)
def test_operators_can_look_up_every_exit_code(error: type[StartError]) -> None:
    lines = (ROOT / "docs/operations.md").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith(f"| {error.exit_code} |")]
    assert ("stays down" in line) == (error.exit_code in codes(NODE))
