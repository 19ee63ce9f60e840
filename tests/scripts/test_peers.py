"""scripts/bench/peers.sh: the table says what was measured, and nothing is left behind."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

BENCH = Path(__file__).resolve().parents[2] / "scripts/bench"


@pytest.fixture
def peers(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(BENCH))
    import peers

    yield peers
    for name in ("peers", "peer_systems", "peer_processes"):
        sys.modules.pop(name, None)


def test_ratios_are_to_the_best_of_ours_under_the_same_load(peers: ModuleType) -> None:
    figures = [
        peers.Figure(system, "writes", in_flight, per_s, 1.0, 2.0)
        for in_flight, factor in ((1, 1), (64, 10))
        for system, per_s in (
            ("raftzmq, one connection", 400 * factor),
            ("raftzmq, a connection per request", 300 * factor),
            ("etcd", 200 * factor * factor),
        )
    ]
    rows = peers.table(figures, {"pysyncobj": "no module\nmore"}).splitlines()
    assert [row.split("|")[-2].strip() for row in rows if "etcd" in row] == [
        "2.00 times that",
        "0.20 times that",
    ]
    # The fastest comes first.
    assert rows[2].split("|")[3].strip() == "raftzmq, one connection"
    assert "etcd" in rows[5]
    assert rows[-1] == "Not measured: pysyncobj (no module)"


def test_several_rounds_are_told_by_median_and_range(peers: ModuleType) -> None:
    figures = [peers.Figure("etcd", "reads", 1, each, each, None, 1) for each in (1.0, 9.0, 2.0)]
    text = peers.table(figures, {})
    assert "| 2 (1..9) | 2.00 |  |" in text
    assert "3 requests failed" in text


def test_pgbench_s_log_counts_only_the_last_seconds(peers: ModuleType, tmp_path: Path) -> None:
    lines = [f"0 {n} {n * 1000} 0 {100 + n} 0" for n in range(10)]
    (tmp_path / "log.1").write_text("\n".join(lines))
    plan = peers.Plan((1,), ("writes",), seconds=4.0, warm_up_s=1.0, value_size=1)
    found = peers.systems._pgbench_log(tmp_path, plan)
    assert found == {"count": 4, "seconds": 4.0, "p50_ms": 8.0, "p99_ms": 9.0}
    with pytest.raises(peers.PeerFailed, match="no transaction"):
        peers.systems._pgbench_log(tmp_path, plan)


def test_processes_end_and_the_folder_goes_also_after_ctrl_c(
    peers: ModuleType, tmp_path: Path
) -> None:
    stand_class = sys.modules["peer_processes"].Stand
    processes = []

    def interrupted() -> None:
        with stand_class(tmp_path) as stand:
            processes.append(stand.start("one", ["sleep", "600"], stop_with=signal.SIGINT))
            processes.append(stand.start("two", ["sleep", "600"]))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    process, stubborn = processes
    assert process.returncode == -signal.SIGINT
    assert stubborn.returncode == -signal.SIGTERM
    assert list(tmp_path.iterdir()) == []


def test_what_ends_with_an_error_says_so(peers: ModuleType, tmp_path: Path) -> None:
    with sys.modules["peer_processes"].Stand(tmp_path) as stand:
        with pytest.raises(peers.PeerFailed, match="oh dear"):
            stand.run(["sh", "-c", "echo oh dear >&2; exit 3"])
        stand.start("dead", ["sh", "-c", "echo gone"]).wait()
        with pytest.raises(peers.PeerFailed, match="gone"):
            stand.wait("what never comes", lambda: False)
