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

LOCAL = """
[cluster]
id = "c"
[nodes.n1]
peer = "tcp://127.0.0.1:7101"
client = "tcp://127.0.0.1:7201"
data = "{folder}/n1"
[proxies.p1]
address = "tcp://127.0.0.1:7100"
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
    config.write_text(LOCAL.format(folder=tmp_path))
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


def test_nothing_is_healed_where_nothing_runs(tmp_path: Path) -> None:
    config = tmp_path / "nodes.toml"
    config.write_text(LOCAL.format(folder=tmp_path))
    found = run(ROOT / "scripts/chaos/heal.sh", "--config", config)
    assert found.returncode == 1
    assert "nothing of this cluster runs here" in found.stderr


MAJORITY = """
import sys
sys.path.insert(0, {folder!r})
import leader
from raftzmq.chaos.trouble import ChaosError
try:
    leader.check_majority_without("n1", {nodes!r}, dict.fromkeys({answer!r}))
except ChaosError as error:
    sys.exit(f"refused: {{error}}")
"""


@pytest.mark.parametrize(
    ("nodes", "answer", "refused"),
    [
        ("123", "123", ""),
        ("123", "12", "n3"),
        ("12345", "1245", ""),
        ("12345", "125", "n3, n4"),
        ("1", "1", "no majority"),
        ("12", "12", "no majority"),
    ],
)
def test_a_leader_whom_nobody_could_replace_is_left_alone(
    nodes: str, answer: str, refused: str
) -> None:
    words = {
        "folder": str(ROOT / "scripts/chaos"),
        "nodes": [f"n{each}" for each in nodes],
        "answer": [f"n{each}" for each in answer],
    }
    found = run(sys.executable, "-c", MAJORITY.format(**words))
    assert (found.returncode, refused in found.stderr) == (1 if refused else 0, True)


@pytest.mark.parametrize(
    ("what", "wrong"), [("pause", "n9"), ("kill-proxy", "n1"), ("wipe-node", "leader")]
)
def test_a_name_that_is_not_in_nodes_toml_is_refused(what: str, wrong: str, tmp_path: Path) -> None:
    config = tmp_path / "nodes.toml"
    config.write_text(LOCAL.format(folder=tmp_path))
    found = run(ROOT / f"scripts/chaos/{what}.sh", "--node", wrong, "--config", config)
    assert found.returncode == 2
    assert wrong in found.stderr
    assert "none of" in found.stderr


def test_each_kind_of_fault_has_a_script() -> None:
    folder = ROOT / "scripts/chaos"
    for kind in KINDS:
        family, _, shape = kind.partition("-")
        alone, shared = folder / f"{kind}.sh", folder / f"{family}.sh"
        assert alone.exists() or f"{shape}" in shared.read_text().splitlines()[6], kind


ROLES = """
import sys; from types import SimpleNamespace
sys.path.insert(0, {folder!r})
import inject
from raftzmq.chaos.kinds import Need
inject.check_runs_here = lambda stand: None
class Found(Exception): pass
def make(stand, planned, victim):
    raise Found(victim or ("leader" if planned.lead else "any"))
inject.make = make
n2 = SimpleNamespace(node="n2")
stand = SimpleNamespace(
    nodes=("n1", "n2"), proxies=(), seats=("n1", "n2"), have=frozenset(Need),
    look=lambda: {{"n1": None}}, leader=lambda: n2, wait_until_whole=lambda seconds: n2,
    processes=SimpleNamespace(pid=lambda name: 1),
)
sys.argv = ["inject.py", *{words!r}]
arguments = inject._parser().parse_args()
try:
    inject._one(stand, inject._kind(arguments), arguments)
except Found as found:
    print(found)
"""


@pytest.mark.parametrize(
    ("words", "victim"),
    [
        ("kill-random", "any"),
        ("kill-random --node leader", "n2"),
        ("kill-random --node follower", "n1"),
        ("network loss --node leader", "n2"),
        ("clock drift", "n2"),
        ("clock drift --node follower", "n1"),
        ("pause", "leader"),
        ("pause --node follower", "any"),
        ("fill-disk --all", "any"),
        ("slow-disk --node n1", "n1"),
        ("partition bridge --node follower", "any"),
    ],
)
def test_a_role_means_the_node_that_has_it(words: str, victim: str) -> None:
    """Kinds that look at roles by themselves are told which; the others are given a name."""
    told = {"folder": str(ROOT / "scripts/chaos"), "words": words.split()}
    found = run(sys.executable, "-c", ROLES.format(**told))
    assert found.stdout.strip() == victim, found.stderr
