"""Leadership transfer (thesis 3.10).

The leader stops taking proposals, brings the target's log up to its own, and only then sends
TimeoutNow; the target campaigns at once, past pre-vote and lease. If that does not end the
leader's term within an election timeout, the leader gives up and goes on as before.
"""

from __future__ import annotations

from raftzmq.raft.messages import TimeoutNow
from raftzmq.raft.state import RaftState, Transfer, note, send
from raftzmq.raft.types import NodeId, Role, TransferChanged


def begin(state: RaftState, target: NodeId | None) -> bool:
    """Start handing over. False: not leader, or no voter to hand over to.

    Args:
        state: of a leader.
        target: a voter other than this node; None picks the most up-to-date live voter.
    """
    if state.role is not Role.LEADER:
        return False
    voters = (state.configuration.voters & state.progress.keys()) - {state.node}
    if target is None:
        target = _most_up_to_date(state, voters)
    if target is None or target not in voters:
        return False
    if state.transfer is not None:
        if state.transfer.target == target:
            return True
        end(state, "given up")
    deadline = state.now + state.config.election_ticks
    state.transfer = Transfer(target, deadline)
    note(state, TransferChanged(target=target, state="began"))
    # Whatever was lost on the way to the target should show now, not at some heartbeat.
    state.progress[target].nudge = True
    state.replicate_due = True
    advance(state, target)
    return True


def advance(state: RaftState, peer: NodeId) -> None:
    """Send TimeoutNow once the target's log matches; again per heartbeat, as it may be lost."""
    transfer = state.transfer
    if transfer is None or transfer.target != peer:
        return
    progress = state.progress.get(peer)
    if progress is not None and progress.match_index == state.log.last_index:
        send(state, TimeoutNow(sender=state.node, receiver=peer, term=state.term))


def tick(state: RaftState) -> None:
    """Give up when an election timeout has passed."""
    if state.transfer is not None and state.now >= state.transfer.deadline_tick:
        end(state, "given up")


def end(state: RaftState, how: str) -> None:
    """Forget the transfer, if any; proposals are taken again as long as this node leads."""
    if state.transfer is not None:
        note(state, TransferChanged(target=state.transfer.target, state=how))
        state.transfer = None


def _most_up_to_date(state: RaftState, voters: frozenset[NodeId]) -> NodeId | None:
    best: NodeId | None = None
    best_match = -1
    for peer in sorted(voters):
        progress = state.progress[peer]
        live = state.now - progress.binding_tick < state.config.election_ticks
        # A peer that recovers would not campaign; what binds shows who may.
        if live and progress.binding_index > best_match:
            best, best_match = peer, progress.binding_index
    return best
