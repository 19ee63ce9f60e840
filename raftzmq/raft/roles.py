"""Changes of role: the only writer of term, voted_for, role and leader.

::

    FOLLOWER ──timeout──▶ PRE_CANDIDATE ──quorum would vote──▶ CANDIDATE ──quorum──▶ LEADER
        ▲ ◀── TimeoutNow skips pre-vote: FOLLOWER ─────────────▶ │                    │
        └────────── higher term, leader heard, vote lost, quorum lost ────────────────┘

Whatever belongs to the old role (votes, progress, reads, transfer) ends here with it. Nothing
is sent from here.
"""

from __future__ import annotations

from raftzmq.invariants import check
from raftzmq.raft import membership, reads, transfer
from raftzmq.raft.progress import Progress
from raftzmq.raft.state import RaftState, note
from raftzmq.raft.types import NodeId, Role, RoleChanged


def become_follower(state: RaftState, term: int, leader: NodeId | None, why: str) -> None:
    """Follow ``leader`` (None: not known yet) in ``term``; a new term clears the vote.

    Raises:
        InvariantBroken: the term would fall (thesis 3.3).
    """
    check(term >= state.term, "the term never falls", term=term, current=state.term)
    if (state.term, state.role, state.leader) == (term, Role.FOLLOWER, leader):
        return
    was = state.role
    if was is Role.LEADER:
        state.contact_tick = state.now
    _leave(state, "finished" if term > state.term else "given up")
    if term > state.term:
        state.term = term
        state.voted_for = None
        state.leader_lost_tick = None
    state.role = Role.FOLLOWER
    state.leader = leader
    if was is not Role.FOLLOWER:
        # A follower that only learns a term keeps its timer: else a node that cannot win would
        # hold up one that can.
        restart_timer(state)
    _announce(state, why)


def become_pre_candidate(state: RaftState, why: str) -> None:
    """Ask who would vote for this node; term and vote stay (thesis 9.6)."""
    check(state.role is not Role.LEADER, "a leader does not campaign")
    _leave(state, "given up")
    state.role = Role.PRE_CANDIDATE
    state.leader = None
    restart_timer(state)
    _announce(state, why)


def become_candidate(state: RaftState, why: str) -> None:
    """Start a term of its own and vote for itself (thesis 3.4)."""
    check(state.role is not Role.LEADER, "a leader does not campaign")
    _leave(state, "given up")
    state.term += 1
    state.voted_for = state.node
    state.leader_lost_tick = None
    state.role = Role.CANDIDATE
    state.leader = None
    restart_timer(state)
    _announce(state, why)


def become_leader(state: RaftState) -> None:
    """Lead the term; nothing is known of the peers' logs yet (thesis 3.5)."""
    check(state.role is Role.CANDIDATE, "only a candidate becomes leader", role=state.role)
    _leave(state, "given up")
    state.role = Role.LEADER
    state.leader = state.node
    state.reads.round = 0
    state.heartbeat_elapsed = 0
    next_index = state.log.last_index + 1
    for peer in sorted(state.members - {state.node}):
        state.progress[peer] = Progress(next_index, state.now, state.now)
    state.replicate_due = True
    _announce(state, "won the vote")


def hear_leader(state: RaftState, leader: NodeId) -> None:
    """A message of this term's leader arrived: follow it, and wait anew (thesis 3.4)."""
    if state.role is not Role.FOLLOWER or state.leader != leader:
        become_follower(state, state.term, leader, "heard the leader")
        restart_timer(state)
    state.contact_tick = state.now
    if state.leader_lost_tick is not None:
        if state.now - state.leader_lost_tick <= state.config.leader_lost_ticks_max:
            # What a dead leader's connection still held proves nothing about its life.
            return
        state.leader_lost_tick = None
        restart_timer(state)
    state.election_elapsed = 0


def lose_leader(state: RaftState) -> None:
    """The connection to the leader broke: its lease ends here and the wait is short."""
    state.leader_lost_tick = state.now
    reads.refuse_all(state)
    restart_timer(state)


def has_leader_lease(state: RaftState) -> bool:
    """Whether this node has a live leader and so takes part in no election (thesis 4.2.3)."""
    if state.role is Role.LEADER:
        return True
    return (
        state.leader is not None
        and state.leader_lost_tick is None
        and state.now - state.contact_tick < state.config.election_ticks
    )


def is_hasty(state: RaftState) -> bool:
    """Whether the leader's connection broke so recently that pre-vote need not wait."""
    return (
        state.leader_lost_tick is not None
        and state.now - state.leader_lost_tick < state.config.election_ticks
    )


def restart_timer(state: RaftState) -> None:
    """Wait a newly drawn time before the next attempt, so that votes split rarely twice."""
    ticks = state.config.election_ticks
    state.election_elapsed = 0
    if membership.is_alone(state):
        state.election_timeout = 1
    elif is_hasty(state):
        state.election_timeout = state.rng.randint(1, state.config.leader_lost_ticks_max)
    else:
        state.election_timeout = ticks + state.rng.randrange(ticks)


def let_pass(state: RaftState) -> None:
    """Wait a little for another's candidacy; only in haste, when the wait is short anyway."""
    restart_timer(state)
    state.election_timeout += state.config.leader_lost_ticks_max


def _leave(state: RaftState, transfer_end: str) -> None:
    reads.refuse_all(state)
    transfer.end(state, transfer_end)
    state.votes.clear()
    state.progress.clear()


def _announce(state: RaftState, why: str) -> None:
    note(state, RoleChanged(term=state.term, role=state.role, leader=state.leader, why=why))
