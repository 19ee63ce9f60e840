"""A real data set loaded through the proxy while the leader dies in the middle."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.cluster import Cluster, wait_for

CHINOOK = Path(__file__).parents[3] / "shared" / "data" / "chinook.sql"
ROWS = 15_607
MORE = 200_000

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not CHINOOK.exists(), reason="the chinook data set is not here"),
]


def longer(path: Path) -> Path:
    """The dump, and so many more rows that a leader can die before it is over."""
    more = "".join(f"INSERT INTO more VALUES({n},'row number {n}');\n" for n in range(MORE))
    text = CHINOOK.read_text(encoding="utf-8-sig")
    path.write_text(f"{text}\nCREATE TABLE more (id INTEGER PRIMARY KEY, t TEXT);\n{more}")
    return path


def test_load_survives_the_death_of_the_leader(
    make_cluster: Callable[..., Cluster], tmp_path: Path
) -> None:
    dump = longer(tmp_path / "dump.sql")
    cluster = make_cluster()
    cluster.start()
    leader = cluster.wait_for_leader()
    before = cluster.wait_caught_up()
    load = subprocess.Popen(
        [
            *(sys.executable, "-m", "raftzmq.cli.main", "write", "--file", str(dump)),
            *("--config", str(cluster.config), "--timeout", "60"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    wait_for(
        lambda: (state := cluster.status(leader)) and state["applied_index"] > before,
        "the first transaction of the load",
        pause_s=0.0,
    )
    assert load.poll() is None, "the load was over before the kill: it tested nothing"
    cluster.kill(leader)
    output, _ = load.communicate(timeout=120)
    assert load.returncode == 0, output.decode()
    cluster.start(leader)
    cluster.wait_caught_up()
    tables = cluster.read(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT GLOB '_raftzmq*'"
    )
    for name in cluster.names:
        counts = [cluster.read(f"SELECT count(*) FROM [{t}]", at=name)[0][0] for (t,) in tables]
        assert sum(counts) == ROWS + MORE
    assert len(cluster.digests()) == 1
