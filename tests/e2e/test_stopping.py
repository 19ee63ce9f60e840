"""SIGTERM: whoever waits is told what is known of the request, and the process ends soon."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.cluster import Cluster, ask, statements, wait_for

pytestmark = pytest.mark.e2e
ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
SHUTTING_DOWN, UNKNOWN = 15, 50
STALE = 2


class Asking:
    """One request in a thread; ``code`` is None until it is answered."""

    def __init__(self, address: str, kind: int, sql: str, level: int = 0) -> None:
        self.code: int | None = None
        self._thread = threading.Thread(target=self._run, args=(address, kind, sql, level))
        self._thread.start()

    def answer(self) -> int | None:
        self._thread.join()
        return self.code

    def _run(self, address: str, kind: int, sql: str, level: int) -> None:
        self.code = ask(address, kind, statements(sql), level=level, timeout_ms=30_000)[0]


def started(make_cluster: Callable[..., Cluster]) -> tuple[Cluster, str, list[str]]:
    cluster = make_cluster()
    cluster.start()
    leader = cluster.wait_for_leader()
    code, _, body = cluster.write("CREATE TABLE t (v)")
    assert code == 0, body
    return cluster, leader, [name for name in cluster.names if name != leader]


@pytest.mark.parametrize("role", ["leader", "follower"])
def test_long_read_is_told_that_the_node_stops(
    make_cluster: Callable[..., Cluster], role: str
) -> None:
    cluster, leader, followers = started(make_cluster)
    name = leader if role == "leader" else followers[0]
    before = reads(cluster, name)
    asking = Asking(cluster.clients[name], 2, ENDLESS, STALE)
    wait_for(lambda: reads(cluster, name) > before, "the read to begin")
    assert cluster.terminate(name) == 0
    assert asking.answer() == SHUTTING_DOWN


def test_write_without_majority_is_unknown_when_the_leader_stops(
    make_cluster: Callable[..., Cluster],
) -> None:
    cluster, leader, followers = started(make_cluster)
    for name in followers:
        cluster.signal(name, signal.SIGSTOP)
    before = last_index(cluster, leader)
    asking = Asking(cluster.clients[leader], 1, "INSERT INTO t VALUES (1)")
    wait_for(lambda: last_index(cluster, leader) > before, "the write in the log", pause_s=0.0)
    assert cluster.terminate(leader) == 0
    assert asking.answer() == UNKNOWN


def state(cluster: Cluster, name: str) -> dict[str, Any]:
    found = cluster.status(name)
    assert found is not None
    return found


def reads(cluster: Cluster, name: str) -> int:
    return int(state(cluster, name)["reads"])


def last_index(cluster: Cluster, name: str) -> int:
    return int(state(cluster, name)["last_index"])
