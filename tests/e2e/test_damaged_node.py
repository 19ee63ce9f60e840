"""What was damaged at rest is repaired where that is safe, or named with the one command that
rebuilds the node; and the command does."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from raftzmq.statemachine.machine import Machine
from raftzmq.storage.mark import SequenceMark
from raftzmq.storage.sqlite_log import SqliteLogStore
from tests.e2e.cluster import Cluster
from tests.e2e.test_cluster import insert, started

pytestmark = pytest.mark.e2e
MakeCluster = Callable[..., Cluster]
Damage = Callable[[Path], None]
DAMAGED = 81
COMMAND = (sys.executable, "-m", "raftzmq.cli.main", "rebuild", "n2")


def flip(name: str, part: float) -> Damage:
    """One bit, at that part of what the file holds."""

    def harm(folder: Path) -> None:
        file = folder / name
        content = bytearray(file.read_bytes())
        used = len(content.rstrip(b"\0"))
        content[int((used - 1) * part)] ^= 0x10
        file.write_bytes(content)

    return harm


def flip_pages(name: str) -> Damage:
    """One bit in each page but the first: a single one may lie where nothing is stored."""

    def harm(folder: Path) -> None:
        file = folder / name
        content = bytearray(file.read_bytes())
        for at in range(4096 + 3000, len(content), 4096):
            content[at] ^= 0x10
        file.write_bytes(content)

    return harm


def cut(name: str, part: float) -> Damage:
    """The file ends early."""

    def harm(folder: Path) -> None:
        file = folder / name
        content = file.read_bytes()
        file.write_bytes(content[: int(len(content.rstrip(b"\0")) * part)])

    return harm


def remove(*names: str) -> Damage:
    """The files are gone."""

    def harm(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return harm


def write(name: str, content: bytes) -> Damage:
    """The file holds something else."""

    def harm(folder: Path) -> None:
        (folder / name).write_bytes(content)

    return harm


NAMED: dict[str, tuple[Damage, str]] = {
    "raft.db flipped": (flip_pages("raft.db"), "raft.db is damaged"),
    "raft.db cut": (cut("raft.db", 0.5), "raft.db is damaged"),
    "raft.db removed": (remove("raft.db"), "raft.db is missing while"),
    "raft.db not a database": (write("raft.db", b"x" * 9000), "raft.db is damaged"),
    "raft.db-wal flipped early": (flip("raft.db-wal", 0.1), "transactions are missing"),
    "raft.db-wal flipped late": (flip("raft.db-wal", 0.97), "transactions are missing"),
    "raft.db-wal cut": (cut("raft.db-wal", 0.5), "transactions are missing"),
    "raft.db-wal removed": (remove("raft.db-wal"), "transactions are missing"),
    "raft.db and state.db removed": (remove("raft.db", "state.db"), "raft.mark says that commit"),
    "state.db not a database": (write("state.db", b"x" * 9000), "state.db is damaged"),
    "state.db emptied": (write("state.db", b""), "state.db holds entries up to 0, but held"),
    "state.db-wal flipped": (flip("state.db-wal", 0.5), "state.db holds entries up to"),
    "state.db-wal cut": (cut("state.db-wal", 0.5), "state.db holds entries up to"),
    "identity.json flipped": (flip("identity.json", 0.0), "identity.json is damaged"),
    "identity.json cut": (cut("identity.json", 0.5), "identity.json is damaged"),
    "identity.json removed": (remove("identity.json"), "identity.json is missing while"),
    "install.plan is garbage": (write("install.plan", b"{"), "install.plan is damaged"),
}
"""Name -> (what is done, what the node says); each ends with 81."""

REPAIRED: dict[str, Damage] = {
    # Only finds out whether state.db went back; the next checkpoint writes it anew.
    "state.mark flipped": flip("state.mark", 0.5),
    "state.mark removed": remove("state.mark"),
    # Only finds out what else was lost; the next commits write it anew.
    "raft.mark flipped": flip("raft.mark", 0.5),
    "raft.mark removed": remove("raft.mark"),
    # Only has to grow; goes on from the time of day.
    "boots removed": remove("boots"),
    "boots flipped": write("boots", b"?"),
}
"""Name -> what is done; the node starts and catches up."""


def write_rows(cluster: Cluster, first: int) -> None:
    values = ", ".join(f"({first + n}, '{'v' * 1000}')" for n in range(20))
    assert cluster.write(f"INSERT INTO t VALUES {values}")[0] == 0


def ends_with_a_checkpoint(cluster: Cluster) -> bool:
    """Whether the write-ahead log of n2's state.db holds what was copied last, and nothing after.

    The next write begins it anew. Damage to it then loses what the Raft log still has, and
    harms nothing.
    """
    for _ in range(20):
        status = cluster.status("n2")
        assert status is not None
        copy = shutil.copy(cluster.folder / "n2" / "state.mark", cluster.folder / "mark")
        mark = SequenceMark(Path(copy))
        marked = mark.read().sequence
        mark.close()
        if marked == status["applied_index"]:
            return True
        time.sleep(0.02)
    return False


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cluster's folder with data on all nodes, compacted once, all killed."""
    folder = tmp_path_factory.mktemp("damage")
    cluster = Cluster(folder, limits="log_bytes_max = 200000\nlog_keep_bytes = 40000")
    try:
        cluster.start()
        cluster.wait_for_leader()
        assert cluster.write("CREATE TABLE t (id INTEGER PRIMARY KEY, v)")[0] == 0
        for first in range(0, 400, 20):
            write_rows(cluster, first)
        cluster.wait_caught_up()
        first = 400
        while not ends_with_a_checkpoint(cluster):
            assert first < 1000, "one write in four or so is followed by a checkpoint"
            write_rows(cluster, first)
            cluster.wait_caught_up()
            first += 20
        status = cluster.status("n2")
        assert status is not None
        assert status["first_index"] > 2, "compacted: state.db cannot be had from the log"
        cluster.kill(*cluster.names)
    finally:
        cluster.close()
    return folder


