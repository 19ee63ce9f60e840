"""`raftzmq bench` against real processes: every figure is there, and nothing is left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from raftzmq.bench.result import load

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[3]


def test_open_loop_over_many_connections_and_repeats(tmp_path: Path) -> None:
    data, saved, drawn = tmp_path / "data", tmp_path / "a.json", tmp_path / "a.html"
    data.mkdir()
    done = subprocess.run(
        [
            sys.executable, "-m", "raftzmq.cli.main", "bench", "mixed", "--read-share", "0.5",
            "--rate", "200", "--connections", "16", "--seconds", "0.5", "--warm-up", "0.2",
            "--repeats", "2", "--folder", str(data), "--json", "--save", str(saved),
            "--plot", str(drawn),
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found == json.loads(saved.read_text())
    assert found["setup"]["loop"] == "open"
    for repeat in found["repeats"]:
        # All that was due was answered, each once.
        assert repeat["writes"]["count"] + repeat["reads"]["count"] == 100
        assert repeat["errors"] == {}
        assert {"n1", "n2", "n3", "p1", "client"} <= repeat["costs"].keys()
        assert all(each > 0 for each in repeat["fsyncs_per_write"].values())
    metrics = load(saved).metrics
    assert len(metrics["writes p99.99 ms"].values) == 2
    assert metrics["failed requests"].most == 0
    assert drawn.read_text().count("<svg") == 3
    assert list(data.iterdir()) == []
