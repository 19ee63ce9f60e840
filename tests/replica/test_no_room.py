"""A replica without room keeps silent or holds back; it promises nothing it cannot keep."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from raftzmq.errors import NoRoom
from raftzmq.raft.messages import AppendRequest, HeartbeatRequest, Message
from raftzmq.raft.raft import Raft
from raftzmq.raft.state import RaftConfig
from raftzmq.raft.types import Configuration, Entry, EntryKind, HardState, LogPosition
from raftzmq.replica.holding_back import needs_room
from raftzmq.replica.replica import Replica
from raftzmq.replica.transfer import Transfers
from raftzmq.storage.memory_log import MemoryLogStore
from raftzmq.wire.peer import decode_peer, encode_peer
from tests.replica.introduced import introduced
from tests.replica.test_transfer import Host


class FullStore(MemoryLogStore):
    """Has room or has none."""

    def __init__(self) -> None:
        super().__init__()
        self.full = False
        self.tries = 0

    def save(self, hard_state: HardState | None, entries: Sequence[Entry]) -> None:
        self.tries += 1
        if self.full:
            raise NoRoom("full")
        super().save(hard_state, entries)


class Follower:
    """Replica n1 of three, with n2 as its leader in term 1."""

    def __init__(self) -> None:
        self.store = FullStore()
        self.store.load()
        self.sent: list[Message] = []
        raft = Raft(
            RaftConfig(
                node="n1", configuration=Configuration(voters=frozenset({"n1", "n2", "n3"}))
            ),
            hard_state=HardState(),
            base=LogPosition(0, 0),
            entries=[],
            applied_index=0,
            rng=random.Random(0),
        )
        self.replica = Replica(
            raft=raft,
            store=self.store,
            cluster="c",
            send=lambda _, data: self.sent.append(decode_peer(data)[1]),  # type: ignore[arg-type]
            transfers=Transfers(Host()),
            applied_index=0,
            admission=introduced(raft, self.store, {"n2": 1, "n3": 1}),
        )

    def receive(self, message: Message) -> list[str]:
        """Names of what is sent in answer."""
        self.sent.clear()
        self.replica.receive(encode_peer(message, "c", 1))
        self.replica.flush()
        return [type(message).__name__ for message in self.sent]


HEARTBEAT = HeartbeatRequest(sender="n2", receiver="n1", term=1, commit_index=0, round=1)


def append(first: int, *data: bytes) -> AppendRequest:
    return AppendRequest(
        sender="n2",
        receiver="n1",
        term=1,
        prev_index=first - 1,
        prev_term=1 if first > 1 else 0,
        commit_index=0,
        entries=tuple(
            Entry(index, 1, EntryKind.COMMAND if each else EntryKind.NOOP, each)
            for index, each in enumerate(data, first)
        ),
    )


def test_without_room_for_its_log_a_replica_is_as_if_paused() -> None:
    node = Follower()
    assert node.receive(append(1, b"a")) == ["AppendResponse"]
    node.store.full = True
    assert node.receive(append(2, b"b")) == []
    assert node.replica.stalled
    tries = node.store.tries
    for _ in range(500):
        node.replica.tick()
        assert node.receive(HEARTBEAT) == []
    assert node.replica.raft.term == 1, "it does not campaign either"
    assert node.store.tries == tries, "the disk is left alone until there may be room"
    node.replica.try_again()
    assert node.receive(HEARTBEAT) == []
    node.store.full = False
    node.replica.try_again()
    node.sent.clear()
    node.replica.flush()
    assert [type(message).__name__ for message in node.sent] == ["AppendResponse"]
    assert not node.replica.stalled
    assert [entry.data for entry in node.store.load().entries] == [b"a", b"b"]
    assert node.receive(HEARTBEAT) == ["HeartbeatResponse"]


def test_a_vote_is_not_given_without_room_for_it() -> None:
    node = Follower()
    node.store.full = True
    assert node.receive(HEARTBEAT) == [], "its term is not on disk"
    assert node.store.load().hard_state == HardState()


def test_holding_back_entries_goes_on_following_and_confirming_reads() -> None:
    node = Follower()
    node.receive(append(1, b"a"))
    node.replica.hold_back(True)
    assert node.receive(append(2, b"b")) == []
    assert node.replica.lacks_entries
    assert node.receive(HEARTBEAT) == ["HeartbeatResponse"]
    # An empty append after what is lacking: an answer would bring all of it again.
    assert node.receive(append(3)) == []
    assert node.receive(append(2, b"")) == ["AppendResponse"], "a no-op of a new leader"
    node.replica.hold_back(False)
    assert not node.replica.lacks_entries
    assert node.receive(append(3, b"c")) == ["AppendResponse"]


@pytest.mark.parametrize(
    ("message", "needs"),
    [
        (append(4, b"x"), True),
        (append(4, b"", b"x"), True),
        (append(4, b""), False),
        (append(4), False),
        (append(5), True),
        (HEARTBEAT, False),
    ],
)
def test_what_needs_room(message: Message, needs: bool) -> None:
    assert needs_room(message, last_index=3) is needs
