"""What one reader of state.db saw, the next one need not wait for."""

from __future__ import annotations

from pathlib import Path

import pytest

from raftzmq.node.gate import StateGate
from raftzmq.wire.client import Level
from tests.node.test_end_service import Desk, read

APPLIED = 100


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    made = Desk(tmp_path)
    assert made.replica.applied_index == APPLIED
    return made


def session_read(index: int) -> bytes:
    return read(level=Level.SESSION, min_index=index)


def test_a_session_read_waits_for_its_index_and_no_longer(desk: Desk) -> None:
    desk.ask(b"next", session_read(APPLIED + 1))
    desk.ask(b"later", session_read(APPLIED + 2))
    assert not desk.router.sent
    # The applier has not told yet, but another read came back with it.
    desk.seen_index = APPLIED + 1
    desk.service.run_ready()
    assert len(desk.router.sent) == 1
    assert desk.service.visible_index == APPLIED + 1
    assert desk.service.awaits_applied


def test_a_session_read_for_what_was_seen_does_not_wait(desk: Desk) -> None:
    desk.seen_index = APPLIED + 1
    desk.ask(b"next", session_read(APPLIED + 1))
    assert len(desk.router.sent) == 1


def test_what_is_applied_counts_when_nobody_looked_for_long(desk: Desk) -> None:
    desk.seen_index = APPLIED - 50
    desk.ask(b"now", session_read(APPLIED))
    assert len(desk.router.sent) == 1


def test_another_file_has_not_been_seen() -> None:
    gate = StateGate(Path("state.db"))
    with gate.reading():
        gate.saw(7)
        gate.saw(5)
    assert gate.seen_index == 7
    with gate.installing():
        assert gate.seen_index == 0
    with gate.reading():
        gate.saw(3)
    assert gate.seen_index == 3
