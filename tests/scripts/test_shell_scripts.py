"""Shell scripts: they parse, explain themselves, and touch nothing that is not on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted((ROOT / "scripts").rglob("*.sh"))
EXPLAINED = [ROOT / "scripts" / "test-systemd.sh", *sorted((ROOT / "scripts/chaos").glob("*.sh"))]

REMOTE = """
[cluster]
id = "elsewhere"
[nodes.n1]
peer = "tcp://192.0.2.1:7101"
client = "tcp://192.0.2.1:7201"
data = "/var/lib/raftzmq/n1"
"""


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, env=environment
    )


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("script", SCRIPTS, ids=name)
def test_parses(script: Path) -> None:
    assert run("bash", "-n", script).stderr == ""


@pytest.mark.parametrize("script", EXPLAINED, ids=name)
def test_help_says_how_to_use_it_and_what_the_exit_code_means(script: Path) -> None:
    assert os.access(script, os.X_OK)
    found = run(script, "--help")
    assert found.returncode == 0
    assert found.stdout.startswith(f"Usage: {name(script)}")
    assert "Exit code: 0" in found.stdout
    assert max(map(len, found.stdout.splitlines())) <= 100


@pytest.mark.parametrize("script", EXPLAINED, ids=name)
def test_stops_at_the_first_failure(script: Path) -> None:
    assert "\nset -euo pipefail\n" in script.read_text()


def test_unknown_argument_of_the_systemd_test_is_refused() -> None:
    assert run(ROOT / "scripts/test-systemd.sh", "--kepe").returncode == 2


@pytest.mark.parametrize("what", ["kill", "pause"])
def test_leader_on_another_machine_is_left_alone(what: str, tmp_path: Path) -> None:
    config = tmp_path / "nodes.toml"
    config.write_text(REMOTE)
    found = run(sys.executable, ROOT / "scripts/chaos/leader.py", what, "--config", config)
    assert found.returncode == 1
    assert "not on loopback" in found.stderr
