"""One Raft by itself: the test plays all its peers, message by message."""

from __future__ import annotations

import random
from collections.abc import Sequence

from raftzmq.raft.messages import (
    AppendRequest,
    AppendResponse,
    HeartbeatRequest,
    HeartbeatResponse,
    Message,
    PreVoteRequest,
    PreVoteResponse,
    ProofRequest,
    ProofResponse,
    ReadIndexRequest,
    VoteRequest,
    VoteResponse,
)
from raftzmq.raft.raft import Raft
from raftzmq.raft.state import RaftConfig
from raftzmq.raft.types import (
    Configuration,
    Entry,
    EntryKind,
    HardState,
    LogPosition,
    NodeId,
    ReadState,
    Ready,
    Role,
    Standing,
)

ELECTION_TICKS = 10
THREE = Configuration(voters=frozenset(("n1", "n2", "n3")))


def entries(terms: Sequence[int], *, after: int = 0) -> tuple[Entry, ...]:
    return tuple(
        Entry(index, term, EntryKind.COMMAND, b"x") for index, term in enumerate(terms, after + 1)
    )


class Lone:
    """A node n1 with n2, n3, … played by the test."""

    def __init__(
        self,
        terms: Sequence[int] = (),
        *,
        term: int | None = None,
        vote: NodeId | None = None,
        configuration: Configuration = THREE,
        base: LogPosition | None = None,
        applied: int = 0,
        standing: Standing = Standing.MEMBER,
        seed: int = 0,
        **settings: int,
    ) -> None:
        base = base or LogPosition(0, 0)
        settings = {"election_ticks": ELECTION_TICKS, "heartbeat_ticks": 2, **settings}
        self.raft = Raft(
            RaftConfig(node="n1", configuration=configuration, **settings),
            hard_state=HardState(max([base.term, *terms]) if term is None else term, vote),
            base=base,
            entries=entries(terms, after=base.index),
            applied_index=applied,
            rng=random.Random(seed),
            standing=standing,
        )
        self.reads: list[ReadState] = []
        self.applied: list[int] = []
        self.readies: list[Ready] = []

    def drain(self, *, persist: bool = True) -> list[Message]:
        """Carry out all Readies; what was sent. ``persist`` false: the disk is still busy."""
        sent: list[Message] = []
        while (ready := self.raft.ready()) is not None:
            self.readies.append(ready)
            sent += ready.messages_now
            if persist:
                sent += ready.messages_after_persist
                if ready.entries:
                    last = ready.entries[-1]
                    self.raft.persisted(LogPosition(last.index, last.term))
            self.applied += [entry.index for entry in ready.committed]
            self.reads += ready.read_states
        return sent

    def step(self, message: Message) -> list[Message]:
        self.raft.step(message)
        return self.drain()

    def ticks(self, count: int) -> list[Message]:
        for _ in range(count):
            self.raft.tick()
        return self.drain()

    def time_out(self) -> list[Message]:
        """Tick until the node campaigns."""
        for _ in range(3 * ELECTION_TICKS):
            self.raft.tick()
            if self.raft.role is not Role.FOLLOWER:
                break
        return self.drain()

    def lead(self) -> None:
        """Win an election by the votes of all."""
        self.time_out()
        peers = sorted(self.raft.configuration.members() - {"n1"})
        for peer in peers:
            self.step(
                PreVoteResponse(sender=peer, receiver="n1", term=self.raft.term + 1, granted=True)
            )
        for peer in peers:
            self.step(VoteResponse(sender=peer, receiver="n1", term=self.raft.term, granted=True))
        assert self.raft.role is Role.LEADER

    def follow(self, leader: NodeId, term: int) -> None:
        self.step(heartbeat(leader, term))
        assert self.raft.leader == leader


def append(
    sender: NodeId,
    term: int,
    after: tuple[int, int],
    terms: Sequence[int] = (),
    *,
    commit: int = 0,
) -> AppendRequest:
    return AppendRequest(
        sender=sender,
        receiver="n1",
        term=term,
        prev_index=after[0],
        prev_term=after[1],
        commit_index=commit,
        entries=entries(terms, after=after[0]),
    )


def appended(sender: NodeId, term: int, match: int, *, binding: bool = True) -> AppendResponse:
    return AppendResponse(
        sender=sender,
        receiver="n1",
        term=term,
        accepted=True,
        match_index=match,
        rejected_index=0,
        hint_index=0,
        hint_term=0,
        binding=binding,
    )


def rejected(sender: NodeId, term: int, at: int, hint: tuple[int, int]) -> AppendResponse:
    return AppendResponse(
        sender=sender,
        receiver="n1",
        term=term,
        accepted=False,
        match_index=0,
        rejected_index=at,
        hint_index=hint[0],
        hint_term=hint[1],
        binding=True,
    )


def heartbeat(sender: NodeId, term: int, commit: int = 0) -> HeartbeatRequest:
    return HeartbeatRequest(sender=sender, receiver="n1", term=term, commit_index=commit, round=0)


def heard(sender: NodeId, term: int, round_: int = 0, *, binding: bool = True) -> HeartbeatResponse:
    return HeartbeatResponse(sender=sender, receiver="n1", term=term, round=round_, binding=binding)


def vote(
    sender: NodeId, term: int, last: tuple[int, int] = (0, 0), *, transfer: bool = False
) -> VoteRequest:
    return VoteRequest(
        sender=sender,
        receiver="n1",
        term=term,
        last_index=last[0],
        last_term=last[1],
        transfer=transfer,
    )


def pre_vote(sender: NodeId, term: int, last: tuple[int, int] = (0, 0)) -> PreVoteRequest:
    return PreVoteRequest(
        sender=sender, receiver="n1", term=term, last_index=last[0], last_term=last[1]
    )


def voted(sender: NodeId, term: int, granted: bool) -> VoteResponse:
    return VoteResponse(sender=sender, receiver="n1", term=term, granted=granted)


def read_request(sender: NodeId, term: int, context: int) -> ReadIndexRequest:
    return ReadIndexRequest(sender=sender, receiver="n1", term=term, context=context)


def proof_request(sender: NodeId, term: int, context: int) -> ProofRequest:
    return ProofRequest(sender=sender, receiver="n1", term=term, context=context)


def proof_is(sender: NodeId, term: int, context: int, index: int) -> ProofResponse:
    return ProofResponse(sender=sender, receiver="n1", term=term, context=context, index=index)


def verdicts(messages: list[Message]) -> list[bool]:
    """Of the answers to votes and pre-votes among ``messages``."""
    return [m.granted for m in messages if isinstance(m, VoteResponse | PreVoteResponse)]
