"""A process counts as running exactly as long as it holds its lock."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from raftzmq.cli.running import lock_file, pid_of, proxy_lock
from raftzmq.config import ClusterConfig, default_config
from raftzmq.errors import DataFolderLocked
from raftzmq.storage.folder import DataFolder


@pytest.fixture
def config(tmp_path: Path) -> ClusterConfig:
    config = default_config()
    nodes = {name: replace(node, data=tmp_path / name) for name, node in config.nodes.items()}
    return replace(config, nodes=nodes)


def test_a_node_is_found_by_the_lock_of_its_folder(config: ClusterConfig) -> None:
    assert pid_of(config, "n1") is None
    folder = DataFolder.open(config.nodes["n1"].data, cluster="raftzmq", node="n1")
    try:
        assert pid_of(config, "n1") == os.getpid()
    finally:
        folder.close()
    assert pid_of(config, "n1") is None


def test_a_proxy_runs_once(config: ClusterConfig) -> None:
    assert pid_of(config, "proxy") is None
    with proxy_lock(config, "proxy"):
        assert pid_of(config, "proxy") == os.getpid()
        with pytest.raises(DataFolderLocked, match=str(os.getpid())), proxy_lock(config, "proxy"):
            pass
    assert pid_of(config, "proxy") is None
    assert lock_file(config, "proxy").exists()
