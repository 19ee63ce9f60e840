"""The whole path with real processes, real sockets and real kill -9."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable

import pytest
import zmq

from tests.e2e.cluster import Cluster, ask, statements, wait_for

pytestmark = pytest.mark.e2e
MakeCluster = Callable[..., Cluster]
NOT_LEADER = 11


def started(make_cluster: MakeCluster, **options: object) -> tuple[Cluster, str]:
    cluster = make_cluster(**options)
    cluster.start()
    leader = cluster.wait_for_leader()
    code, _, body = cluster.write("CREATE TABLE t (id INTEGER PRIMARY KEY, v)")
    assert code == 0, body
    return cluster, leader


def insert(cluster: Cluster, first: int, last: int) -> None:
    for number in range(first, last + 1):
        code, _, body = cluster.write(f"INSERT INTO t (id, v) VALUES ({number}, random())")
        assert code == 0, body


def test_survives_the_death_of_its_leader_and_the_dead_node_catches_up(
    make_cluster: MakeCluster,
) -> None:
    cluster, leader = started(make_cluster)
    insert(cluster, 1, 20)
    cluster.kill(leader)
    others = [name for name in cluster.names if name != leader]
    assert cluster.wait_for_leader(*others) != leader
    insert(cluster, 21, 40)
    assert cluster.read("SELECT count(*) FROM t") == [(40,)]
    cluster.start(leader)
    cluster.wait_caught_up()
    assert len(cluster.digests()) == 1
    assert cluster.read("SELECT count(*) FROM t", at=leader) == [(40,)]


def test_paused_leader_is_replaced_and_steps_down_when_it_wakes(
    make_cluster: MakeCluster,
) -> None:
    cluster, stale = started(make_cluster)
    cluster.signal(stale, signal.SIGSTOP)
    others = [name for name in cluster.names if name != stale]
    leader = cluster.wait_for_leader(*others)
    insert(cluster, 1, 5)
    cluster.signal(stale, signal.SIGCONT)
    wait_for(
        lambda: (state := cluster.status(stale)) and state["leader"] == leader, "the step-down"
    )
    cluster.wait_caught_up()
    assert len(cluster.digests()) == 1


def test_all_killed_at_once_lose_nothing_acknowledged(make_cluster: MakeCluster) -> None:
    cluster, _ = started(make_cluster)
    insert(cluster, 1, 30)
    cluster.kill(*cluster.names, "proxy")
    cluster.start()
    cluster.wait_for_leader()
    assert cluster.read("SELECT count(*) FROM t") == [(30,)]


SMALL_LOG = "log_bytes_max = 65536\nlog_keep_bytes = 1024"


def left_behind(cluster: Cluster, leader: str, megabytes: int) -> str:
    """Kill a follower and write until the log no longer reaches back to it."""
    behind = next(name for name in cluster.names if name != leader)
    cluster.kill(behind)
    for first in range(megabytes):
        code, _, body = cluster.write(
            f"WITH RECURSIVE n(i) AS (SELECT {first * 10 + 1} UNION ALL SELECT i + 1 FROM n"
            " LIMIT 10) INSERT INTO t (id, v) SELECT i, hex(zeroblob(50000)) FROM n",
            "SELECT 1 /* " + "x" * 10_000 + " */",
        )
        assert code == 0, body
    wait_for(lambda: (state := cluster.status(leader)) and state["first_index"] > 5, "compaction")
    return behind


def test_node_beyond_compaction_is_brought_up_by_snapshot_while_writes_go_on(
    make_cluster: MakeCluster,
) -> None:
    cluster, leader = started(make_cluster, limits=SMALL_LOG)
    behind = left_behind(cluster, leader, megabytes=20)
    cluster.start(behind)
    insert(cluster, 10_001, 10_050)
    cluster.wait_caught_up()
    assert len(cluster.digests()) == 1
    assert "installed" in (cluster.folder / f"{behind}.log").read_text()


@pytest.mark.parametrize("victim", ["receiver", "sender"])
def test_snapshot_transfer_survives_kill_in_the_middle(
    make_cluster: MakeCluster, victim: str
) -> None:
    cluster, leader = started(make_cluster, limits=SMALL_LOG)
    behind = left_behind(cluster, leader, megabytes=60)
    incoming = cluster.folder / behind / "incoming"
    cluster.start(behind)

    def under_way() -> bool:
        return any(part.stat().st_size for part in incoming.glob("*.part"))

    wait_for(under_way, "the first chunks", pause_s=0.0)
    killed = behind if victim == "receiver" else leader
    cluster.kill(killed)
    log = (cluster.folder / f"{behind}.log").read_text()
    assert "installed" not in log, "the transfer was over before the kill: it tested nothing"
    cluster.start(killed)
    cluster.wait_for_leader()
    cluster.wait_caught_up()
    assert len(cluster.digests()) == 1
    assert cluster.read("SELECT count(*) FROM t", at=behind) == [(600,)]


def test_five_second_update_causes_no_election(make_cluster: MakeCluster) -> None:
    cluster, leader = started(make_cluster)
    term = cluster.status(leader)["term"]  # type: ignore[index]
    began = time.monotonic()
    code, _, body = cluster.write(
        "INSERT INTO t (v) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT "
        "20000000) SELECT count(*) FROM n",
        timeout_ms=60_000,
    )
    assert code == 0, body
    assert time.monotonic() - began > 2, "too quick to disturb anything"
    assert cluster.status(leader)["term"] == term  # type: ignore[index]
    assert cluster.leader() == leader


def test_five_second_select_disturbs_nobody(make_cluster: MakeCluster) -> None:
    cluster, leader = started(make_cluster)
    term = cluster.status(leader)["term"]  # type: ignore[index]
    slow = statements(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    )
    code, _, body = ask(cluster.clients[leader], 2, slow, timeout_ms=2000)
    assert code in (13, 38), body
    insert(cluster, 1, 5)
    assert cluster.status(leader)["term"] == term  # type: ignore[index]


def test_follower_names_the_leader_when_asked_to_write(make_cluster: MakeCluster) -> None:
    cluster, leader = started(make_cluster)
    follower = next(name for name in cluster.names if name != leader)
    code, _, body = ask(cluster.clients[follower], 1, statements("INSERT INTO t VALUES (1, 1)"))
    assert code == NOT_LEADER
    assert body[1] == cluster.clients[leader]


def test_sigterm_of_the_leader_hands_over_and_ends_well(make_cluster: MakeCluster) -> None:
    cluster, leader = started(make_cluster)
    assert cluster.terminate(leader) == 0
    insert(cluster, 1, 3)


def test_second_process_on_the_same_folder_refuses(make_cluster: MakeCluster) -> None:
    cluster, _ = started(make_cluster)
    running = cluster.processes.pop("n1")
    try:
        cluster.start("n1")
        assert cluster.processes.pop("n1").wait(timeout=20) == 73
        assert str(running.pid) in (cluster.folder / "n1.log").read_text()
    finally:
        cluster.processes["n1"] = running


def test_hostile_bytes_on_every_socket_stop_nobody(make_cluster: MakeCluster) -> None:
    cluster, leader = started(make_cluster)
    term = cluster.status(leader)["term"]  # type: ignore[index]
    rng = random.Random(7)
    starts = [b"", b"RZQ\x01", b"RZQ\x02", b"RZP\x01", b"\xff"]
    context = zmq.Context.instance()
    for address in (*cluster.clients.values(), *cluster.peers.values(), cluster.proxy):
        with context.socket(zmq.DEALER) as hostile:
            hostile.setsockopt(zmq.LINGER, 1000)
            hostile.connect(address)
            for _ in range(500):
                hostile.send_multipart(
                    [
                        rng.choice(starts) + rng.randbytes(rng.choice((0, 1, 9, 300)))
                        for _ in range(rng.randint(1, 5))
                    ]
                )
    insert(cluster, 1, 20)
    for name in cluster.names:
        state = cluster.status(name)
        assert state is not None
        assert state["pid"] == cluster.processes[name].pid
        assert state["term"] == term
    assert all(process.poll() is None for process in cluster.processes.values())
    dropped = [cluster.status(name)["dropped"] for name in cluster.names]  # type: ignore[index]
    assert all(counts.get("malformed", 0) > 0 for counts in dropped), "the fault never arrived"
