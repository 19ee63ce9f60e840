"""Every message, fact and duty has its one line."""

from __future__ import annotations

from typing import get_args

import pytest

from raftzmq.raft.describe import describe_entry, describe_fact, describe_message, describe_ready
from raftzmq.raft.messages import MESSAGE_TABLE, Message, ReadIndexResponse, VoteRequest
from raftzmq.raft.types import (
    Configuration,
    Entry,
    EntryKind,
    Fact,
    HardState,
    LogTruncated,
    ProgressChanged,
    ReadState,
    Ready,
    Role,
    RoleChanged,
    Snapshot,
    Standing,
    StandingChanged,
    TransferChanged,
    VoteCast,
)
from tests.raft.lone import (
    append,
    appended,
    heard,
    heartbeat,
    pre_vote,
    proof_is,
    proof_request,
    read_request,
    rejected,
    vote,
    voted,
)

SHOWN = [
    (vote("n2", 3, (7, 2), transfer=True), "n2>n1 t3 Vote last=7@2 transfer"),
    (voted("n2", 3, True), "n2>n1 t3 VoteGranted"),
    (pre_vote("n2", 3, (7, 2)), "n2>n1 t3 PreVote last=7@2"),
    (append("n2", 3, (7, 2), [3], commit=6), "n2>n1 t3 Append after=7@2 commit=6 [8@3:x]"),
    (appended("n2", 3, 8), "n2>n1 t3 Appended match=8"),
    (rejected("n2", 3, 7, (5, 1)), "n2>n1 t3 AppendRejected at=7 hint=5@1"),
    (heartbeat("n2", 3, 6), "n2>n1 t3 Heartbeat commit=6 round=0"),
    (heard("n2", 3, 4), "n2>n1 t3 HeartbeatOk round=4"),
    (appended("n2", 3, 8, binding=False), "n2>n1 t3 Appended match=8 not-binding"),
    (heard("n2", 3, 4, binding=False), "n2>n1 t3 HeartbeatOk round=4 not-binding"),
    (proof_request("n2", 3, (9 << 32) + 5), "n2>n1 t3 Proof context=5"),
    (proof_is("n2", 3, (9 << 32) + 5, 8), "n2>n1 t3 ProofIs context=5 index=8"),
    (read_request("n2", 3, (9 << 32) + 5), "n2>n1 t3 ReadIndex context=5"),
]


@pytest.mark.parametrize(("message", "shown"), SHOWN)
def test_messages(message: Message, shown: str) -> None:
    assert describe_message(message) == shown


def test_a_refused_read_is_shown_as_refused() -> None:
    message = ReadIndexResponse(sender="n1", receiver="n2", term=3, context=5, index=0)
    assert describe_message(message) == "n1>n2 t3 ReadIndexIs context=5 index=refused"


def test_every_message_type_is_in_the_table() -> None:
    assert set(MESSAGE_TABLE) == set(get_args(Message))
    assert len({rule.code for rule in MESSAGE_TABLE.values()}) == len(MESSAGE_TABLE)


def test_every_fact() -> None:
    facts: list[Fact] = [
        RoleChanged(term=2, role=Role.LEADER, leader="n1", why="won the vote"),
        VoteCast(term=2, candidate="n2", granted=False, pre_vote=True, why="log is behind"),
        LogTruncated(index=4, term=1),
        ProgressChanged(peer="n2", flow="probe", match_index=3, next_index=4),
        TransferChanged(target="n2", state="began"),
        StandingChanged(standing=Standing.RECOVERING, why="disk was lost"),
    ]
    assert {type(fact) for fact in facts} == set(get_args(Fact))
    assert [describe_fact(fact) for fact in facts] == [
        "leader t2 leader=n1: won the vote",
        "pre-vote t2 refused to n2: log is behind",
        "truncated from 4@1",
        "n2 probe match=3 next=4",
        "transfer to n2 began",
        "standing recovering: disk was lost",
    ]


def test_entries_show_text_or_bytes_and_not_too_much() -> None:
    assert describe_entry(Entry(1, 2, EntryKind.NOOP, b"")) == "1@2:noop"
    assert describe_entry(Entry(1, 2, EntryKind.COMMAND, b"\x00\xff")) == "1@2:00ff"
    assert describe_entry(Entry(1, 2, EntryKind.COMMAND, b"a" * 17)) == "1@2:" + "a" * 16 + "…"


def test_a_ready_in_the_order_of_its_duties() -> None:
    entry = Entry(8, 3, EntryKind.COMMAND, b"x")
    snapshot = Snapshot(index=7, term=2, configuration=Configuration(voters=frozenset(("n1",))))
    request = VoteRequest(
        sender="n1", receiver="n2", term=3, last_index=7, last_term=2, transfer=False
    )
    ready = Ready(
        messages_now=(heartbeat("n1", 3),),
        install=snapshot,
        hard_state=HardState(3, "n1"),
        entries=(entry,),
        recovered=True,
        messages_after_persist=(request,),
        committed=(entry,),
        read_states=(ReadState(5, 8), ReadState(6, None)),
        snapshots_wanted=("n3",),
        trace=(LogTruncated(index=4, term=1),),
    )
    assert describe_ready(ready) == (
        "now=(n1>n1 t3 Heartbeat commit=0 round=0) install=7@2 hard=t3,n1 entries=[8@3:x] "
        "recovered after=(n1>n2 t3 Vote last=7@2) committed=[8@3:x] reads=(5=8 6=refused) "
        "snapshots_wanted=(n3) trace=(truncated from 4@1)"
    )
    assert describe_ready(Ready()) == ""
