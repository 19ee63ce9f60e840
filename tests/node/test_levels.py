"""What a read of each level waits for at a node, and what open writes are told."""

from __future__ import annotations

from pathlib import Path

import pytest

from raftzmq.errors import NotLeader, OutcomeUnknown
from raftzmq.raft.types import ReadState
from raftzmq.wire.client import Level
from tests.node.test_end_service import Desk, read, write


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """Of a leader that has applied up to index 100."""
    return Desk(tmp_path)


def jobs(desk: Desk) -> int:
    """How many reads were given to a worker or wait for one."""
    pools = (desk.fast, desk.slow)
    return sum(len(pool.running()) + len(pool.waiting()) for pool in pools)


def test_a_session_read_runs_when_what_its_client_saw_is_applied(desk: Desk) -> None:
    desk.ask(b"seen", read(level=Level.SESSION, min_index=100))
    assert jobs(desk) == 1
    desk.ask(b"ahead", read(level=Level.SESSION, min_index=101))
    desk.service.run_ready()
    assert jobs(desk) == 1
    desk.replica.applied_index = 101
    desk.service.run_ready()
    assert jobs(desk) == 2


def test_a_linearizable_read_waits_for_its_index_to_be_named_and_then_applied(desk: Desk) -> None:
    desk.ask(b"asks", read())
    desk.service.end_of_round(0)
    assert jobs(desk) == 0
    desk.service.read_states([ReadState(desk.replica.raft.context, 101)])
    assert jobs(desk) == 0
    desk.replica.applied_index = 101
    desk.service.run_ready()
    assert jobs(desk) == 1


def test_a_stale_read_with_a_bound_asks_the_leader_until_the_state_is_fresh(desk: Desk) -> None:
    desk.ask(b"any age", read(level=Level.STALE))
    assert jobs(desk) == 1
    desk.ask(b"bounded", read(level=Level.STALE, max_age_ms=60_000))
    assert jobs(desk) == 1, "nothing proves yet how old the state is"
    desk.service.end_of_round(0)
    desk.service.read_states([ReadState(desk.replica.raft.context, 100)])
    assert jobs(desk) == 2
    desk.ask(b"fresh by now", read(level=Level.STALE, max_age_ms=60_000))
    assert jobs(desk) == 3


def test_a_leader_read_is_refused_elsewhere(desk: Desk) -> None:
    desk.replica.is_leader = False
    desk.ask(b"here", read(level=Level.LEADER))
    assert desk.codes() == {b"here": NotLeader.code}


def test_the_fate_of_open_writes_is_unknown_when_leadership_is_lost(desk: Desk) -> None:
    desk.ask(b"open", write())
    desk.service.end_of_round(0)
    desk.service.leadership_lost()
    assert desk.codes() == {b"open": OutcomeUnknown.code}
