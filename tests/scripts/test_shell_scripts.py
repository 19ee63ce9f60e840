"""Shell scripts: they parse, explain themselves, and touch nothing that is not on this machine."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from raftzmq.chaos.kinds import KINDS

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted((ROOT / "scripts").rglob("*.sh"))
EXPLAINED = [
    *(ROOT / "scripts" / f"{name}.sh" for name in ("test-systemd", "mutants", "fuzz")),
    *sorted((ROOT / "scripts/chaos").glob("*.sh")),
    *sorted((ROOT / "scripts/bench").glob("*.sh")),
]

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


IMPOSTOR = """
import sys; from pathlib import Path; from types import SimpleNamespace
sys.path.insert(0, {folder!r})
import leader
from raftzmq.chaos.trouble import ChaosError
from raftzmq.config import load
try:
    leader._check_holds_its_lock(load(Path({config!r})), SimpleNamespace(node="n1", pid={pid}))
except ChaosError as error:
    sys.exit(f"refused: {{error}}")
"""


@pytest.mark.parametrize("locked", [False, True])
def test_no_signal_goes_to_a_process_without_the_lock_of_its_node(
    locked: bool, tmp_path: Path
) -> None:
    """A pid from a message may be that of another machine, as behind a forwarded port."""
    config = tmp_path / "nodes.toml"
    config.write_text(
        '[cluster]\nid = "c"\n[nodes.n1]\npeer = "tcp://127.0.0.1:7101"\n'
        f'client = "tcp://127.0.0.1:7201"\ndata = "{tmp_path}/n1"\n'
    )
    (tmp_path / "n1").mkdir()
    with (tmp_path / "n1" / "lock").open("w") as lock:
        if locked:
            fcntl.flock(lock, fcntl.LOCK_EX)
            lock.write(str(os.getpid()))
            lock.flush()
        words = {"folder": str(ROOT / "scripts/chaos"), "config": str(config), "pid": os.getpid()}
        found = run(sys.executable, "-c", IMPOSTOR.format(**words))
    assert (found.returncode, "refused" in found.stderr) == ((0, False) if locked else (1, True))


@pytest.mark.parametrize("script", sorted((ROOT / "scripts/chaos").glob("*.sh")), ids=name)
def test_wrong_arguments_are_refused(script: Path) -> None:
    found = run(script, "--no-such-argument")
    assert found.returncode == 2
    assert found.stderr


FAULTS = {
    "kill-random": (), "kill-proxy": (), "kill-all": (), "pause": (), "partition": ("full",),
    "network": ("loss",), "slow-disk": (), "fill-disk": (), "fsync-error": (), "clock": ("jump",),
    "rolling-restart": (), "wipe-node": (), "all": (), "heal": (),
}  # fmt: skip


@pytest.mark.parametrize(("what", "words"), FAULTS.items())
def test_no_fault_touches_another_machine(
    what: str, words: tuple[str, ...], tmp_path: Path
) -> None:
    config = tmp_path / "nodes.toml"
    config.write_text(REMOTE)
    found = run(ROOT / f"scripts/chaos/{what}.sh", *words, "--config", config)
    assert found.returncode == 1
    assert "not on loopback" in found.stderr


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("partition", ("sideways",)),
        ("partition", ()),
        ("network", ("loss", "--percent", "0")),
        ("network", ("loss", "--one-way", "out")),
        ("pause", ("--seconds", "-1")),
        ("pause-leader", ("--seconds", "-1")),
        ("clock", ("jump", "--by", "noon")),
    ],
)
def test_arguments_that_make_no_sense_are_refused(what: str, words: tuple[str, ...]) -> None:
    assert run(ROOT / f"scripts/chaos/{what}.sh", *words).returncode == 2


def test_each_kind_of_fault_has_a_script() -> None:
    folder = ROOT / "scripts/chaos"
    for kind in KINDS:
        family, _, shape = kind.partition("-")
        alone, shared = folder / f"{kind}.sh", folder / f"{family}.sh"
        assert alone.exists() or f"{shape}" in shared.read_text().splitlines()[6], kind
