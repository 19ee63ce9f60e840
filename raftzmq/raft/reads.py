"""Linearizable reads without writing to the log: ReadIndex (thesis 6.4).

The leader answers with its commit_index once it has (1) committed an entry of its own term, so
that the commit_index covers every earlier term, and (2) learned after the read arrived that a
quorum still follows it. A follower's ReadIndexRequest is such news of that follower: it was in
this term after its read began. In three nodes this completes the quorum at once; otherwise
the reads of one flush share a round of heartbeats. No clock is trusted; there are no lease
reads.
"""

from __future__ import annotations

from raftzmq.raft import calm, commit
from raftzmq.raft.messages import HeartbeatResponse, ReadIndexRequest, ReadIndexResponse
from raftzmq.raft.quorum import VoteResult, vote_result
from raftzmq.raft.state import RaftState, ReadRound, send
from raftzmq.raft.types import NodeId, ReadState, Role


def ask(state: RaftState, context: int) -> None:
    """The host wants to read; the outcome comes as a ReadState."""
    if state.role is Role.LEADER:
        _arrive(state, state.node, context)
        return
    if state.leader is None or not state.may_promise:
        # By asking, this node would confirm the leader; without standing it cannot.
        state.read_states.append(ReadState(context, None))
        return
    reads = state.reads
    reads.context_count += 1
    wire_context = reads.context_salt + reads.context_count
    reads.asked[wire_context] = (context, state.now)
    _ask_leader(state, wire_context)


def handle_request(state: RaftState, message: ReadIndexRequest) -> None:
    """A follower asks; refused unless this node leads."""
    progress = state.progress.get(message.sender)
    if state.role is not Role.LEADER or progress is None:
        refuse(state, message)
        return
    progress.contact_tick = progress.binding_tick = state.now
    _arrive(state, message.sender, message.context)


def refuse(state: RaftState, message: ReadIndexRequest) -> None:
    """Tell the asking node to ask elsewhere or again."""
    _answer(state, message.sender, message.context, 0)


def handle_response(state: RaftState, message: ReadIndexResponse) -> None:
    """The leader answered; a context that is not awaited any more is ignored."""
    if message.sender != state.leader:
        return
    asked = state.reads.asked.pop(message.context, None)
    if asked is not None:
        # So that the read need not wait until the commit is told by other means.
        commit.learn(state, message.index)
        state.read_states.append(ReadState(asked[0], message.index or None))


def commit_advanced(state: RaftState) -> None:
    """The leader committed: reads that waited for the first commit of the term go on."""
    reads = state.reads
    if reads.awaiting_commit and _committed_in_term(state):
        waiting, reads.awaiting_commit = reads.awaiting_commit, []
        for asker, context in waiting:
            _arrive(state, asker, context)


def begin_round(state: RaftState) -> bool:
    """Close the open reads into a round; True: the caller sends heartbeats that carry it."""
    reads = state.reads
    if not reads.open_local and not reads.open_remote:
        return False
    reads.round += 1
    reads.rounds.append(
        ReadRound(reads.round, state.commit_index, reads.open_local, reads.open_remote)
    )
    reads.open_local, reads.open_remote = [], {}
    return True


def handle_heartbeat_response(state: RaftState, message: HeartbeatResponse) -> None:
    """A peer confirmed a round, and with it all earlier ones."""
    progress = state.progress[message.sender]
    if message.round <= progress.round_acked or message.round > state.reads.round:
        return
    progress.round_acked = message.round
    rounds = state.reads.rounds
    for round_ in rounds:
        if round_.number > message.round:
            break
        _release(state, round_)
    while rounds and not rounds[0].local and not rounds[0].remote:
        rounds.popleft()


def tick(state: RaftState) -> None:
    """Refuse what the leader has not answered within an election timeout; ask again before.

    Question or answer may be lost while the leader is well. The same context may be asked twice:
    the leader looks at its commit_index after the read began, each time.
    """
    asked = state.reads.asked
    while asked:
        wire_context, (context, tick) = next(iter(asked.items()))
        if state.now - tick < state.config.election_ticks:
            break
        del asked[wire_context]
        state.read_states.append(ReadState(context, None))
    for wire_context, (_, tick) in asked.items():
        if (state.now - tick) % (2 * state.config.heartbeat_ticks) == 0:
            _ask_leader(state, wire_context)


def refuse_all(state: RaftState) -> None:
    """Term, role or leader changed: no answer may be given on the old grounds any more.

    Askers elsewhere are not told: they see the change themselves, or their time runs out.
    """
    reads = state.reads
    contexts = [context for context, _ in reads.asked.values()]
    contexts += [context for asker, context in reads.awaiting_commit if asker == state.node]
    for round_ in reads.rounds:
        contexts += round_.local
    contexts += reads.open_local
    reads.asked.clear()
    reads.awaiting_commit.clear()
    reads.rounds.clear()
    reads.open_local, reads.open_remote = [], {}
    state.read_states.extend(ReadState(context, None) for context in contexts)


def _ask_leader(state: RaftState, wire_context: int) -> None:
    if state.leader is not None:
        send(
            state,
            ReadIndexRequest(
                sender=state.node, receiver=state.leader, term=state.term, context=wire_context
            ),
        )


def _arrive(state: RaftState, asker: NodeId, context: int) -> None:
    calm.stir(state)
    if not _committed_in_term(state):
        state.reads.awaiting_commit.append((asker, context))
    elif _is_confirmed(state, {state.node: True, asker: True}):
        _answer(state, asker, context, state.commit_index)
    elif asker == state.node:
        state.reads.open_local.append(context)
    else:
        state.reads.open_remote.setdefault(asker, []).append(context)


def _release(state: RaftState, round_: ReadRound) -> None:
    votes = {
        peer: True
        for peer, progress in state.progress.items()
        if progress.round_acked >= round_.number
    }
    votes[state.node] = True
    if _is_confirmed(state, votes):
        state.read_states.extend(ReadState(context, round_.index) for context in round_.local)
        round_.local = []
    for asker in list(round_.remote):
        if _is_confirmed(state, {**votes, asker: True}):
            for context in round_.remote.pop(asker):
                _answer(state, asker, context, round_.index)


def _answer(state: RaftState, asker: NodeId, context: int, index: int) -> None:
    if asker == state.node:
        state.read_states.append(ReadState(context, index or None))
        return
    send(
        state,
        ReadIndexResponse(
            sender=state.node, receiver=asker, term=state.term, context=context, index=index
        ),
    )


def _is_confirmed(state: RaftState, votes: dict[NodeId, bool]) -> bool:
    return vote_result(state.configuration, votes) is VoteResult.WON


def _committed_in_term(state: RaftState) -> bool:
    return state.log.term_at(state.commit_index) == state.term
