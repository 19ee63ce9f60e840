"""Elections: timeouts, pre-vote, votes, check-quorum (thesis 3.4, 4.2.3, 6.2, 9.6).

Pre-vote and check-quorum belong together: with them, a node that was away cannot depose a
leader that a quorum hears, and a leader that no quorum hears deposes itself.
"""

from __future__ import annotations

from raftzmq.raft import calm, membership, replication, roles
from raftzmq.raft.messages import (
    PreVoteRequest,
    PreVoteResponse,
    TimeoutNow,
    VoteRequest,
    VoteResponse,
)
from raftzmq.raft.quorum import VoteResult, committed_index, vote_result
from raftzmq.raft.state import RaftState, note, send
from raftzmq.raft.types import NodeId, Role, VoteCast


def tick(state: RaftState) -> None:
    """A tick at a node that does not lead: campaign once the drawn timeout has passed."""
    state.election_elapsed += 1
    if state.election_elapsed < state.election_timeout:
        return
    if membership.may_campaign(state):
        start_pre_vote(state)
    else:
        roles.restart_timer(state)


def quorum_ticks(state: RaftState) -> int:
    """Ticks until a leader that hears nobody any more steps down (thesis 6.2)."""
    contact = {peer: progress.binding_tick for peer, progress in state.progress.items()}
    contact[state.node] = state.now
    heard = committed_index(state.configuration, contact)
    return state.config.election_ticks - (state.now - heard)


def check_quorum(state: RaftState) -> None:
    """A leader that no quorum answered within an election timeout steps down (thesis 6.2)."""
    if quorum_ticks(state) <= 0:
        roles.become_follower(state, state.term, None, "no quorum answers")


def start_pre_vote(state: RaftState) -> None:
    """Ask whether a vote could be won, before disturbing anybody with a new term."""
    why = "lost the leader's connection" if roles.is_hasty(state) else "election timeout"
    roles.become_pre_candidate(state, why)
    if _count(state, state.node, granted=True) is VoteResult.WON:
        campaign(state, transfer=False)
        return
    last = state.log.last_position
    for voter in _other_voters(state):
        send(
            state,
            PreVoteRequest(
                sender=state.node,
                receiver=voter,
                term=state.term + 1,
                last_index=last.index,
                last_term=last.term,
            ),
        )


def campaign(state: RaftState, *, transfer: bool) -> None:
    """Start a term and ask for votes; they leave after term and own vote are on disk."""
    roles.become_candidate(state, "leader hands over" if transfer else "pre-vote won")
    if _count(state, state.node, granted=True) is VoteResult.WON:
        _win(state)
        return
    last = state.log.last_position
    for voter in _other_voters(state):
        send(
            state,
            VoteRequest(
                sender=state.node,
                receiver=voter,
                term=state.term,
                last_index=last.index,
                last_term=last.term,
                transfer=transfer,
            ),
        )


def is_disruptive(state: RaftState, message: VoteRequest) -> bool:
    """Whether a vote request is to be dropped unseen: there is a live leader (thesis 4.2.3).

    Not when the leader itself hands over, and not when the candidate is that leader: who
    campaigns leads no longer.
    """
    return not message.transfer and message.sender != state.leader and roles.has_leader_lease(state)


def handle_pre_vote_request(state: RaftState, message: PreVoteRequest) -> None:
    """Answer whether a vote would be given; nothing changes here, timer included.

    But for the few ticks after a leader's death, in which everybody hurries: there, who grants
    lets the other go first, as two that hurry at once split the vote.
    """
    calm.stir(state)
    why = _pre_vote_objection(state, message)
    granted = why is None
    if granted and roles.is_hasty(state):
        roles.let_pass(state)
    _cast(state, message, granted, why or "log is up to date", pre_vote=True)
    send(
        state,
        PreVoteResponse(
            sender=state.node,
            receiver=message.sender,
            term=message.term if granted else state.term,
            granted=granted,
        ),
    )


def handle_pre_vote_response(state: RaftState, message: PreVoteResponse) -> None:
    """Count it. A refusal by a higher term is adopted, else that term could never be passed."""
    if not message.granted and message.term > state.term:
        roles.become_follower(state, message.term, None, "pre-vote refused by a higher term")
        return
    if state.role is not Role.PRE_CANDIDATE:
        return
    if message.granted and message.term != state.term + 1:
        return
    result = _count(state, message.sender, granted=message.granted)
    if result is VoteResult.WON:
        campaign(state, transfer=False)
    elif result is VoteResult.LOST:
        roles.become_follower(state, state.term, None, "pre-vote lost")


