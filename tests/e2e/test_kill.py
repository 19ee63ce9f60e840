"""`raftzmq queries` and `raftzmq kill` against real processes."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from raftzmq.errors import Killed
from tests.e2e.cluster import Cluster, ask, statements, wait_for

pytestmark = pytest.mark.e2e

LONG = (
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count}) "
    "SELECT max(i) FROM n"
)
HALF_A_MINUTE = LONG.format(count=1_000_000_000)
STALE, READ, WRITE = 2, 2, 1


def raftzmq(cluster: Cluster, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "raftzmq.cli.main", *arguments, "--config", str(cluster.config)],
        capture_output=True,
        text=True,
        timeout=60,
    )


def listed(cluster: Cluster) -> list[dict[str, Any]]:
    shown = raftzmq(cluster, "queries", "--json")
    assert shown.returncode == 0, shown.stderr
    nodes = json.loads(shown.stdout)["nodes"]
    found = [query | {"node": node} for node in nodes for query in nodes[node].get("queries", [])]
    # Where every read begins, and what takes long is for milliseconds only.
    return [query for query in found if query["kind"] != "fast reads"]


class Asking(threading.Thread):
    """One request in the background, and how long its answer took."""

    def __init__(self, address: str, kind: int, sql: str, client: bytes = b"") -> None:
        super().__init__(daemon=True)
        self._asks = (address, kind, statements(sql), client)
        self.answer: tuple[int, int, Any] | None = None
        self.at_s = 0.0
        self.start()

    def run(self) -> None:
        address, kind, payload, client = self._asks
        self.answer = ask(
            address, kind, payload, level=STALE, timeout_ms=60_000, client=client, sequence=7
        )
        self.at_s = time.monotonic()


@pytest.fixture
def cluster(make_cluster: Callable[..., Cluster]) -> Cluster:
    made = make_cluster()
    made.start()
    made.wait_for_leader()
    made.wait_caught_up()
    return made


def test_a_read_is_killed_and_its_neighbours_are_not(cluster: Cluster) -> None:
    leader = cluster.leader()
    assert leader
    term = (cluster.status(leader) or {})["term"]
    at = cluster.clients["n2"]
    victim = Asking(at, READ, HALF_A_MINUTE, b"\xab\xcd")
    # The neighbour must end by itself, a little after the victim was killed.
    neighbour = Asking(at, READ, LONG.format(count=20_000_000))

    def both() -> dict[str, Any] | None:
        found = {query["sql"]: query for query in listed(cluster)}
        return found.get(HALF_A_MINUTE)

    query = wait_for(both, "the read in the list")
    assert query["node"] == "n2"
    assert query["id"].startswith("n2-")
    assert (query["kind"], query["state"], query["client"]) == ("read", "running", "abcd")
    assert query["sql_whole"] is True

    shown = raftzmq(cluster, "queries", "n2")
    assert query["id"] in shown.stdout

    killed_s = time.monotonic()
    done = raftzmq(cluster, "kill", query["id"])
    assert (done.returncode, done.stdout) == (0, f"{query['id']} stopped\n"), done.stderr
    victim.join(60)
    assert victim.answer is not None
    code, _, (message, detail) = victim.answer
    assert code == Killed.code
    assert "@" in message
    assert "stopped by" in message
    assert detail == query["id"]
    assert victim.at_s - killed_s < 10, "the read went on for its half minute"
    assert message in (cluster.folder / "n2.log").read_text()

    neighbour.join(60)
    assert neighbour.answer is not None
    assert neighbour.answer[0] == 0, neighbour.answer
    assert neighbour.answer[2][0][3] == [[20_000_000]]

    def gone() -> bool:
        return all(each["id"] != query["id"] for each in listed(cluster))

    wait_for(gone, "the worker to come back")
    again = raftzmq(cluster, "kill", query["id"])
    assert again.returncode == 4
    assert "has ended" in again.stderr
    assert raftzmq(cluster, "kill", "n2-00000-1").returncode == 4
    assert raftzmq(cluster, "kill", "n9-00000-1").returncode == 4
    assert "no id of" in raftzmq(cluster, "kill", "nonsense").stderr
    assert (cluster.status(leader) or {})["term"] == term, "an election happened"


def test_a_killed_read_is_not_sent_again_by_the_proxy(cluster: Cluster) -> None:
    asking = Asking(cluster.proxy, READ, HALF_A_MINUTE)

    def found() -> str | None:
        slow = [each for each in listed(cluster) if each["kind"] == "read"]
        return slow[0]["id"] if slow else None

    assert raftzmq(cluster, "kill", wait_for(found, "the read")).returncode == 0
    asking.join(60)
    assert asking.answer is not None
    assert asking.answer[0] == Killed.code
    wait_for(lambda: listed(cluster) == [], "nothing to run")


def test_more_slow_reads_than_workers_wait_and_are_killed_in_the_queue(
    make_cluster: Callable[..., Cluster],
) -> None:
    cluster = make_cluster(size=1, limits="read_workers_slow = 1")
    cluster.start("n1")
    cluster.wait_for_leader()
    at = cluster.clients["n1"]
    first = Asking(at, READ, HALF_A_MINUTE)
    wait_for(lambda: len(listed(cluster)) == 1, "the first")
    second = Asking(at, READ, f"{HALF_A_MINUTE} LIMIT 2")
    queries = wait_for(lambda: (found := listed(cluster)) and len(found) == 2 and found, "both")
    assert [each["state"] for each in queries] == ["running", "waiting"]
    assert queries[1]["sql"] == f"{HALF_A_MINUTE} LIMIT 2"
    assert ask(at, READ, statements("SELECT 3"), level=STALE)[2][0][3] == [[3]], "short ones go on"
    third = statements(f"{HALF_A_MINUTE} LIMIT 3")
    code, _, _ = ask(at, READ, third, level=STALE, timeout_ms=300)
    assert code == 13, "its deadline is honoured in the queue"
    assert raftzmq(cluster, "kill", queries[1]["id"]).returncode == 0
    second.join(60)
    assert second.answer is not None
    assert second.answer[0] == Killed.code
    assert "waiting" in second.answer[2][0]
    both = raftzmq(cluster, "kill", queries[0]["id"], queries[1]["id"])
    assert both.returncode == 4
    assert "stopped" in both.stdout
    first.join(60)
    assert first.answer is not None
    assert first.answer[0] == Killed.code
    assert wait_for(lambda: cluster.read("SELECT 4", at="n1"), "the worker") == [(4,)]


def test_a_write_being_applied_is_listed_and_not_killed(cluster: Cluster) -> None:
    leader = cluster.leader()
    assert leader
    term = (cluster.status(leader) or {})["term"]
    assert cluster.write("CREATE TABLE t(a)", "INSERT INTO t VALUES (0)")[0] == 0
    update = f"UPDATE t SET a = ({LONG.format(count=60_000_000)})"
    writer = Asking(cluster.proxy, WRITE, update)

    def applied_where() -> list[dict[str, Any]] | None:
        found = [each for each in listed(cluster) if each["kind"] == "write"]
        on_leader = [each for each in found if each["node"] == leader]
        return found if on_leader and on_leader[0]["steps"] > 0 else None

    (write, *_) = [each for each in wait_for(applied_where, "the write") if each["node"] == leader]
    assert write["sql"] == update
    assert write["index"] > 0
    refused = raftzmq(cluster, "kill", write["id"])
    assert refused.returncode == 4
    assert "write_steps_max" in refused.stderr
    writer.join(60)
    assert writer.answer is not None
    assert writer.answer[0] == 0, writer.answer
    assert cluster.read("SELECT a FROM t") == [(60_000_000,)]
    cluster.wait_caught_up()
    assert len(cluster.digests()) == 1
    assert (cluster.status(leader) or {})["term"] == term, "an election happened"


def test_a_proxy_sends_people_to_the_nodes(cluster: Cluster) -> None:
    for kind in (12, 13):
        code, _, (message, _) = ask(cluster.proxy, kind)
        assert code == 30
        assert "ask a node directly" in message


def test_queries_says_who_does_not_answer(cluster: Cluster) -> None:
    cluster.kill("n3")
    shown = raftzmq(cluster, "queries", "--timeout", "0.5")
    assert shown.returncode == 0
    assert "n3: no answer" in shown.stdout
    cluster.kill("n1", "n2")
    assert raftzmq(cluster, "queries", "--timeout", "0.2").returncode == 1
    assert raftzmq(cluster, "kill", "n1-00000-1", "--timeout", "0.2").returncode == 5
