"""Every attack on every bound socket of real processes, while a workload runs (promise P8)."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.e2e.cluster import Cluster, ask, wait_for
from tests.e2e.conftest import make_cluster as make_cluster
from tests.hostile.siege import Siege, Workload
from tests.hostile.tap import Tap

pytestmark = pytest.mark.e2e
MakeCluster = Callable[..., Cluster]
SEED, SCALE = 20, 0.01
"""A hundredth of what scripts/chaos/hostile.sh throws: with three, a busy machine of two processors
comes near the bound of memory."""
PATIENT = "election_ticks = 100"
"""One second instead of 0.4: attackers, workload and five processes share the machine of the tests
with others, and an election because of those would say nothing."""


@contextmanager
def under_load(cluster: Cluster) -> Iterator[Workload]:
    code, _, body = cluster.write("CREATE TABLE w (id INTEGER PRIMARY KEY, v)")
    assert code == 0, body
    workload = Workload(cluster.proxy)
    workload.start()
    try:
        wait_for(lambda: len(workload.acknowledged) > 20 and workload.reads > 20, "the workload")
        yield workload
    finally:
        workload.stop()


def test_no_attack_on_any_socket_is_noticed_by_the_workload(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(limits=PATIENT)
    cluster.start()
    cluster.wait_for_leader()
    with under_load(cluster) as workload:
        siege = Siege(cluster, cluster.folder)
        before = len(workload.acknowledged)
        siege.run(SEED, SCALE)
        assert len(workload.acknowledged) > before
    assert siege.complaints(workload) == []
    assert not siege.replicas_differ()
    assert siege.missing() == []
    for name in cluster.names:
        assert siege.state(name)["boot"] == 1, "the secret part of a boot id is told to nobody"


def test_genuine_messages_that_are_replayed_change_nothing(make_cluster: MakeCluster) -> None:
    """Caught between n2 and n1; replayed in the same life of n2, and in a later one."""
    cluster = make_cluster(limits=PATIENT)
    tap = Tap(cluster.peers["n1"])
    try:
        tapped = tap.config(cluster.config)
        cluster.start("n1", "n3", "proxy")
        start_with(cluster, "n2", str(tapped))
        if cluster.wait_for_leader() == "n3":  # then n2 would have nothing to say to n1
            assert ask(cluster.clients["n3"], 6, b"n2")[0] == 0
            wait_for(lambda: cluster.leader() == "n2", "n2 leading")
        with under_load(cluster) as workload:
            siege = Siege(cluster, cluster.folder)
            wait_for(lambda: len(tap.recorded) > 100, "recorded messages")
            siege.run(SEED, SCALE, only=["replayed"], recorded=tap.recorded[-2_000:])
        assert siege.complaints(workload) == []

        recorded = tap.recorded[-2_000:]
        cluster.kill("n2")
        start_with(cluster, "n2", str(tapped))
        cluster.wait_for_leader()
        cluster.wait_caught_up()
        again = Siege(cluster, cluster.folder)

        def refused() -> bool:
            # Until n2 has introduced itself anew, its earlier life is the one n1 knows.
            again.run(SEED + 1, SCALE, only=["replayed"], recorded=recorded)
            return again.dropped()["n1"].get("another life of the sender", 0) > 100

        wait_for(refused, "the messages of the earlier life being refused")
        assert again.complaints(workload) == []
        assert cluster.write("INSERT INTO w (v) VALUES (1)")[0] == 0
    finally:
        tap.close()


def start_with(cluster: Cluster, name: str, config: str) -> None:
    """Start one node with a nodes.toml of its own."""
    with (cluster.folder / f"{name}.log").open("ab") as log:
        cluster.processes[name] = subprocess.Popen(
            [sys.executable, "-m", "raftzmq.cli.main", "start", name, "--config", config],
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
        )
