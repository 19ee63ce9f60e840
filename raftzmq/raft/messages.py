"""The messages Raft nodes exchange: one frozen class each, and the table that governs them.

``MESSAGE_TABLE`` says per type: the code on the wire, who sends it to whom, whether it
promises something that must be durable before it leaves, and what its term means. Codes are
never reused.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final, NamedTuple, TypeAlias

from raftzmq.raft.types import Entry, NodeId


@dataclass(frozen=True, slots=True, kw_only=True)
class PreVoteRequest:
    """Would you vote for me in ``term``? Changes nothing at the voter (thesis 9.6).

    ``term`` is the term the candidate *would* campaign in, its own plus one.
    """

    sender: NodeId
    receiver: NodeId
    term: int
    last_index: int
    last_term: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PreVoteResponse:
    """Answer to a pre-vote. Granted: ``term`` repeats the request's. Refused: the voter's own.

    A higher term in a refusal is adopted, since it is in force at the voter: else a node that
    lags in terms but has the longer log could never campaign.
    """

    sender: NodeId
    receiver: NodeId
    term: int
    granted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class VoteRequest:
    """Vote for me in ``term`` (thesis 3.4). ``transfer`` bypasses the lease (thesis 3.10)."""

    sender: NodeId
    receiver: NodeId
    term: int
    last_index: int
    last_term: int
    transfer: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class VoteResponse:
    """Answer to a vote request; a granted one promises a durable vote."""

    sender: NodeId
    receiver: NodeId
    term: int
    granted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AppendRequest:
    """Entries after (prev_index, prev_term), contiguous; may be empty (thesis 3.5)."""

    sender: NodeId
    receiver: NodeId
    term: int
    prev_index: int
    prev_term: int
    commit_index: int
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AppendResponse:
    """Accepted: the log equals the leader's up to ``match_index``, durably.

    Rejected (``accepted`` false): there is no entry (rejected_index, of the leader's term);
    ``hint_index`` and ``hint_term`` name the last place of the follower's log that may match
    (thesis 3.5 and 5.3, the conflict-term back-up). ``match_index`` is then 0.

    ``binding`` is false while the sender's standing does not let it promise anything: the
    leader may send it more, but counts it for nothing.
    """

    sender: NodeId
    receiver: NodeId
    term: int
    accepted: bool
    match_index: int
    rejected_index: int
    hint_index: int
    hint_term: int
    binding: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class HeartbeatRequest:
    """The leader lives; ``commit_index`` never exceeds the receiver's match_index.

    ``round`` counts ReadIndex confirmations: a response carries it back (thesis 6.4).
    """

    sender: NodeId
    receiver: NodeId
    term: int
    commit_index: int
    round: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HeartbeatResponse:
    """The follower still takes the sender of ``round`` for the leader of ``term``.

    ``binding`` as in AppendResponse.
    """

    sender: NodeId
    receiver: NodeId
    term: int
    round: int
    binding: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadIndexRequest:
    """A follower asks for the index a linearizable read must wait for (thesis 6.4).

    In itself it confirms the leader: its sender was in ``term`` after the read began.
    """

    sender: NodeId
    receiver: NodeId
    term: int
    context: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadIndexResponse:
    """Serve the read ``context`` once applied_index >= ``index``; ``index`` 0 means refused."""

    sender: NodeId
    receiver: NodeId
    term: int
    context: int
    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeoutNow:
    """Campaign at once: the leader hands over (thesis 3.10)."""

    sender: NodeId
    receiver: NodeId
    term: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofRequest:
    """A recovering node asks for an entry that is proposed after this request."""

    sender: NodeId
    receiver: NodeId
    term: int
    context: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofResponse:
    """The entry at ``index`` of ``term`` was proposed after ``context`` was asked."""

    sender: NodeId
    receiver: NodeId
    term: int
    context: int
    index: int


Message: TypeAlias = (
    PreVoteRequest
    | PreVoteResponse
    | VoteRequest
    | VoteResponse
    | AppendRequest
    | AppendResponse
    | HeartbeatRequest
    | HeartbeatResponse
    | ReadIndexRequest
    | ReadIndexResponse
    | TimeoutNow
    | ProofRequest
    | ProofResponse
)


class TermRule(Enum):
    """What the term of a message does at a receiver whose own term is lower."""

    ADOPT = "a higher term is adopted, persisted, and makes a follower (thesis 3.3)"
    PROPOSED = "the term is only proposed; nothing is adopted (thesis 9.6)"


class MessageRule(NamedTuple):
    """One row of MESSAGE_TABLE."""

    code: int
    sender: str
    receiver: str
    after_persist: bool
    term: TermRule


MESSAGE_TABLE: Final[dict[type[Message], MessageRule]] = {
    PreVoteRequest: MessageRule(1, "pre-candidate", "any", False, TermRule.PROPOSED),
    PreVoteResponse: MessageRule(2, "any", "pre-candidate", True, TermRule.PROPOSED),
    VoteRequest: MessageRule(3, "candidate", "any", True, TermRule.ADOPT),
    VoteResponse: MessageRule(4, "any", "candidate", True, TermRule.ADOPT),
    AppendRequest: MessageRule(5, "leader", "any", False, TermRule.ADOPT),
    AppendResponse: MessageRule(6, "follower", "leader", True, TermRule.ADOPT),
    HeartbeatRequest: MessageRule(7, "leader", "any", False, TermRule.ADOPT),
    HeartbeatResponse: MessageRule(8, "follower", "leader", True, TermRule.ADOPT),
    ReadIndexRequest: MessageRule(9, "follower", "leader", True, TermRule.ADOPT),
    ReadIndexResponse: MessageRule(10, "leader", "follower", False, TermRule.ADOPT),
    TimeoutNow: MessageRule(11, "leader", "follower", False, TermRule.ADOPT),
    ProofRequest: MessageRule(12, "follower", "leader", True, TermRule.ADOPT),
    ProofResponse: MessageRule(13, "leader", "follower", False, TermRule.ADOPT),
}
