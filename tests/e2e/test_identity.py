"""A node whose disk was wiped or set back never speaks for its former self (real processes)."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable

import pytest

from tests.e2e.cluster import Cluster, wait_for

pytestmark = pytest.mark.e2e
MakeCluster = Callable[..., Cluster]


def started(make_cluster: MakeCluster) -> tuple[Cluster, str]:
    cluster = make_cluster()
    cluster.start()
    leader = cluster.wait_for_leader()
    assert cluster.write("CREATE TABLE t (id INTEGER PRIMARY KEY)")[0] == 0
    return cluster, leader


def insert(cluster: Cluster, *numbers: int) -> None:
    for number in numbers:
        assert cluster.write(f"INSERT INTO t VALUES ({number})")[0] == 0


def rows(cluster: Cluster, at: str | None = None) -> list[int]:
    return [row[0] for row in cluster.read("SELECT id FROM t ORDER BY id", at=at)]


def wipe(cluster: Cluster, name: str) -> None:
    shutil.rmtree(cluster.folder / name)


def is_recovering(cluster: Cluster, name: str) -> bool:
    status = cluster.status(name)
    return status is not None and status["conditions"].get("standing", "").startswith("its data")


def log_of(cluster: Cluster, name: str) -> str:
    return (cluster.folder / f"{name}.log").read_text()


@pytest.mark.parametrize("who", ["follower", "leader"])
def test_a_wiped_node_earns_its_place_again(make_cluster: MakeCluster, who: str) -> None:
    cluster, leader = started(make_cluster)
    insert(cluster, 1, 2, 3)
    wiped = leader if who == "leader" else next(n for n in cluster.names if n != leader)
    cluster.kill(wiped)
    wipe(cluster, wiped)
    cluster.start(wiped)
    insert(cluster, 4, 5)
    cluster.wait_for_member(wiped)
    assert "standing recovering: " in log_of(cluster, wiped)
    cluster.wait_caught_up()
    assert len(cluster.digests()) == 1
    assert rows(cluster, at=wiped) == [1, 2, 3, 4, 5]
    # It counts again: with the third node down, it is half of the majority.
    third = next(n for n in cluster.names if n not in (wiped, cluster.wait_for_leader()))
    cluster.kill(third)
    insert(cluster, 6)
    assert rows(cluster) == [1, 2, 3, 4, 5, 6]


def test_a_wiped_node_elects_nobody_who_lacks_what_it_acknowledged(
    make_cluster: MakeCluster,
) -> None:
    """The row is on the leader and on one follower; that follower is wiped, the leader down."""
    cluster, leader = started(make_cluster)
    insert(cluster, 1)
    witness, absent = (n for n in cluster.names if n != leader)
    cluster.wait_caught_up()
    cluster.kill(absent)
    insert(cluster, 2, 3)
    cluster.kill(leader, witness)
    wipe(cluster, witness)
    cluster.start(witness, absent)
    wait_for(lambda: is_recovering(cluster, witness), "the wiped node to know that it is one")
    deadline = time.monotonic() + 3  # several election timeouts
    while time.monotonic() < deadline:
        assert cluster.leader() is None, "a leader without rows 2 and 3"
        time.sleep(0.05)
    cluster.start(leader)
    cluster.wait_for_leader()
    cluster.wait_for_member(witness)
    assert rows(cluster) == [1, 2, 3]
    cluster.wait_caught_up()
    assert len(cluster.digests()) == 1


def test_a_node_that_was_set_back_earns_its_place_again(make_cluster: MakeCluster) -> None:
    cluster, leader = started(make_cluster)
    insert(cluster, 1)
    set_back = next(n for n in cluster.names if n != leader)
    cluster.wait_caught_up()
    assert cluster.terminate(set_back) == 0
    shutil.copytree(cluster.folder / set_back, cluster.folder / "copy")
    cluster.start(set_back)
    cluster.wait_for_member(set_back)
    insert(cluster, 2, 3)
    cluster.kill(set_back)
    wipe(cluster, set_back)
    (cluster.folder / "copy").rename(cluster.folder / set_back)
    cluster.start(set_back)
    wait_for(lambda: "knows a later life" in log_of(cluster, set_back), "the older copy found")
    cluster.wait_for_member(set_back)
    cluster.wait_caught_up()
    assert rows(cluster, at=set_back) == [1, 2, 3]
    assert len(cluster.digests()) == 1


def test_peers_remember_over_a_restart_of_their_own(make_cluster: MakeCluster) -> None:
    cluster, leader = started(make_cluster)
    insert(cluster, 1, 2)
    wiped = next(n for n in cluster.names if n != leader)
    cluster.kill(*cluster.names)
    wipe(cluster, wiped)
    cluster.start(*cluster.names)
    cluster.wait_for_leader()
    cluster.wait_for_member(wiped)
    assert "standing recovering: " in log_of(cluster, wiped)
    assert rows(cluster) == [1, 2]
    cluster.wait_caught_up()
    assert len(cluster.digests()) == 1


def test_a_crash_while_recovering_does_not_end_it(make_cluster: MakeCluster) -> None:
    cluster, leader = started(make_cluster)
    insert(cluster, 1)
    wiped, third = (n for n in cluster.names if n != leader)
    cluster.kill(wiped, third)
    wipe(cluster, wiped)
    cluster.start(wiped)
    wait_for(lambda: is_recovering(cluster, wiped), "the wiped node to know that it is one")
    cluster.kill(wiped)
    cluster.start(wiped)
    wait_for(lambda: is_recovering(cluster, wiped), "it to know that still")
    cluster.start(third)
    cluster.wait_for_member(wiped)
    assert rows(cluster) == [1]


def test_a_first_start_with_one_node_missing(make_cluster: MakeCluster) -> None:
    """Two of three begin without the third; it joins later, as one that may have forgotten."""
    cluster = make_cluster()
    cluster.start("n1", "n2", "proxy")
    cluster.wait_for_leader()
    assert cluster.write("CREATE TABLE t (id INTEGER PRIMARY KEY)")[0] == 0
    insert(cluster, 1)
    cluster.start("n3")
    cluster.wait_for_member("n3")
    assert "the cluster exists and this data folder is empty" in log_of(cluster, "n3")
    cluster.wait_caught_up()
    assert rows(cluster, at="n3") == [1]
