"""The disks of nodes are in memory: large enough for a run, and never larger than there is."""

from __future__ import annotations

from pathlib import Path

import pytest

from raftzmq.chaos import disks, network
from raftzmq.chaos.cluster import DISK_MB, ChaosCluster, Wish, disk_mb
from raftzmq.chaos.trouble import ChaosError


def test_a_longer_or_busier_run_has_larger_disks() -> None:
    half_an_hour = disk_mb(30, 4, 25)
    assert DISK_MB < disk_mb(1, 4, 25) < half_an_hour < disk_mb(60, 4, 25)
    assert half_an_hour < disk_mb(30, 8, 25) < disk_mb(30, 8, 5)
    assert half_an_hour < disk_mb(30, 4, 0)
    assert disk_mb(30, 1, 500) == half_an_hour, "room for snapshots is needed all the same"
    assert half_an_hour * 3 < 1_500, "three nodes of half an hour fit into a small machine"


def test_disks_that_do_not_fit_into_memory_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = tmp_path / "meminfo"
    facts.write_text("MemTotal: 4096000 kB\nMemAvailable: 2048000 kB\n")
    monkeypatch.setattr(disks, "_MEMORY", facts)
    disks.check_memory(1_000)
    with pytest.raises(ChaosError, match="1900 MB of memory, and 2000 MB are available"):
        disks.check_memory(1_900)


def test_what_cannot_begin_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "out"
    monkeypatch.setattr(network, "obstacles", lambda: ["the program ip is missing"])
    with pytest.raises(ChaosError, match="ip is missing"), ChaosCluster(folder, Wish()):
        pass
    with pytest.raises(ChaosError, match="MB of memory"), ChaosCluster(folder, Wish(disk_mb=10**9)):
        pass
    assert not folder.exists()
