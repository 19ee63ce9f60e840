"""Quorum arithmetic, for simple and for joint configurations; learners never count.

During a joint change both the incoming and the outgoing voters must agree (thesis 4.3). The
functions know nothing of roles, logs or messages, so that they can be tested alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from raftzmq.invariants import check
from raftzmq.raft.types import Configuration, NodeId


class VoteResult(Enum):
    """What the votes so far decide."""

    PENDING = "pending"
    WON = "won"
    LOST = "lost"


def committed_index(configuration: Configuration, match: Mapping[NodeId, int]) -> int:
    """Largest number that a quorum has reached (thesis 3.5, figure 3.1 "Rules for Servers").

    Used for log indexes, for ReadIndex rounds and for ticks of last contact alike.

    Args:
        configuration: whose voters count.
        match: what each voter has reached; a missing voter has reached 0.

    Raises:
        InvariantBroken: there are no voters.
    """
    reached = _reached(configuration.voters, match)
    if configuration.outgoing:
        return min(reached, _reached(configuration.outgoing, match))
    return reached


def vote_result(configuration: Configuration, votes: Mapping[NodeId, bool]) -> VoteResult:
    """What the votes decide; voters that are missing have not answered (thesis 3.4, 4.3).

    Raises:
        InvariantBroken: there are no voters.
    """
    result = _decided(configuration.voters, votes)
    if not configuration.outgoing or result is VoteResult.LOST:
        return result
    outgoing = _decided(configuration.outgoing, votes)
    return result if outgoing is VoteResult.WON else outgoing


def _reached(voters: frozenset[NodeId], match: Mapping[NodeId, int]) -> int:
    check(bool(voters), "a configuration has voters")
    ranked = sorted([match.get(voter, 0) for voter in voters])
    return ranked[(len(ranked) - 1) // 2]


def _decided(voters: frozenset[NodeId], votes: Mapping[NodeId, bool]) -> VoteResult:
    check(bool(voters), "a configuration has voters")
    needed = len(voters) // 2 + 1
    granted = refused = 0
    for voter in voters:
        vote = votes.get(voter)
        if vote is True:
            granted += 1
        elif vote is False:
            refused += 1
    if granted >= needed:
        return VoteResult.WON
    return VoteResult.LOST if len(voters) - refused < needed else VoteResult.PENDING