def handle_vote_request(state: RaftState, message: VoteRequest) -> None:
    """Vote at most once per term, for a log that is up to date (thesis 3.4, 3.6.1)."""
    why = _vote_objection(state, message)
    granted = why is None
    if granted:
        state.voted_for = message.sender
        roles.restart_timer(state)
    _cast(state, message, granted, why or "log is up to date", pre_vote=False)
    send(
        state,
        VoteResponse(sender=state.node, receiver=message.sender, term=state.term, granted=granted),
    )


def handle_vote_response(state: RaftState, message: VoteResponse) -> None:
    """Count a vote of this term."""
    if state.role is not Role.CANDIDATE:
        return
    result = _count(state, message.sender, granted=message.granted)
    if result is VoteResult.WON:
        _win(state)
    elif result is VoteResult.LOST:
        roles.become_follower(state, state.term, None, "vote lost")


def handle_timeout_now(state: RaftState, message: TimeoutNow) -> None:
    """The leader hands over to this node (thesis 3.10)."""
    if (
        state.role is Role.FOLLOWER
        and message.sender == state.leader
        and membership.may_campaign(state)
    ):
        campaign(state, transfer=True)


def set_electable(state: RaftState, electable: bool, why: str) -> None:
    """Let this node campaign, as far as ``why`` goes, or end a campaign and begin none.

    A leader stays one: its log is in order, and to end its term before another node is ready
    would stop the cluster.
    """
    if electable:
        state.unfit.discard(why)
    else:
        state.unfit.add(why)
    if state.unfit and state.role in (Role.PRE_CANDIDATE, Role.CANDIDATE):
        roles.become_follower(state, state.term, None, "may not lead")


def _win(state: RaftState) -> None:
    roles.become_leader(state)
    replication.start_term(state)


def _count(state: RaftState, voter: NodeId, *, granted: bool) -> VoteResult:
    state.votes[voter] = granted
    return vote_result(state.configuration, state.votes)


def _other_voters(state: RaftState) -> list[NodeId]:
    voters = state.configuration.voters | state.configuration.outgoing
    return sorted(voters - {state.node})


def _pre_vote_objection(state: RaftState, message: PreVoteRequest) -> str | None:
    if message.term < state.term:
        return "term is old"
    if not state.may_promise:
        return f"standing is {state.standing.value}"
    if message.term == state.term:
        objection = _ballot_objection(state, message.sender)
        if objection is not None:
            return objection
    if message.sender != state.leader and roles.has_leader_lease(state):
        return "leader is alive"
    if not _is_up_to_date(state, message):
        return "log is behind"
    if _outranks(state, message):
        return "own pre-vote goes first"
    return None


def _vote_objection(state: RaftState, message: VoteRequest) -> str | None:
    if not state.may_promise:
        return f"standing is {state.standing.value}"
    objection = _ballot_objection(state, message.sender)
    if objection is not None:
        return objection
    return None if _is_up_to_date(state, message) else "log is behind"


def _ballot_objection(state: RaftState, candidate: NodeId) -> str | None:
    if state.voted_for == candidate:
        return None
    if state.voted_for is not None:
        return f"voted for {state.voted_for}"
    return None if state.leader is None else f"{state.leader} leads this term"


def _is_up_to_date(state: RaftState, message: PreVoteRequest | VoteRequest) -> bool:
    """Last term first, then length (thesis 3.6.1)."""
    last = state.log.last_position
    return (message.last_term, message.last_index) >= (last.term, last.index)


def _outranks(state: RaftState, message: PreVoteRequest) -> bool:
    """Whether two equal nodes, both in haste after a leader's death, would split the vote.

    Only for as long as the haste lasts: beyond it, a node that cannot win must not hold up one
    that can.
    """
    last = state.log.last_position
    return (
        state.role is Role.PRE_CANDIDATE
        and roles.is_hasty(state)
        and (message.last_term, message.last_index) == (last.term, last.index)
        and message.sender < state.node
    )


def _cast(
    state: RaftState,
    message: PreVoteRequest | VoteRequest,
    granted: bool,
    why: str,
    *,
    pre_vote: bool,
) -> None:
    note(
        state,
        VoteCast(
            term=message.term,
            candidate=message.sender,
            granted=granted,
            pre_vote=pre_vote,
            why=why,
        ),
    )
