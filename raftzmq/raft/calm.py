"""How often a leader says that it lives: seldom, while it has nothing else to say.

A heartbeat keeps the followers from standing for election, confirms reads, and brings to light
what was lost on the way. While nobody asks anything and every follower holds all that there is,
only the first is left, and CALM_HEARTBEATS in the shortest election timeout do for that, as none
of them is kept waiting by work. Half of what idle nodes used was to wake up for more of them.
"""

from __future__ import annotations

from typing import Final

from raftzmq.raft.progress import Flow
from raftzmq.raft.state import RaftState

CALM_HEARTBEATS: Final = 3
"""In an election timeout. With two, a single one that is late would be all that is left."""


def stir(state: RaftState) -> None:
    """Something happens at this leader: a proposal, a read, the beginning of its term."""
    state.stirred_tick = state.now


def heartbeat_ticks(state: RaftState) -> int:
    """From one heartbeat of this leader to the next, as things are."""
    config = state.config
    if state.now - state.stirred_tick < config.election_ticks or not _all_is_told(state):
        return config.heartbeat_ticks
    return max(config.heartbeat_ticks, config.election_ticks // CALM_HEARTBEATS)


def _all_is_told(state: RaftState) -> bool:
    last_index = state.log.last_index
    return state.transfer is None and all(
        progress.flow is Flow.REPLICATE and progress.binding_index == last_index
        for progress in state.progress.values()
    )
