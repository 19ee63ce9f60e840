"""A damaged write-ahead log under a state.db into which it was copied before."""

from __future__ import annotations

from pathlib import Path

import pytest

from raftzmq.errors import StorageDamaged
from raftzmq.statemachine.bounds import ApplyLimits
from raftzmq.statemachine.command import Request, encode_command
from raftzmq.statemachine.machine import LogEntry, Machine
from raftzmq.storage.state_mark import STATE_MARK_NAME, StateMark
from raftzmq.wire.payload import encode_statements


def entry(index: int, sql: str) -> LogEntry:
    request = Request(b"", 0, 0, encode_statements([(sql, ())]))
    data = encode_command(clock_ms=1, seed=index, limits=ApplyLimits(), requests=[request])
    return LogEntry(index, 1, data)


def damaged_copy(tmp_path: Path, *, checkpoint: bool) -> Path:
    """The files of a node that was killed, a bit of its WAL flipped in the tenth frame."""
    live = tmp_path / "live"
    live.mkdir()
    machine = Machine(live / "state.db", mark=StateMark(live / "state.db"))
    machine.apply([entry(1, "CREATE TABLE t(x)")])
    for index in range(2, 30):
        machine.apply([entry(index, f"INSERT INTO t VALUES ({index})")])
    if checkpoint:
        assert machine.checkpoint() == 29
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("state.db", "state.db-wal", STATE_MARK_NAME):
        (copy / name).write_bytes((live / name).read_bytes())
    machine.close()
    wal = copy / "state.db-wal"
    content = bytearray(wal.read_bytes())
    content[32 + 9 * (4096 + 24) + 2_000] ^= 1
    wal.write_bytes(content)
    return copy / "state.db"


def test_a_log_that_was_copied_and_then_damaged_is_noticed(tmp_path: Path) -> None:
    """Its older pages would lie over the newer ones: a mixture of two states, in good order."""
    path = damaged_copy(tmp_path, checkpoint=True)
    with pytest.raises(StorageDamaged, match="held 29 durably"):
        Machine(path, mark=StateMark(path))


def test_a_log_that_was_never_copied_only_loses_its_end(tmp_path: Path) -> None:
    """The log of Raft still covers that, so it is applied again."""
    path = damaged_copy(tmp_path, checkpoint=False)
    machine = Machine(path, mark=StateMark(path))
    applied, _ = machine.applied
    assert 0 < applied < 29
    machine.apply(
        [entry(index, f"INSERT INTO t VALUES ({index})") for index in range(applied + 1, 30)]
    )
    machine.close()


def test_the_mark_goes_with_the_state_db_that_it_speaks_of(tmp_path: Path) -> None:
    path = damaged_copy(tmp_path, checkpoint=False)
    mark = StateMark(path)
    mark.raise_to(7)
    mark.close()
    again = StateMark(path)
    again.require(7)
    with pytest.raises(StorageDamaged):
        again.require(6)
    again.close()
