"""A replica that was changed behind its back is found, named, taken out of service and rebuilt.

With real processes. The row is changed in the file of a running node, by another SQLite.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cluster import Cluster, ask, statements, wait_for

pytestmark = pytest.mark.e2e
MakeCluster = Callable[..., Cluster]
STALE = 2
UNAVAILABLE = 14
ROWS = 30
PAGE = 4096
FILLER = b"  filler to fill"


def started(make_cluster: MakeCluster, **options: object) -> tuple[Cluster, str]:
    cluster = make_cluster(**options)
    cluster.start()
    leader = cluster.wait_for_leader()
    code, _, body = cluster.write("CREATE TABLE t (id INTEGER PRIMARY KEY, v)")
    assert code == 0, body
    rows = ", ".join(f"({number}, 'right')" for number in range(ROWS))
    code, _, body = cluster.write(f"INSERT INTO t VALUES {rows}")
    assert code == 0, body
    cluster.wait_caught_up()  # there must be a row to tamper with
    return cluster, leader


def follower(cluster: Cluster, leader: str) -> str:
    return next(name for name in cluster.names if name != leader)


def tamper(cluster: Cluster, name: str) -> None:
    database = sqlite3.connect(cluster.folder / name / "state.db", timeout=30)
    with database:
        changed = database.execute("UPDATE t SET v = 'tampered' WHERE id = 7").rowcount
    database.close()
    assert changed == 1


def run(cluster: Cluster, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "raftzmq.cli.main", *words, "--config", str(cluster.config)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def verify(cluster: Cluster, *, timeout_s: int = 40) -> tuple[int, dict[str, Any]]:
    """Exit code, and name -> finding."""
    done = run(cluster, "verify", "--json", "--timeout", str(timeout_s))
    assert done.stdout, done.stderr
    found = json.loads(done.stdout)
    return done.returncode, {name: each["finding"] for name, each in found["nodes"].items()}


def all_equal(cluster: Cluster) -> bool:
    """No node is in reduced service, and `raftzmq verify` finds them equal."""
    states = [cluster.status(name) for name in cluster.names]
    if not all(state and not state["conditions"] for state in states):
        return False
    code, findings = verify(cluster)
    return code == 0 and set(findings.values()) == {"equal"}


def marked(cluster: Cluster, name: str) -> bool:
    return (cluster.folder / name / "quarantine.json").exists()


def log_of(cluster: Cluster, name: str) -> str:
    return (cluster.folder / f"{name}.log").read_text()


def value_at(cluster: Cluster, name: str) -> tuple[int, Any]:
    """Code and value of the row that is tampered with, as this one replica has it."""
    query = statements("SELECT v FROM t WHERE id = 7")
    code, _, body = ask(cluster.clients[name], 2, query, level=STALE)
    return code, body[0][3][0][0] if code == 0 else body[0]


class Reading:
    """Reads the row at one replica again and again; a context manager."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(cluster, name))
        self.answers: list[tuple[int, Any]] = []

    def __enter__(self) -> Reading:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self, cluster: Cluster, name: str) -> None:
        while not self._stop.is_set():
            try:
                answer = value_at(cluster, name)
            except TimeoutError:
                continue
            if not self.answers or self.answers[-1] != answer:
                self.answers.append(answer)


class Writing:
    """Writes named requests through the proxy, one after the other; a context manager."""

    def __init__(self, cluster: Cluster) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(cluster,))
        self.done = 0
        self.failures: list[Any] = []

    def __enter__(self) -> Writing:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self, cluster: Cluster) -> None:
        payload = statements("INSERT INTO t (v) VALUES ('more') RETURNING v")
        while not self._stop.is_set():
            code, _, body = ask(cluster.proxy, 1, payload, client=b"w" * 16, sequence=self.done + 1)
            if code:
                self.failures.append((code, body))
            self.done += 1


