"""Who takes part, and what follows when that changes.

A configuration is in force from the moment it stands in the log or comes with a snapshot,
committed or not (thesis 4.1). ``adopt`` is the one place that puts a configuration into force.
The protocol that proposes changes is not here, and CONFIGURATION entries are not read: as of
now, the configuration is given at start and by snapshots.
"""

from __future__ import annotations

from raftzmq.invariants import check
from raftzmq.raft import transfer
from raftzmq.raft.progress import Progress
from raftzmq.raft.state import RaftState
from raftzmq.raft.types import Configuration, NodeId, Role


def is_voter(configuration: Configuration, node: NodeId) -> bool:
    """Whether ``node`` votes, in either half of a joint configuration."""
    return node in configuration.voters or node in configuration.outgoing


def may_campaign(state: RaftState) -> bool:
    """Learners and outsiders never campaign, though they vote when asked (thesis 4.2.1).

    Nor does a node whose standing lets it promise nothing (it could not even vote for itself), or
    that its host holds unfit to lead.
    """
    return state.may_promise and not state.unfit and is_voter(state.configuration, state.node)


def is_alone(state: RaftState) -> bool:
    """Whether this node is a quorum by itself, so that waiting for others is pointless."""
    configuration = state.configuration
    alone = frozenset((state.node,))
    return configuration.voters == alone and configuration.outgoing <= alone


def adopt(state: RaftState, configuration: Configuration) -> None:
    """Put ``configuration`` into force; a leader starts and ends progress of peers with it.

    Raises:
        InvariantBroken: it has no voters.
    """
    check(bool(configuration.voters), "a configuration has voters", configuration=configuration)
    state.configuration = configuration
    state.members = configuration.members()
    if state.role is not Role.LEADER:
        return
    for peer in sorted(state.members - {state.node}):
        if peer not in state.progress:
            state.progress[peer] = Progress(state.log.last_index + 1, state.now, state.now)
    for peer in sorted(state.progress.keys() - state.members):
        del state.progress[peer]
    if state.transfer is not None and not is_voter(configuration, state.transfer.target):
        transfer.end(state, "given up")
    state.replicate_due = True
