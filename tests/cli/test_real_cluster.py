"""The commands as a person types them, against real processes on loopback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from raftzmq.cli.local_cluster import on_free_ports
from raftzmq.cli.running import pid_of
from raftzmq.config import ClusterConfig, to_toml

pytestmark = pytest.mark.e2e

WAIT_S = 40.0
ROOT = Path(__file__).parents[2]


class Shell:
    """A folder with a nodes.toml, and `raftzmq` to type in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config: ClusterConfig = on_free_ports(folder / "data", nodes=3, proxies=1)
        self.file = folder / "nodes.toml"
        self.file.write_text(to_toml(self.config))
        self.out = folder / "start.out"
        self.supervisor: subprocess.Popen[bytes] | None = None
        self._environment = {
            **os.environ, "RAFTZMQ_CONFIG": str(self.file), "PYTHONPATH": str(ROOT)
        }  # fmt: skip

    def run(self, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "raftzmq.cli.main", *words],
            env=self._environment,
            cwd=self.folder,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def ok(self, *words: str, stdin: str = "") -> str:
        done = self.run(*words, stdin=stdin)
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout

    def start(self) -> subprocess.Popen[bytes]:
        with self.out.open("wb") as out:
            self.supervisor = subprocess.Popen(
                [sys.executable, "-m", "raftzmq.cli.main", "start"],
                env=self._environment,
                cwd=self.folder,
                stdout=out,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
            )
        until(lambda: "requests go to" in self.out.read_text(), self.out.read_text)
        return self.supervisor

    def running(self) -> dict[str, int]:
        names = (*self.config.nodes, *self.config.proxies)
        return {name: pid for name in names if (pid := pid_of(self.config, name)) is not None}


def until(reached: Callable[[], bool], why: Callable[[], object] = lambda: "") -> None:
    deadline = time.monotonic() + WAIT_S
    while not reached():
        assert time.monotonic() < deadline, why()
        time.sleep(0.05)


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    shell = Shell(tmp_path)
    try:
        yield shell
    finally:
        if shell.supervisor is not None and shell.supervisor.poll() is None:
            shell.supervisor.kill()  # its children go with it
            shell.supervisor.wait(WAIT_S)


def test_a_day_with_the_command_line(shell: Shell) -> None:
    supervisor = shell.start()

    shell.ok("write", "CREATE TABLE t (id INTEGER PRIMARY KEY, a, b); CREATE TABLE u (x)")
    assert shell.ok("write", "INSERT INTO t (a, b) VALUES (?, ?) RETURNING id", "7", "x'00ff'") == (
        "id\n1\n"
    )
    shell.ok("write", "INSERT INTO t (a, b) VALUES (?, ?)", "--params", '["7", null]')
    shell.ok("write", "-", stdin="INSERT INTO u VALUES (1);\n-- x;\nINSERT INTO u VALUES (2)")
    rows = json.loads(shell.ok("read", "SELECT a, typeof(a) k, b FROM t", "--format", "json"))
    assert rows == [
        {"a": 7, "k": "integer", "b": "x'00ff'"},
        {"a": "7", "k": "text", "b": None},
    ]
    for level in ("linearizable", "session", "stale", "leader"):
        shell.ok("read", "SELECT count(*) FROM u", "--level", level)
    assert shell.ok("read", stdin="SELECT count(*) n FROM u") == "n\n2\n"

    wrong = shell.run("write", "INSERT INTO u VALUES (3); INSERT INTO nowhere VALUES (1)")
    assert wrong.returncode == 4
    assert "REJECTED (SqlError)" in wrong.stderr
    assert shell.ok("read", "SELECT count(*) FROM u").endswith("\n2\n")  # all or nothing
    each = shell.run("write", "--each", "INSERT INTO u VALUES (3); INSERT INTO nowhere VALUES (1)")
    assert each.returncode == 4
    assert "statements 1 to 1 are applied" in each.stderr
    assert shell.ok("read", "SELECT count(*) FROM u").endswith("\n3\n")
    assert shell.run("read", "DELETE FROM u").returncode == 4

    status = json.loads(shell.ok("status", "--json"))
    assert status["nodes"].keys() == shell.config.nodes.keys()
    assert status["proxies"]["p1"]["leader"] == status["leader"]
    assert shell.running().keys() == {"n1", "n2", "n3", "p1"}

    os.kill(status["nodes"][status["leader"]]["pid"], signal.SIGKILL)
    shell.ok("write", "INSERT INTO u VALUES (4)")  # waits for the new leader, without an error
    until(lambda: "ended by SIGKILL" in shell.out.read_text(), shell.out.read_text)
    assert status["leader"] not in shell.running()
    assert "no answer" in shell.ok("status")

    shell.ok("stop")
    assert supervisor.wait(WAIT_S) == 0
    assert shell.running() == {}
    assert "nothing of this cluster runs" in shell.ok("stop")


def test_a_dump_is_loaded(shell: Shell) -> None:
    shell.start()
    dump = [
        "PRAGMA foreign_keys=OFF;",
        "BEGIN TRANSACTION;",
        "CREATE TABLE child (id INTEGER PRIMARY KEY, parent REFERENCES parent);",
        *(f"INSERT INTO child VALUES ({number}, {number});" for number in range(1, 1501)),
        "CREATE TABLE parent (id INTEGER PRIMARY KEY);",
        *(f"INSERT INTO parent VALUES ({number});" for number in range(1, 1501)),
        "COMMIT;",
    ]
    file = shell.folder / "dump.sql"
    file.write_text("\n".join(dump))
    shell.ok("write", "--file", str(file))
    assert shell.ok("read", "SELECT count(*) FROM child JOIN parent ON parent = parent.id") == (
        "count(*)\n1500\n"
    )
    file.write_text("CREATE TABLE v (x UNIQUE);" + "INSERT INTO v VALUES (1);\n" * 2)
    stopped = shell.run("write", "--file", str(file))
    assert stopped.returncode == 4
    assert "stopped after: 0 rows, 0 statements" in stopped.stderr
    assert shell.run("read", "SELECT * FROM v").returncode == 4  # nothing of the transaction


def test_ctrl_c_stops_all(shell: Shell) -> None:
    supervisor = shell.start()
    assert len(shell.running()) == 4
    supervisor.send_signal(signal.SIGINT)
    assert supervisor.wait(WAIT_S) == 0
    assert shell.running() == {}


def test_no_orphans_when_the_supervisor_is_killed(shell: Shell) -> None:
    supervisor = shell.start()
    supervisor.kill()
    supervisor.wait(WAIT_S)
    until(lambda: shell.running() == {})


def test_a_second_start_says_who_holds_the_folder(shell: Shell) -> None:
    shell.start()
    second = shell.run("start", "n1")
    assert second.returncode == 73
    assert f"process {shell.running()['n1']}" in second.stderr
    assert shell.run("start", "p1").returncode == 73