@pytest.mark.parametrize("victim_role", ["follower", "leader"])
def test_a_tampered_replica_is_found_taken_out_and_rebuilt(
    make_cluster: MakeCluster, victim_role: str
) -> None:
    cluster, leader = started(make_cluster)
    assert verify(cluster) == (0, dict.fromkeys(cluster.names, "equal"))
    victim = leader if victim_role == "leader" else follower(cluster, leader)
    others = [name for name in cluster.names if name != victim]
    with Reading(cluster, victim) as reading, Writing(cluster) as writing:
        wait_for(lambda: (0, "right") in reading.answers, "a reader")
        tamper(cluster, victim)
        wait_for(lambda: (0, "tampered") in reading.answers, "a reader that sees it")
        code, findings = verify(cluster)
        assert code == 1
        assert findings == {victim: "differs", **dict.fromkeys(others, "equal")}
        wait_for(lambda: all_equal(cluster), "equal replicas")
    assert writing.failures == []
    assert cluster.read("SELECT count(*) FROM t") == [(ROWS + writing.done,)]
    # Refused with two sentences in turn: to be rebuilt, and to be compared again.
    kinds = [(code, value if code == 0 else None) for code, value in reading.answers]
    changes = [kind for place, kind in enumerate(kinds) if place == 0 or kind != kinds[place - 1]]
    assert changes == [(0, "right"), (0, "tampered"), (UNAVAILABLE, None), (0, "right")]
    if victim_role == "leader":
        assert cluster.wait_for_leader() != victim
    assert "quarantined" in log_of(cluster, victim)
    for name in others:
        assert "quarantined" not in log_of(cluster, name)
    assert cluster.write("UPDATE t SET v = 'written' WHERE id = 7")[0] == 0
    assert cluster.read("SELECT v FROM t WHERE id = 7") == [("written",)]


def test_a_quarantined_node_says_so_and_serves_nothing_before_it_is_rebuilt(
    make_cluster: MakeCluster,
) -> None:
    """Killed in quarantine and started alone, so that nobody can rebuild it yet."""
    cluster, leader = started(make_cluster)
    victim = follower(cluster, leader)
    tamper(cluster, victim)
    (other,) = {*cluster.names} - {victim, leader}
    asked = threading.Thread(target=verify, args=(cluster,))
    asked.start()
    wait_for(lambda: marked(cluster, victim), "the quarantine", pause_s=0.0005)
    cluster.kill(victim)
    assert marked(cluster, victim), "killed in the middle of it"
    asked.join()
    cluster.kill(leader, other)
    cluster.start(victim)
    state = wait_for(lambda: cluster.status(victim), "its status")
    assert "quarantined" in state["conditions"]
    assert state["serves_reads"] is False
    code, sentence = value_at(cluster, victim)
    assert code == UNAVAILABLE
    assert "majority" in sentence or "rebuilt" in sentence
    shown = run(cluster, "status")
    assert f"{victim}: quarantined:" in shown.stdout
    cluster.start(leader, other)
    wait_for(lambda: all_equal(cluster), "equal replicas")
    assert value_at(cluster, victim) == (0, "right")
    assert not marked(cluster, victim)


def test_a_node_killed_again_and_again_in_its_rebuild_is_rebuilt(
    make_cluster: MakeCluster,
) -> None:
    cluster, leader = started(make_cluster)
    for _ in range(20):  # some megabytes, so that the rebuild takes its time
        code, _, body = cluster.write(
            "INSERT INTO t (v) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n"
            " WHERE i < 1000) SELECT hex(randomblob(500)) FROM n"
        )
        assert code == 0, body
    victim = follower(cluster, leader)
    tamper(cluster, victim)
    asked = threading.Thread(target=verify, args=(cluster,))
    asked.start()
    wait_for(lambda: marked(cluster, victim), "the quarantine", pause_s=0.0005)
    killed_in_it = 0
    stages: list[Callable[[], bool]] = [
        lambda: True,
        lambda: any((cluster.folder / victim / "incoming").glob("*.part")),
        lambda: "installed" in log_of(cluster, victim),
    ]
    for stage in stages * 2:

        def reached(stage: Callable[[], bool] = stage) -> bool:
            return stage() or not marked(cluster, victim)

        wait_for(reached, "a stage of the rebuild", pause_s=0.0005)
        cluster.kill(victim)
        killed_in_it += marked(cluster, victim)
        cluster.start(victim)
        wait_for(lambda: cluster.status(victim), "its status")
    asked.join()
    assert killed_in_it >= 2
    wait_for(lambda: all_equal(cluster), "equal replicas")
    assert value_at(cluster, victim) == (0, "right")


