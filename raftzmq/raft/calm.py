"""How often a leader says that it lives: seldom, while it has nothing else to say.

A heartbeat keeps the followers from standing for election, confirms reads, and brings to light
what was lost on the way. While nobody asks anything and every follower holds all that there is,
only the first is left, and CALM_HEARTBEATS in the shortest election timeout do for that, as long as
none of them is kept waiting by work. Half of what idle nodes used was to wake up for more of them.
"""

from __future__ import annotations

from typing import Final

from raftzmq.raft.progress import Flow
from raftzmq.raft.state import RaftState

CALM_HEARTBEATS: Final = 3
"""In an election timeout. With two, a single one that is late would be all that is left."""
CALM_FACTOR_MAX: Final = 4
"""Of the usual interval at most: while the timeout is raised, node by node, the others still go by
the old one."""


def stir(state: RaftState) -> None:
    """Something happens at this leader, if it is one: a proposal, a read, the start of its term,
    the question of a peer that does not hear it, work that holds it up."""
    state.stirred_tick = state.now


def heartbeat_ticks(state: RaftState) -> int:
    """From one heartbeat of this leader to the next, as things are."""
    config = state.config
    if state.now - state.stirred_tick < config.election_ticks or not _all_is_told(state):
        return config.heartbeat_ticks
    calm_ticks = min(
        config.election_ticks // CALM_HEARTBEATS, CALM_FACTOR_MAX * config.heartbeat_ticks
    )
    return max(config.heartbeat_ticks, calm_ticks)


def _all_is_told(state: RaftState) -> bool:
    last_index = state.log.last_index
    return state.transfer is None and all(
        progress.flow is Flow.REPLICATE and progress.binding_index == last_index
        for progress in state.progress.values()
    )
