"""Exactly once (P4) with real processes: a write is repeated wherever it can be, applied once,
and the first result comes back byte for byte, rows of RETURNING included."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from raftzmq.client.connection import Connection
from raftzmq.client.pipeline import Pipeline
from raftzmq.client.session import Call
from raftzmq.errors import LedgerExpired
from raftzmq.wire.payload import decode_results
from tests.e2e.cluster import Cluster, statements, wait_for
from tests.e2e.raw_client import (
    APPLIED_BEFORE,
    KEYED,
    LEDGER_EXPIRED,
    NAME_REUSED,
    STATEMENT_TIMEOUT,
    TOO_LARGE,
    Answer,
    Write,
    exchange,
    index_now,
)

pytestmark = pytest.mark.e2e
MakeCluster = Callable[..., Cluster]
SMALL_LOG = "log_bytes_max = 65536\nlog_keep_bytes = 1024"
COUNTER = (
    "UPDATE counter SET n = n + 1 RETURNING n, random(), strftime('%Y-%m-%d %H:%M:%f'), "
    "randomblob(16)"
)


def started(make_cluster: MakeCluster, **options: object) -> tuple[Cluster, str]:
    cluster = make_cluster(**options)
    cluster.start()
    leader = cluster.wait_for_leader()
    for sql in ("CREATE TABLE counter (n)", "INSERT INTO counter VALUES (0)"):
        code, _, body = cluster.write(sql)
        assert code == 0, body
    return cluster, leader


def count(cluster: Cluster) -> int:
    ((number,),) = cluster.read("SELECT n FROM counter")
    assert isinstance(number, int)
    return number


def make_lead(cluster: Cluster, name: str) -> None:
    """Hand leadership to ``name``, however often that takes."""

    def leads() -> bool:
        now = cluster.leader()
        if now is not None and now != name:
            transfer = [6, b"", 1, 0, 0, 0, 3_000, 0, name.encode()]
            exchange(cluster.clients[now], transfer, timeout_ms=3_000)
        return now == name

    wait_for(leads, f"{name} to lead", pause_s=0.2)


def increment(cluster: Cluster, sequence: int = 1) -> tuple[Write, Answer]:
    """A new write and its first answer."""
    write = Write(COUNTER, sequence, index_now(cluster.proxy))
    first = write.send(cluster.proxy)
    assert first.code == 0, first.content
    return write, first


def same(repeated: Answer, first: Answer) -> bool:
    """All but the node that answers."""
    return repeated._replace(server="") == first._replace(server="")


def test_repeated_through_another_broker_and_at_the_next_leader(
    make_cluster: MakeCluster,
) -> None:
    cluster, leader = started(make_cluster, proxies=2)
    write, first = increment(cluster)
    assert same(write.send(cluster.proxies["proxy2"]), first)
    assert same(write.send(cluster.clients[leader]), first)
    others = [name for name in cluster.names if name != leader]
    cluster.kill(leader)
    successor = cluster.wait_for_leader(*others)
    assert successor != leader
    for address in (cluster.clients[successor], *cluster.proxies.values()):
        assert same(write.send(address), first)
    assert count(cluster) == 1


def test_repeated_after_a_restart_of_all_nodes(make_cluster: MakeCluster) -> None:
    cluster, _ = started(make_cluster)
    write, first = increment(cluster)
    key = Write(COUNTER, 7, index_now(cluster.proxy), b"nightly", KEYED)
    keyed = key.send(cluster.proxy)
    cluster.kill(*cluster.names, "proxy")
    cluster.start()
    cluster.wait_for_leader()
    assert same(write.send(cluster.proxy), first)
    assert same(key.send(cluster.proxy), keyed)
    stranger = Write(COUNTER, 8, index_now(cluster.proxy), b"nightly", KEYED).send(cluster.proxy)
    assert stranger.flags == APPLIED_BEFORE
    assert (stranger.body, stranger.at) == (keyed.body, keyed.at)
    other = Write("DELETE FROM counter", 9, index_now(cluster.proxy), b"nightly", KEYED)
    assert other.send(cluster.proxy).code == NAME_REUSED
    assert count(cluster) == 2


def test_repeated_at_a_leader_that_knows_it_from_a_snapshot(make_cluster: MakeCluster) -> None:
    cluster, leader = started(make_cluster, limits=SMALL_LOG)
    behind = next(name for name in cluster.names if name != leader)
    cluster.kill(behind)
    write, first = increment(cluster)
    key = Write(COUNTER, 7, index_now(cluster.proxy), b"nightly", KEYED)
    keyed = key.send(cluster.proxy)
    for _ in range(40):
        assert cluster.write("SELECT 1 /* " + "x" * 20_000 + " */")[0] == 0
    wait_for(lambda: (state := cluster.status(leader)) and state["first_index"] > keyed.at, "")
    cluster.start(behind)
    cluster.wait_caught_up()
    assert "installed" in (cluster.folder / f"{behind}.log").read_text()

    make_lead(cluster, behind)
    cluster.kill(leader)
    assert same(write.send(cluster.clients[behind]), first)
    assert same(key.send(cluster.clients[behind]), keyed)
    assert count(cluster) == 2


@pytest.mark.parametrize(
    "limits", ["ledger_bytes_max = 65536", "ledger_ms = 1000"], ids=["by bytes", "by time"]
)
def test_older_than_the_ledger_is_unknown_and_never_executed_again(
    make_cluster: MakeCluster, limits: str
) -> None:
    cluster, leader = started(make_cluster, limits=limits)
    write, first = increment(cluster)
    assert same(write.send(cluster.proxy), first)

    def forgotten() -> bool:
        filler = "SELECT hex(zeroblob(1500))"
        answer = Write(filler, 1, index_now(cluster.proxy)).send(cluster.proxy)
        assert answer.code == 0, answer.content
        return not same(write.send(cluster.proxy), first)

    wait_for(forgotten, "the ledger to forget")
    cluster.kill(leader)
    for address in (cluster.proxy, cluster.clients[cluster.wait_for_leader()]):
        assert write.send(address).code == LEDGER_EXPIRED
    assert count(cluster) == 1


def test_nodes_with_other_limits_remember_and_forget_the_same(make_cluster: MakeCluster) -> None:
    """Each leads once; every entry carries its leader's limits."""
    cluster, _ = started(
        make_cluster,
        differing={
            "n1": "ledger_bytes_max = 65536\nresult_bytes_max = 1024",
            "n2": "ledger_ms = 1000\nkey_ledger_ms = 1000\nwrite_steps_max = 20000",
        },
    )
    long_sum = (
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) "
        "UPDATE counter SET n = n + (SELECT count(*) FROM n)"
    )
    long_row = "SELECT hex(zeroblob(2000)) /* once */"
    codes: dict[str, list[int]] = {}
    for round_, leader in enumerate((*cluster.names, *cluster.names)):
        make_lead(cluster, leader)
        since = index_now(cluster.clients[leader])
        for number, sql in enumerate((COUNTER, long_sum, long_row, COUNTER)):
            name = f"{round_} {number % 3}".encode()
            write = Write(sql, number, since, name, KEYED if number % 2 else 0)
            answer = write.send(cluster.clients[leader])
            codes.setdefault(leader, []).append(answer.code)
    # Each leader's own limits were felt, and by all.
    assert codes == {
        "n1": [0, 0, TOO_LARGE, 0] * 2,
        "n2": [0, STATEMENT_TIMEOUT, 0, 0] * 2,
        "n3": [0, 0, 0, 0] * 2,
    }
    cluster.wait_caught_up()
    assert len(cluster.digests()) == 1