def test_a_node_tampered_with_while_it_was_down_is_found_at_the_interval(
    make_cluster: MakeCluster,
) -> None:
    """Nobody asks, and nothing is written any more."""
    cluster, leader = started(make_cluster, limits="checksum_interval_s = 1")
    victim = follower(cluster, leader)
    cluster.kill(victim)
    tamper(cluster, victim)
    cluster.start(victim)
    wait_for(lambda: "quarantined" in log_of(cluster, victim), "the finding")
    wait_for(lambda: all_equal(cluster), "equal replicas")
    assert value_at(cluster, victim) == (0, "right")


def test_an_empty_database_is_verified_and_a_missing_node_is_named(
    make_cluster: MakeCluster,
) -> None:
    cluster = make_cluster()
    cluster.start()
    leader = cluster.wait_for_leader()
    assert verify(cluster) == (0, dict.fromkeys(cluster.names, "equal"))
    missing = follower(cluster, leader)
    cluster.kill(missing)
    code, findings = verify(cluster, timeout_s=3)
    assert code == 3
    assert findings[missing] == "waiting"
    shown = run(cluster, "verify", "--timeout", "3")
    assert missing in shown.stderr
    cluster.kill(*(name for name in cluster.names if name != missing))
    nobody = run(cluster, "verify", "--timeout", "2")
    assert nobody.returncode == 3
    assert "no node leads" in nobody.stderr


def test_writes_and_checks_do_not_disturb_each_other(make_cluster: MakeCluster) -> None:
    """Also while a node that was left behind gets a snapshot: nobody is condemned wrongly."""
    cluster, leader = started(
        make_cluster,
        limits="checksum_interval_s = 1\nlog_bytes_max = 65536\nlog_keep_bytes = 1024",
    )
    sleeper = follower(cluster, leader)
    cluster.kill(sleeper)
    stop = threading.Event()
    written: list[int] = []

    def write() -> None:
        while not stop.is_set():
            code, _, body = cluster.write(
                "INSERT INTO t (v) VALUES (hex(randomblob(5000)))", "UPDATE t SET v = v || 'x'"
                " WHERE id = (SELECT abs(random()) % 30)"
            )  # fmt: skip
            assert code == 0, body
            written.append(1)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        wait_for(
            lambda: (state := cluster.status(leader)) and state["first_index"] > 20, "compaction"
        )
        cluster.start(sleeper)
        wait_for(lambda: "installed" in log_of(cluster, sleeper), "the snapshot")
        before = len(written)
        for _ in range(3):
            code, findings = verify(cluster)
            assert (code, set(findings.values())) == (0, {"equal"})
        assert len(written) > before, "writes went on"
    finally:
        stop.set()
        writer.join()
    for name in cluster.names:
        assert "quarantined" not in log_of(cluster, name)


