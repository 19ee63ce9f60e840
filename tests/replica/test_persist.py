"""Persist before send: the order of effects of one flush, for every Ready."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import pytest

from raftzmq.errors import NoRoom, StorageFailed
from raftzmq.raft.messages import HeartbeatRequest, Message, VoteResponse
from raftzmq.raft.raft import Raft
from raftzmq.raft.types import (
    Configuration,
    Entry,
    EntryKind,
    HardState,
    LogPosition,
    Ready,
    Snapshot,
)
from raftzmq.replica.persist import carry_out
from raftzmq.storage.contract import LogStore

HEARTBEAT = HeartbeatRequest(sender="n1", receiver="n2", term=3, commit_index=0, round=1)
VOTE = VoteResponse(sender="n1", receiver="n2", term=3, granted=True)
ENTRY = Entry(7, 3, EntryKind.COMMAND, b"data")


class Recorder:
    """Stands for core, disk and network at once, and writes down what happens when."""

    def __init__(self, *readies: Ready, disk_fails: bool = False) -> None:
        self.readies = list(readies)
        self.disk_fails = disk_fails
        self.full = False
        self.unsaved: Ready | None = None
        self.events: list[str] = []

    def ready(self) -> Ready | None:
        return self.readies.pop(0) if self.readies else None

    def persisted(self, position: LogPosition) -> None:
        self.events.append(f"persisted {position.index}/{position.term}")

    def save(self, hard_state: HardState | None, entries: Sequence[Entry]) -> None:
        if self.disk_fails:
            raise StorageFailed("fsync failed")
        if self.full:
            raise NoRoom("full")
        self.events.append(f"save {hard_state is not None} {len(entries)}")

    def reset(self, base: LogPosition) -> None:
        self.events.append(f"reset {base.index}")

    def set_recovering(self, recovering: bool) -> None:
        self.events.append(f"recovering {recovering}")

    def send(self, messages: Sequence[Message]) -> None:
        self.events.extend(f"send {type(message).__name__}" for message in messages)

    def run(self) -> None:
        left = carry_out(cast(Raft, self), cast(LogStore, self), self.send, self.unsaved)
        self.unsaved = left.unsaved
        self.events.extend(f"apply {entry.index}" for entry in left.committed)


def test_a_recovered_node_promises_only_after_that_is_on_disk() -> None:
    ready = Ready(hard_state=HardState(3, "n2"), recovered=True, messages_after_persist=(VOTE,))
    world = Recorder(ready)
    world.run()
    assert world.events == ["save True 0", "recovering False", "send VoteResponse"]


def test_vote_leaves_only_after_it_is_on_disk() -> None:
    world = Recorder(Ready(hard_state=HardState(3, "n2"), messages_after_persist=(VOTE,)))
    world.run()
    assert world.events == ["save True 0", "send VoteResponse"]


def test_leader_sends_before_its_own_disk_and_counts_itself_after() -> None:
    world = Recorder(
        Ready(messages_now=(HEARTBEAT,), entries=(ENTRY,), messages_after_persist=(VOTE,))
    )
    world.run()
    assert world.events == [
        "send HeartbeatRequest",
        "save False 1",
        "send VoteResponse",
        "persisted 7/3",
    ]


def test_failed_fsync_sends_nothing_that_depended_on_it() -> None:
    world = Recorder(Ready(entries=(ENTRY,), messages_after_persist=(VOTE,)), disk_fails=True)
    with pytest.raises(StorageFailed):
        world.run()
    assert world.events == []


def test_install_resets_the_log_before_the_acknowledgement() -> None:
    snapshot = Snapshot(index=9, term=3, configuration=Configuration(voters=frozenset({"n1"})))
    world = Recorder(Ready(install=snapshot, messages_after_persist=(VOTE,)))
    world.run()
    assert world.events == ["reset 9", "send VoteResponse"]


def test_without_room_nothing_happens_that_depends_on_it_until_there_is_some() -> None:
    last = Ready(messages_now=(HEARTBEAT,), committed=(ENTRY,))
    world = Recorder(
        Ready(messages_now=(HEARTBEAT,), entries=(ENTRY,), messages_after_persist=(VOTE,)), last
    )
    world.full = True
    for _ in range(3):
        world.run()
        assert world.events == ["send HeartbeatRequest"], "once, and nothing else"
    assert world.readies == [last], "what follows waits its turn"
    world.full = False
    world.run()
    assert world.events[1:] == [
        "save False 1",
        "send VoteResponse",
        "persisted 7/3",
        "send HeartbeatRequest",
        "apply 7",
    ]
    assert world.unsaved is None
