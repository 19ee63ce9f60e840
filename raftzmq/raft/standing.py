"""Whether this node may make promises, and how one that forgot its promises earns that again.

A node that lost its disk, or runs on an older copy of it, has forgotten votes it gave and
entries it acknowledged. While it is RECOVERING it replicates like a learner, but it neither
votes nor campaigns, none of its acknowledgements counts, and it confirms no leader. The
denominator of every quorum stays what it was, so all progress is made by the others.

It is done when it holds, durably, an entry that

1. the leader of this term proposed after this node began to recover, and that
2. is committed, which needs a majority that does not contain this node.

Why that is enough. Let T be the term of that entry and M the majority that committed it; any
majority meets M in some node x, which is not this one.

* Forgotten acknowledgements. What they helped to commit in a term up to T is in the log of T's
  leader (thesis 3.6.3) before the proof entry, so this node holds it again. In a term above T:
  its leader was elected before this node began to recover, by a majority that contains an x,
  and x would not have accepted the later entry of the lower term T.
* Forgotten votes above T. Their candidate asked before this node began to recover, so its log
  lacks the proof entry and each x refuses it (thesis 3.6.1): it cannot win.
* The forgotten vote in T: it is given to the leader of T when recovering ends.

The idea is that of the recovery protocol of Viewstamped Replication Revisited, section 4.3; see
docs/decisions/008-a-node-that-forgot.md.
"""

from __future__ import annotations

from raftzmq.raft import reads, replication, roles
from raftzmq.raft.messages import ProofRequest, ProofResponse
from raftzmq.raft.state import RaftState, note, send
from raftzmq.raft.types import LogPosition, Role, Standing, StandingChanged


def admit(state: RaftState, why: str) -> None:
    """The peers know this node as it is: it may promise. Not for one that recovers."""
    if state.standing is Standing.UNKNOWN:
        state.standing = Standing.MEMBER
        note(state, StandingChanged(standing=state.standing, why=why))
        _acknowledge_anew(state)


def recover(state: RaftState, why: str) -> None:
    """This node has forgotten promises; the host has made that durable."""
    if state.standing is Standing.RECOVERING:
        return
    if state.role is not Role.FOLLOWER:
        roles.become_follower(state, state.term, None, why)
    reads.refuse_all(state)
    state.standing = Standing.RECOVERING
    state.proof, state.proof_context = None, 0
    note(state, StandingChanged(standing=state.standing, why=why))


def tick(state: RaftState) -> None:
    """Ask the leader for a proof, again per heartbeat interval, until one of its term came."""
    if (
        state.standing is not Standing.RECOVERING
        or state.leader is None
        or (state.proof is not None and state.proof.term == state.term)
        or state.now % state.config.heartbeat_ticks
    ):
        return
    state.proof_context = state.proof_context or state.rng.getrandbits(63) | 1
    send(
        state,
        ProofRequest(
            sender=state.node,
            receiver=state.leader,
            term=state.term,
            context=state.proof_context,
        ),
    )


def handle_request(state: RaftState, message: ProofRequest) -> None:
    """A recovering peer asks; only a leader has an answer."""
    if state.role is not Role.LEADER or message.sender not in state.progress:
        return
    send(
        state,
        ProofResponse(
            sender=state.node,
            receiver=message.sender,
            term=state.term,
            context=message.context,
            index=replication.propose_proof(state, message.sender, message.context),
        ),
    )


def handle_response(state: RaftState, message: ProofResponse) -> None:
    """The leader named the entry; one of an earlier life or request proves nothing."""
    if (
        state.standing is Standing.RECOVERING
        and message.sender == state.leader
        and message.context == state.proof_context != 0
    ):
        state.proof = LogPosition(message.index, message.term)


def settle(state: RaftState) -> None:
    """End recovering if the proof is held; see the head of this file."""
    proof = state.proof
    if (
        state.standing is not Standing.RECOVERING
        or proof is None
        or proof.term != state.term
        or state.leader is None
        or min(state.commit_index, state.stable_index) < proof.index
    ):
        return
    if state.voted_for is None:
        state.voted_for = state.leader
    state.standing = Standing.MEMBER
    state.proof = None
    state.recovered = True
    note(state, StandingChanged(standing=state.standing, why="holds all it may have promised"))
    _acknowledge_anew(state)


def _acknowledge_anew(state: RaftState) -> None:
    """What was acknowledged without standing counts from now on."""
    if state.role is Role.FOLLOWER and state.leader and state.agreed.term == state.term:
        replication.acknowledge(state, state.leader, state.agreed.index)