def test_two_wrong_replicas_that_differ_leave_the_judgement_to_people(
    make_cluster: MakeCluster,
) -> None:
    cluster, leader = started(make_cluster)
    first, second = (name for name in cluster.names if name != leader)
    tamper(cluster, first)
    database = sqlite3.connect(cluster.folder / second / "state.db", timeout=30)
    with database:
        database.execute("DELETE FROM t WHERE id = 8")
    database.close()
    code, findings = verify(cluster)
    assert code == 1
    assert set(findings.values()) == {"in doubt"}
    state = wait_for(
        lambda: (found := cluster.status(leader)) and found["conditions"] and found, "the doubt"
    )
    sentence = state["conditions"]["replicas differ"]
    assert all(name in sentence for name in cluster.names)
    assert not any(marked(cluster, name) for name in cluster.names)
    # What docs/operations.md advises to a person who found that the leader is right.
    assert cluster.terminate(first) == 0
    (cluster.folder / first / "quarantine.json").touch()
    cluster.start(first)
    wait_for(lambda: all_equal(cluster), "equal replicas")
    for name in cluster.names:
        assert value_at(cluster, name) == (0, "right")


def test_a_tampered_file_of_raftzmqs_own_tables_is_found_too(make_cluster: MakeCluster) -> None:
    cluster, leader = started(make_cluster)
    victim = follower(cluster, leader)
    blob = statements("INSERT INTO t (v) VALUES ('named')")
    assert ask(cluster.proxy, 1, blob, client=b"c" * 16, sequence=1)[0] == 0
    cluster.wait_caught_up()
    path: Path = cluster.folder / victim / "state.db"
    database = sqlite3.connect(path, timeout=30)
    with database:
        assert database.execute("DELETE FROM _raftzmq_ledger").rowcount
    database.close()
    code, findings = verify(cluster)
    assert (code, findings[victim]) == (1, "differs")
    wait_for(lambda: all_equal(cluster), "equal replicas")


def garble(cluster: Cluster, name: str) -> None:
    """Overwrite each page with filler, where it stands now: in the database or its log."""
    garbled = 0
    for file, header, frame in (("state.db", 0, 0), ("state.db-wal", 32, 24)):
        with (cluster.folder / name / file).open("r+b") as pages:
            content = pages.read()
            for at in range(header, len(content), frame + PAGE):
                if FILLER in content[at + frame : at + frame + PAGE]:
                    pages.seek(at + frame)
                    pages.write(os.urandom(PAGE))
                    garbled += 1
    assert garbled


@pytest.mark.parametrize(
    ("victim_role", "found_by"), [("follower", "write"), ("leader", "write"), ("follower", "read")]
)
def test_a_database_damaged_under_a_running_node_is_rebuilt_while_the_others_serve(
    make_cluster: MakeCluster, victim_role: str, found_by: str
) -> None:
    cluster, _ = started(make_cluster)
    fill = (
        "WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 400)"
        f" INSERT INTO t (v) SELECT '{FILLER.decode() * 90}' FROM n"
    )
    code, _, body = cluster.write(fill)
    assert code == 0, body
    cluster.wait_caught_up()
    # What SQLite has in memory it does not look up in the file.
    cluster.kill(*cluster.names)
    cluster.start(*cluster.names)
    leader = cluster.wait_for_leader()
    cluster.wait_caught_up()
    victim = leader if victim_role == "leader" else follower(cluster, leader)
    with Writing(cluster) as writing:
        garble(cluster, victim)
        if found_by == "write":
            # Named, so that the proxy may ask the next leader for its result.
            update = statements("UPDATE t SET v = v || '!' WHERE v LIKE '%fill%'")
            code, _, body = ask(cluster.proxy, 1, update, client=b"u" * 16, sequence=1)
            assert code == 0, body
        else:
            query = statements("SELECT count(*) FROM t WHERE v LIKE '%fill%'")
            code, _, body = ask(cluster.clients[victim], 2, query, level=STALE)
            assert code == UNAVAILABLE, body
        wait_for(lambda: "quarantined: state.db" in log_of(cluster, victim), "the finding")
        wait_for(lambda: all_equal(cluster), "equal replicas")
    assert writing.failures == []
    assert writing.done > 10
    assert cluster.processes[victim].poll() is None
    assert "quarantine ended" in log_of(cluster, victim)
    changed = 400 if found_by == "write" else 0
    assert cluster.read("SELECT count(*) FROM t WHERE v LIKE '%fill!'") == [(changed,)]
