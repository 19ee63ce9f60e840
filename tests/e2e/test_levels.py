"""Levels and session tokens with real processes: across brokers, followers, pauses, partitions."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from raftzmq.client.connection import Connection, connect
from raftzmq.errors import DeadlineExpired, TooStale
from raftzmq.wire.client import Level
from tests.e2e.cluster import Cluster, wait_for
from tests.e2e.raw_client import (
    KEYED,
    LEADER,
    MALFORMED,
    NOT_LEADER,
    SESSION,
    STALE,
    TOO_STALE,
    Write,
    exchange,
    index_now,
    read,
)

pytestmark = pytest.mark.e2e
MakeCluster = Callable[..., Cluster]
COUNT = "SELECT n FROM counter"
ADD = "UPDATE counter SET n = n + 1"


def started(make_cluster: MakeCluster, **options: object) -> tuple[Cluster, str]:
    cluster = make_cluster(**options)
    cluster.start()
    leader = cluster.wait_for_leader()
    for sql in ("CREATE TABLE counter (n)", "INSERT INTO counter VALUES (0)"):
        code, _, body = cluster.write(sql)
        assert code == 0, body
    return cluster, leader


def raftzmq(cluster: Cluster, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "raftzmq.cli.main", *words],
        env={**os.environ, "RAFTZMQ_CONFIG": str(cluster.config)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_token_sees_its_own_writes_on_every_follower_and_never_goes_back(
    make_cluster: MakeCluster,
) -> None:
    cluster, _ = started(make_cluster, proxies=2)
    addresses = [*cluster.clients.values(), *cluster.proxies.values()]
    since = index_now(cluster.proxy)
    token = 0
    for number in range(1, 61):
        token = Write(ADD, number, since).send(cluster.proxy).at
        for place in range(len(addresses)):
            address = addresses[(place + number) % len(addresses)]
            answer = read(address, COUNT, level=SESSION, min_index=token)
            assert answer.code == 0
            assert answer.content[0][3][0][0] >= number, f"read your writes at {address}"
            assert answer.at >= token, "monotonic"
            token = answer.at


def test_a_token_goes_from_program_to_program(make_cluster: MakeCluster) -> None:
    cluster, _ = started(make_cluster, proxies=2)
    two = cluster.proxies["proxy2"]
    written = raftzmq(cluster, "write", "--token", ADD)
    assert written.returncode == 0, written.stderr
    token = written.stdout.strip()
    seen = raftzmq(
        cluster, "read", "--connect", two, "--level", "session", "--after", token, "--token", COUNT
    )
    assert (seen.returncode, seen.stdout.split()[:2]) == (0, ["n", "1"])
    token = seen.stdout.split()[2]
    with connect(two, after=int(token)) as one:
        assert one.read(COUNT, level=Level.SESSION).scalar() == 1
        one.write(ADD)
        assert one.token > int(token)
        with Connection([cluster.proxy], after=one.token) as other:
            assert other.token == one.token
            assert other.read(COUNT, level=Level.SESSION).scalar() == 2
    with (
        connect(cluster.clients["n1"], after=10**9, timeout_ms=500) as foreign,
        pytest.raises(DeadlineExpired, match="log index 1000000000"),
    ):
        foreign.read(COUNT, level=Level.SESSION)
    # A token that no index bears out proves nothing about what the ledger has forgotten.
    with connect(two, after=10**9) as foreign:
        call = foreign.session.write(b"", 0)
        foreign.status()
        foreign.session.attempt(call, 0)
        assert call.min_index < 10**9


def test_a_key_on_the_command_line(make_cluster: MakeCluster) -> None:
    cluster, leader = started(make_cluster, proxies=2)
    words = ("write", "--id", "bill-2024-05", ADD + " RETURNING n, random() r")
    first = raftzmq(cluster, *words)
    assert (first.returncode, first.stderr) == (0, "")
    cluster.kill(leader)
    again = raftzmq(cluster, *words, "--connect", cluster.proxies["proxy2"])
    assert (again.returncode, again.stdout) == (0, first.stdout)
    assert "applied before, at log index" in again.stderr
    other = raftzmq(cluster, "write", "--id", "bill-2024-05", "DELETE FROM counter")
    assert other.returncode == 4
    assert "REJECTED (NameReused)" in other.stderr
    dump = cluster.folder / "dump.sql"
    row = f"INSERT INTO l VALUES ('{'x' * 1_000}');\n"
    dump.write_text("CREATE TABLE l (x);" + row * 1_200)
    for before in ("", ", 3 of them applied before"):
        loaded = raftzmq(cluster, "write", "--id", "load", "--file", str(dump))
        assert loaded.returncode == 0, loaded.stderr
        assert f"3 transactions{before}\n" in loaded.stderr
    assert cluster.read("SELECT (SELECT n FROM counter), count(*) FROM l") == [(1, 1_200)]
    assert raftzmq(cluster, "write", "--id", "x" * 49, ADD).returncode == 4
    assert Write(ADD, 1, 0, b"", KEYED).send(cluster.proxy).code == MALFORMED


def test_a_replica_without_the_others_serves_what_is_allowed_to_be_old(
    make_cluster: MakeCluster,
) -> None:
    cluster, leader = started(make_cluster)
    lone = next(name for name in cluster.names if name != leader)
    address = cluster.clients[lone]
    fresh = read(address, COUNT, level=STALE, max_age_ms=5_000)
    assert fresh.code == 0
    assert read(address, COUNT, level=LEADER).code == NOT_LEADER
    for name in cluster.names:
        if name != lone:
            cluster.signal(name, signal.SIGSTOP)

    def refused() -> bool:
        answer = read(address, COUNT, level=STALE, max_age_ms=300, timeout_ms=3_000)
        return answer.code == TOO_STALE

    wait_for(refused, "the bound to pass")
    assert read(address, COUNT, level=STALE).content[0][3] == [[0]]
    assert read(address, COUNT, level=SESSION, min_index=fresh.at).code == 0
    assert read(address, COUNT, timeout_ms=1_000).code != 0
    stale = ("read", "--connect", address, "--level", "stale", "--timeout", "3")
    assert raftzmq(cluster, *stale, COUNT).stdout == "n\n0\n"
    late = raftzmq(cluster, *stale, "--max-age", "300ms", COUNT)
    assert late.returncode == 3
    assert "NOT_EXECUTED" in late.stderr
    with connect(address, timeout_ms=3_000) as db, pytest.raises(TooStale):
        db.read(COUNT, level=Level.STALE, max_age_ms=300)
    for name in cluster.names:
        if name != lone:
            cluster.signal(name, signal.SIGCONT)
    wait_for(lambda: not refused(), "the bound to be kept again")


def test_a_paused_replica_does_not_take_the_past_for_the_present(
    make_cluster: MakeCluster,
) -> None:
    """Old heartbeats wait in its sockets when it wakes, together with the read."""
    cluster, leader = started(make_cluster)
    paused = next(name for name in cluster.names if name != leader)
    address = cluster.clients[paused]
    for round_ in range(1, 4):
        # Fresh by all that it knows when it falls asleep.
        assert read(address, COUNT, level=STALE, max_age_ms=300).code == 0
        cluster.signal(paused, signal.SIGSTOP)
        assert cluster.write(ADD)[0] == 0
        acknowledged_s = time.monotonic()
        time.sleep(0.6)
        resume = subprocess.Popen(
            [sys.executable, "-c", RESUME, str(cluster.processes[paused].pid)]
        )
        fields = [2, b"", 1, STALE, 0, 300, 5_000, 0, READ_COUNT]
        answer = exchange(address, fields, timeout_ms=5_000)
        resume.wait()
        assert time.monotonic() - acknowledged_s > 0.3
        assert answer.code in (0, TOO_STALE)
        if answer.code == 0:
            assert answer.content[0][3] == [[round_]], "older than 300 ms"


READ_COUNT = b"\x91\x92\xb5" + COUNT.encode() + b"\x90"
RESUME = "import os, signal, sys, time; time.sleep(0.5); os.kill(int(sys.argv[1]), signal.SIGCONT)"
