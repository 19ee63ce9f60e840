"""A disk that fails under a running node: it stops with one clear line, has promised nothing
that it could not keep, and the others go on without a client noticing."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable

import pytest

from raftzmq.chaos.shim import FaultFile, build, compiler
from raftzmq.errors import StorageFailed
from raftzmq.storage.sqlite_log import SqliteLogStore
from tests.e2e.cluster import Cluster, wait_for
from tests.e2e.load import Load

pytestmark = pytest.mark.e2e
MakeCluster = Callable[..., Cluster]
LIMITS = "log_bytes_max = 600000\nlog_keep_bytes = 100000"


class Faults:
    """Makes system calls of the nodes of a cluster fail."""

    def __init__(self, cluster: Cluster) -> None:
        library = cluster.folder / "faulty.so"
        if compiler() is None:
            pytest.skip("no C compiler for the library that makes system calls fail")
        build(library)
        self._folder = cluster.folder
        for name in cluster.names:
            cluster.environment[name] = self._file(name).environment(library)

    def _file(self, name: str) -> FaultFile:
        return FaultFile(self._folder / f"{name}.faults")

    def arm(self, name: str, call: str, end: str, times: int = 1, number: int = errno.EIO) -> None:
        self._file(name).add(call, [end], number, times)

    def disarm(self, name: str) -> None:
        self._file(name).clear()

    def fired(self, name: str) -> list[str]:
        file = self._folder / f"{name}.faults.fired"
        return file.read_text().splitlines() if file.exists() else []


def errors_in(cluster: Cluster, name: str) -> list[str]:
    lines = (cluster.folder / f"{name}.log").read_text().splitlines()
    assert not any("Traceback" in line for line in lines), lines
    return [line for line in lines if "error:" in line]


def synced_index(cluster: Cluster, name: str) -> int:
    """Last log index of a dead node without the transaction whose fsync failed."""
    folder = cluster.folder / "copy"
    shutil.copytree(cluster.folder / name, folder)
    wal = folder / "raft.db-wal"
    content = bytearray(wal.read_bytes())
    frame_bytes = 24 + 4096
    salt = content[16:24]
    ends = [0]
    for start in range(32, len(content) - frame_bytes, frame_bytes):
        if content[start + 8 : start + 16] != salt:
            break
        if content[start + 4 : start + 8] != bytes(4):
            ends.append(start + frame_bytes)
    store = SqliteLogStore(folder / "raft.db", wal_bytes=0)
    with_it = store.load()
    store.close()
    shutil.rmtree(folder)
    shutil.copytree(cluster.folder / name, folder)
    wal.write_bytes(content[: ends[-2]])
    store = SqliteLogStore(folder / "raft.db", wal_bytes=0)
    held = store.load()
    store.close()
    assert held.base.index + len(held.entries) < with_it.base.index + len(with_it.entries)
    return held.base.index + len(held.entries)


def pick(cluster: Cluster, role: str) -> str:
    leader = cluster.wait_for_leader()
    return leader if role == "leader" else next(n for n in cluster.names if n != leader)


@pytest.mark.parametrize(
    ("role", "call", "file", "says"),
    [
        ("follower", "sync", "/raft.db-wal", "save failed: fsync failed"),
        ("leader", "sync", "/raft.db-wal", "save failed: fsync failed"),
        ("follower", "sync", "/raft.db", "save failed: fsync failed"),
        ("leader", "sync", "/state.db-wal", "state.db: fsync failed"),
        ("follower", "sync", "/state.db", "state.db: fsync failed"),
        ("leader", "write", "/raft.db-wal", "save failed: a write failed"),
        ("follower", "write", "/state.db-wal", "state.db: a write failed"),
    ],
)
def test_a_node_whose_disk_fails_stops_and_nobody_notices(
    make_cluster: MakeCluster, role: str, call: str, file: str, says: str
) -> None:
    cluster = make_cluster(limits=LIMITS)
    faults = Faults(cluster)
    cluster.start()
    cluster.wait_for_leader()
    with Load(cluster, value_bytes=6000) as load:
        load.wait_for_writes(50)
        victim = pick(cluster, role)
        others = [name for name in cluster.names if name != victim]
        faults.arm(victim, call, file)
        process = cluster.processes.pop(victim)
        assert wait_for(lambda: process.poll() is not None, "the end of the node")
        load.wait_for_writes(50)
        assert process.returncode == StorageFailed.exit_code
        assert [line.split()[:2] for line in faults.fired(victim)] == [
            [call, str(cluster.folder / victim) + file]
        ], "once, and not repeated"
        (line,) = errors_in(cluster, victim)
        assert says in line
        assert f"raftzmq rebuild {victim} --config {cluster.config}" in line
        leader = cluster.wait_for_leader(*others)
        if (role, call, file) == ("follower", "sync", "/raft.db-wal"):
            status = cluster.status(leader)
            assert status is not None
            assert status["peers"][victim]["match"] <= synced_index(cluster, victim)
        faults.disarm(victim)
        cluster.start(victim)
        load.wait_for_writes(50)
    assert load.write_errors == []
    assert load.read_errors == []
    load.check()


def test_a_node_that_cannot_read_its_state_gets_another(make_cluster: MakeCluster) -> None:
    """A damaged file is what SQLite makes of EIO from a read."""
    cluster = make_cluster(limits=LIMITS)
    faults = Faults(cluster)
    cluster.start()
    victim = pick(cluster, "follower")
    log = cluster.folder / f"{victim}.log"
    with Load(cluster, value_bytes=6000) as load:
        load.wait_for_writes(50)
        faults.arm(victim, "read", "/state.db-wal")
        wait_for(lambda: "state.db: the file is damaged, or a read failed" in log.read_text(), "it")
        assert faults.fired(victim)
        wait_for(lambda: "quarantine ended" in log.read_text(), "the rebuild", 60)
        load.wait_for_writes(50)
    assert cluster.processes[victim].poll() is None
    assert load.write_errors == []
    assert load.read_errors == []
    load.check()


@pytest.mark.parametrize(
    ("role", "file", "condition"),
    [
        ("follower", "/state.db-wal", "no room to apply"),
        ("follower", "/raft.db-wal", "no room for the log"),
        ("leader", "/raft.db-wal", "no room for the log"),
    ],
)
def test_a_quota_that_is_used_up_is_waited_for(
    make_cluster: MakeCluster, role: str, file: str, condition: str
) -> None:
    cluster = make_cluster(limits=LIMITS)
    faults = Faults(cluster)
    cluster.start()
    cluster.wait_for_leader()
    with Load(cluster, value_bytes=6000) as load:
        load.wait_for_writes(50)
        victim = pick(cluster, role)
        faults.arm(victim, "write", file, times=1_000_000, number=errno.EDQUOT)
        wait_for(lambda: len(faults.fired(victim)) >= 2, "a second attempt")

        def conditions() -> dict[str, str]:
            status = cluster.status(victim)
            return status["conditions"] if status is not None else {}

        wait_for(lambda: condition in conditions(), "the condition")
        load.wait_for_writes(50)
        assert cluster.processes[victim].poll() is None
        faults.disarm(victim)
        wait_for(lambda: cluster.status(victim) and not conditions(), "the recovery")
        load.wait_for_writes(50)
        cluster.wait_follows(victim)
    assert errors_in(cluster, victim) == []
    assert load.write_errors == []
    assert load.read_errors == []
    load.check()


def test_a_log_that_cannot_be_read_at_start(make_cluster: MakeCluster) -> None:
    cluster = make_cluster()
    faults = Faults(cluster)
    cluster.start()
    cluster.wait_for_leader()
    cluster.write("CREATE TABLE t (v)")
    cluster.kill("n1")
    faults.arm("n1", "read", "/raft.db-wal", times=1)
    cluster.start("n1")
    assert cluster.processes.pop("n1").wait(timeout=30) == StorageFailed.exit_code
    assert faults.fired("n1")
    (line,) = errors_in(cluster, "n1")
    assert "raft.db: cannot be opened or read" in line
    faults.disarm("n1")
    cluster.start("n1")
    cluster.wait_caught_up()
