"""Collects what the handlers decided into one Ready, and moves the cursors of what was given.

The order in which the host carries a Ready out is said at ``types.Ready``.
"""

from __future__ import annotations

from raftzmq.raft import reads, replication, standing
from raftzmq.raft.state import RaftState
from raftzmq.raft.types import HardState, Ready, Role


def collect(state: RaftState) -> Ready | None:
    """Everything decided since the last Ready; None when there is nothing."""
    if state.role is Role.LEADER:
        if reads.begin_round(state):
            replication.broadcast_heartbeat(state)
        replication.flush(state)
    elif state.proof is not None:
        standing.settle(state)
    log = state.log
    last_index = log.last_index
    saved_term, saved_vote = state.saved
    hard_changed = saved_term != state.term or saved_vote != state.voted_for
    if not (
        hard_changed
        or state.entries_given < last_index
        or state.committed_given < state.commit_index
        or state.messages_now
        or state.messages_after_persist
        or state.read_states
        or state.install is not None
        or state.recovered
        or state.snapshots_wanted
        or state.trace
    ):
        return None

    if hard_changed and state.install is not None:
        # The term first, alone: a crash between the two must not leave a base of a term that
        # this node does not know.
        state.saved = HardState(state.term, state.voted_for)
        return Ready(hard_state=state.saved)

    hard_state = None
    messages_now = tuple(state.messages_now)
    messages_after_persist = tuple(state.messages_after_persist)
    if hard_changed:
        state.saved = hard_state = HardState(state.term, state.voted_for)
        # Nobody may hear of a term that this node could forget: a sole voter with learners
        # would otherwise lead the same term twice, with different entries.
        messages_after_persist = messages_now + messages_after_persist
        messages_now = ()
    entries_given, committed_given = state.entries_given, state.committed_given
    commit_index = state.commit_index
    ready = Ready(
        messages_now=messages_now,
        install=state.install,
        hard_state=hard_state,
        entries=log.between(entries_given, last_index) if entries_given < last_index else (),
        recovered=state.recovered,
        messages_after_persist=messages_after_persist,
        committed=(
            log.between(committed_given, commit_index) if committed_given < commit_index else ()
        ),
        read_states=tuple(state.read_states),
        snapshots_wanted=tuple(state.snapshots_wanted),
        trace=tuple(state.trace),
    )
    state.entries_given = last_index
    state.committed_given = commit_index
    state.messages_now.clear()
    state.messages_after_persist.clear()
    state.install = None
    state.recovered = False
    state.read_states.clear()
    state.snapshots_wanted.clear()
    state.trace.clear()
    return ready
