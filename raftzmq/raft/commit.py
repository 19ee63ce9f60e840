"""The one place where commit_index moves, and how far a follower may let it (thesis 3.5, 3.6)."""

from __future__ import annotations

from raftzmq.invariants import check
from raftzmq.raft.state import RaftState
from raftzmq.raft.types import LogPosition


def commit_to(state: RaftState, index: int) -> None:
    """Raise commit_index to ``index``; it never falls.

    Raises:
        InvariantBroken: the log does not reach ``index``: it has lost what it acknowledged.
    """
    if index <= state.commit_index:
        return
    check(
        index <= state.log.last_index,
        "what is committed is in the log",
        commit_index=index,
        last_index=state.log.last_index,
    )
    state.commit_index = index


def agree(state: RaftState, index: int) -> None:
    """An append of this term's leader matched: up to ``index`` this log is the leader's."""
    agreed = state.agreed
    if agreed.term != state.term or agreed.index < index:
        state.agreed = LogPosition(index, state.term)


def learn(state: RaftState, index: int) -> None:
    """This term's leader said that it has committed ``index``.

    Taken over only as far as the logs were found to agree in this term; what follows may be an
    unverified tail of an earlier term (thesis figure 3.1). A leader only appends in its term,
    so what once agreed with its log still does.
    """
    if state.agreed.term == state.term:
        commit_to(state, min(index, state.agreed.index))
