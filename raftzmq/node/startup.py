"""Opening a data folder: what it must hold before this node may vote or serve.

state.db may be ahead of raft.db after an install was interrupted between its two steps; then
the log restarts at the snapshot. Everything else that does not fit is damage and named.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from raftzmq.config import ClusterConfig, NodeConfig
from raftzmq.errors import StorageDamaged, StorageFailed
from raftzmq.node.niceness import Rests
from raftzmq.raft.types import LogPosition
from raftzmq.statemachine.bounds import ApplyLimits
from raftzmq.statemachine.machine import Machine
from raftzmq.storage.contract import EMPTY_BASE, LogStore, Memory, StoredLog
from raftzmq.storage.folder import DataFolder
from raftzmq.storage.snapshot_file import finish_interrupted_install
from raftzmq.storage.sqlite_log import SqliteLogStore
from raftzmq.storage.state_mark import StateMark
from raftzmq.storage.verified_read import REMEDY

STATE_NAME = "state.db"
LOG_NAME = "raft.db"


@dataclass(slots=True)
class Opened:
    """An opened data folder, checked."""

    folder: DataFolder
    store: SqliteLogStore
    log: StoredLog
    machine: Machine
    state_path: Path

    @property
    def is_empty(self) -> bool:
        """Whether nothing was ever written here: a new node, or a wiped one."""
        log = self.log
        return not log.entries and log.base == EMPTY_BASE and log.hard_state.term == 0


def apply_limits(config: ClusterConfig) -> ApplyLimits:
    """What this node, when it leads, puts into each entry for all replicas to go by."""
    bounds = config.limits
    return ApplyLimits(
        steps_max=bounds.write_steps_max,
        result_bytes_max=bounds.result_bytes_max,
        ledger_ms=bounds.ledger_ms,
        ledger_bytes_max=bounds.ledger_bytes_max,
        key_ledger_ms=bounds.key_ledger_ms,
        key_ledger_bytes_max=bounds.key_ledger_bytes_max,
    )


def open_folder(config: ClusterConfig, node: NodeConfig) -> Opened:
    """Lock, check and open the data folder of ``node``.

    Raises:
        DataFolderLocked, DataFolderMismatch: it is in use or belongs to someone else.
        StorageDamaged: a file does not hold what it should.
    """
    folder = DataFolder.open(node.data, cluster=config.cluster, node=node.name)
    try:
        return _open(folder, alone=len(config.nodes) == 1)
    except BaseException:
        folder.close()
        raise


def _open(folder: DataFolder, *, alone: bool) -> Opened:
    state_path = folder.path / STATE_NAME
    log_path = folder.path / LOG_NAME
    try:
        finish_interrupted_install(folder.path)
    except OSError as error:
        raise StorageFailed(f"{folder.path}: an install cannot be finished: {error}") from error
    if state_path.exists() and not log_path.exists():
        # Without raft.db the node has forgotten whom it voted for and what it acknowledged.
        raise StorageDamaged(
            f"{log_path} is missing while {state_path} exists: this node can no longer keep its "
            f"promises to the others; {REMEDY}"
        )
    store = SqliteLogStore(log_path)
    log = store.load()
    # A node without peers has promised nothing to anybody, and nobody could prove it again.
    if folder.starts_lost and not log.recovering and not alone:
        store.set_recovering(True)
        log = log._replace(memory=Memory.LOST)
    machine = open_machine(state_path)
    log = reconcile(store, log, machine, log_path, state_path)
    return Opened(folder=folder, store=store, log=log, machine=machine, state_path=state_path)


def open_machine(path: Path) -> Machine:
    """Open the state machine of a node, and check that it has not gone back.

    Raises:
        StorageDamaged, StorageFailed: as for ``Machine`` and ``StateMark``.
    """
    return Machine(path, mark=StateMark(path), rest=Rests())


def reconcile(
    store: LogStore, log: StoredLog, machine: Machine, log_path: Path, state_path: Path
) -> StoredLog:
    """Check that state.db fits the log, and complete an interrupted install.

    Raises:
        StorageDamaged: state.db is older than what the log begins with.
    """
    index, term = machine.applied
    last_index = log.base.index + len(log.entries)
    if index < log.base.index:
        raise StorageDamaged(
            f"{state_path} holds entries up to {index}, but {log_path} begins after "
            f"{log.base.index}: {state_path.name} was lost or replaced by an older copy; {REMEDY}"
        )
    if index == log.base.index:
        return log
    if index <= last_index and log.entries[index - log.base.index - 1].term == term:
        return log
    # An install swapped state.db and was interrupted before the log was reset. What state.db
    # holds is committed, so the log may begin there; what the log held beyond was not.
    base = LogPosition(index, term)
    store.reset(base)
    note = f"an interrupted install of the snapshot at {index} was completed"
    return log._replace(base=base, entries=[], notes=(*log.notes, note))
