"""Fixtures for tests with real processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.cluster import Cluster


@pytest.fixture
def make_cluster(tmp_path: Path) -> Iterator[Callable[..., Cluster]]:
    """Makes clusters that are reaped after the test, their logs shown when it fails."""
    made: list[Cluster] = []

    def make(**options: object) -> Cluster:
        folder = tmp_path / f"cluster{len(made)}"
        folder.mkdir()
        made.append(Cluster(folder, **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for cluster in made:
        cluster.close()
        for log in sorted(cluster.folder.glob("*.log")):
            print(f"--- {log.name}\n{log.read_text()[-4000:]}")