def test_256_in_flight_and_the_broker_killed_in_the_middle(make_cluster: MakeCluster) -> None:
    cluster, _ = started(make_cluster, proxies=2)
    assert cluster.write("CREATE TABLE t (v INTEGER)")[0] == 0
    with Connection(list(cluster.proxies.values()), timeout_ms=30_000) as connection:
        pipeline: Pipeline = connection._pipeline
        calls, submitted = 2_048, 0
        done: list[Call] = []
        while len(done) < calls:
            while submitted < calls and pipeline.unfinished < 256:
                sql = "INSERT INTO t VALUES (?) RETURNING v"
                pipeline.write([(sql, [submitted])], tag=submitted)
                submitted += 1
            if submitted > calls // 3 and "proxy" in cluster.processes:
                done += pipeline.poll(0)  # all are on their way
                assert pipeline.unfinished >= 200
                cluster.kill("proxy")
            done += pipeline.poll(100)
    assert "proxy" not in cluster.processes
    rows = cluster.read("SELECT v FROM t ORDER BY v", at=cluster.wait_for_leader())
    assert rows == [(number,) for number in range(calls)]
    for call in done:
        assert call.error is None, call.error
        assert call.reply is not None
        assert decode_results(call.reply.body)[0].rows == ((call.tag,),)
    assert max(call.attempts for call in done) > 1, "some were in flight when the broker died"


def test_the_library_says_what_the_ledger_says(make_cluster: MakeCluster) -> None:
    cluster, _ = started(make_cluster, limits="ledger_ms = 1000", proxies=2)
    with (
        Connection([cluster.proxy]) as one,
        Connection([cluster.proxies["proxy2"]]) as two,
    ):
        first = one.write(COUNTER, id="monthly")
        again = two.write(COUNTER, id="monthly")
        assert (first.applied_before, again.applied_before) == (False, True)
        assert (again.rows, again.index) == (first.rows, first.index)
        # A call whose attempt was forgotten while it was on its way must not run again.
        call = one.session.write(statements(COUNTER), 0, timeout_ms=1 << 40)
        one._run(call)
        assert call.error is None
        call.done, call.doubt = False, True

        def expired() -> bool:
            two.write("SELECT 1")
            call.done, call.error = False, None
            call.doubt = True
            try:
                one._run(call)
            except LedgerExpired:
                return True
            return False

        wait_for(expired, "the ledger to forget", pause_s=0.1)
    assert count(cluster) == 2
