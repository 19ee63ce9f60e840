"""What a data folder must hold before a node may vote or serve."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from raftzmq.config import ClusterConfig, default_config
from raftzmq.errors import DataFolderLocked, StorageDamaged
from raftzmq.node.startup import Opened, open_folder
from raftzmq.raft.types import Entry, EntryKind, HardState, LogPosition
from raftzmq.statemachine.machine import LogEntry


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ClusterConfig:
    monkeypatch.chdir(tmp_path)
    return default_config()


def opened(config: ClusterConfig) -> Opened:
    return open_folder(config, config.nodes["n1"])


def closed(parts: Opened) -> None:
    parts.machine.close()
    parts.store.close()
    parts.folder.close()


def no_op(index: int, term: int) -> Entry:
    return Entry(index, term, EntryKind.NOOP, b"")


def fill(config: ClusterConfig, *, logged: int, applied: int, applied_term: int = 1) -> Path:
    parts = opened(config)
    parts.store.save(HardState(1, None), [no_op(index, 1) for index in range(1, logged + 1)])
    parts.machine.apply(
        [LogEntry(i, applied_term if i == applied else 1, b"") for i in range(1, applied + 1)]
    )
    closed(parts)
    return parts.state_path


def test_log_beyond_the_state_is_kept(config: ClusterConfig) -> None:
    fill(config, logged=5, applied=3)
    parts = opened(config)
    assert len(parts.log.entries) == 5
    closed(parts)


def test_interrupted_install_restarts_the_log_at_the_state(config: ClusterConfig) -> None:
    fill(config, logged=5, applied=9)
    parts = opened(config)
    assert parts.log.base == LogPosition(9, 1)
    assert parts.log.entries == []
    assert parts.log.hard_state == HardState(1, None)
    closed(parts)
    parts = opened(config)
    assert parts.log.base == LogPosition(9, 1)
    closed(parts)


def test_log_that_differs_at_the_applied_index_is_dropped(config: ClusterConfig) -> None:
    fill(config, logged=5, applied=4, applied_term=2)
    parts = opened(config)
    assert parts.log.base == LogPosition(4, 2)
    closed(parts)


def test_state_older_than_the_log_is_named(config: ClusterConfig) -> None:
    state = fill(config, logged=5, applied=5)
    parts = opened(config)
    parts.store.compact(LogPosition(4, 1))
    closed(parts)
    for name in os.listdir(state.parent):
        if name.startswith("state.db"):
            (state.parent / name).unlink()
    with pytest.raises(StorageDamaged, match=r"state\.db"):
        opened(config)


def test_missing_log_beside_a_state_is_named(config: ClusterConfig) -> None:
    state = fill(config, logged=2, applied=2)
    (state.parent / "raft.db").unlink()
    with pytest.raises(StorageDamaged, match=r"raft\.db"):
        opened(config)


def test_second_opening_is_refused_with_the_pid(config: ClusterConfig) -> None:
    parts = opened(config)
    with pytest.raises(DataFolderLocked, match=str(os.getpid())):
        opened(config)
    closed(parts)


@pytest.mark.parametrize("alone", [False, True])
def test_who_lost_the_count_of_starts_recovers_unless_it_is_alone(
    config: ClusterConfig, alone: bool
) -> None:
    """Alone it would recover for ever: nobody could prove that it holds what it promised."""
    fill(config, logged=2, applied=2)
    (config.nodes["n1"].data / "boots").unlink()
    if alone:
        config = replace(config, nodes={"n1": config.nodes["n1"]})
    parts = opened(config)
    assert parts.log.recovering is not alone
    closed(parts)