@pytest.fixture
def restored(killed: Path, tmp_path: Path) -> Cluster:
    """A copy of it under new addresses; nothing runs."""
    cluster = Cluster(tmp_path, limits="log_bytes_max = 200000\nlog_keep_bytes = 40000")
    for name in cluster.names:
        shutil.copytree(killed / name, tmp_path / name)
    return cluster


def fold_logs(folder: Path) -> None:
    """What an orderly stop does: the write-ahead logs go into the databases."""
    store = SqliteLogStore(folder / "raft.db")
    store.load()
    store.close()
    Machine(folder / "state.db").close()


@pytest.mark.parametrize("name", NAMED)
def test_damage_is_named_with_the_command_that_helps(restored: Cluster, name: str) -> None:
    harm, says = NAMED[name]
    if "-wal" not in name:
        # Else the log still holds every page, and damage to the database does not matter.
        fold_logs(restored.folder / "n2")
    harm(restored.folder / "n2")
    before = contents(restored.folder / "n2")
    restored.start("n2")
    try:
        assert restored.processes["n2"].wait(timeout=30) == DAMAGED
    finally:
        restored.close()
    (line,) = (restored.folder / "n2.log").read_text().splitlines()
    assert says in line
    assert f"raftzmq rebuild n2 --config {restored.config}" in line
    after = contents(restored.folder / "n2")
    kept = ["state.db", "identity.json"]
    if not name.startswith("state.db-wal"):
        kept.append("raft.db")  # it is in order there, and opened first
    for file in kept:
        if before.get(file):
            assert after.get(file) == before[file], "the evidence stays as it is"


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}


@pytest.mark.parametrize("name", REPAIRED)
def test_damage_that_is_repaired_at_start(restored: Cluster, name: str) -> None:
    REPAIRED[name](restored.folder / "n2")
    try:
        restored.start("n2", "n1", "n3")
        restored.wait_for_leader()
        # Who could not tell whether it was set back recovers first, with an entry of its own.
        restored.wait_for_member("n2")
        restored.wait_caught_up()
        assert len(restored.digests()) == 1
    finally:
        restored.close()


def test_a_damaged_node_is_rebuilt_by_one_command(make_cluster: MakeCluster) -> None:
    cluster, _ = started(make_cluster)
    insert(cluster, 1, 20)

    def rebuild(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, "--config", cluster.config, *words],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    refused = rebuild("--yes")
    assert refused.returncode == 73
    assert f"n2 runs as process {cluster.processes['n2'].pid}" in refused.stderr
    cluster.kill("n2")
    flip("raft.db-wal", 0.5)(cluster.folder / "n2")
    cluster.start("n2")
    assert cluster.processes.pop("n2").wait(timeout=30) == DAMAGED
    done = rebuild("--yes")
    assert done.returncode == 0, done.stderr
    moved = cluster.folder / "n2.damaged-1"
    assert str(moved) in done.stdout
    assert (moved / "raft.db").exists()
    insert(cluster, 21, 30)
    cluster.start("n2")
    cluster.wait_for_member("n2")
    cluster.wait_caught_up()
    assert len(cluster.digests()) == 1
    assert cluster.read("SELECT count(*) FROM t", at="n2") == [(30,)]


def test_it_is_refused_while_the_others_are_down(make_cluster: MakeCluster) -> None:
    cluster, _ = started(make_cluster)
    cluster.kill("n2", "n3")
    done = subprocess.run(
        [sys.executable, "-m", "raftzmq.cli.main", "rebuild", "n2", "--yes"],
        env={"RAFTZMQ_CONFIG": str(cluster.config), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "is not rebuilt" in done.stderr
    assert (cluster.folder / "n2" / "raft.db").exists()
