"""The face of the core: one method per input, one output, and what may be seen of the state.

No rule is here but the one that comes before all others: what a message's term means
(thesis 3.3).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final

from raftzmq import limits
from raftzmq.invariants import check
from raftzmq.raft import (
    calm,
    election,
    membership,
    reads,
    ready,
    replication,
    roles,
    snapshots,
    standing,
    transfer,
)
from raftzmq.raft.log import Log, ReadBack
from raftzmq.raft.messages import (
    AppendRequest,
    AppendResponse,
    HeartbeatRequest,
    HeartbeatResponse,
    Message,
    PreVoteRequest,
    PreVoteResponse,
    ProofRequest,
    ProofResponse,
    ReadIndexRequest,
    ReadIndexResponse,
    TimeoutNow,
    VoteRequest,
    VoteResponse,
)
from raftzmq.raft.progress import ProgressView
from raftzmq.raft.quorum import VoteResult, vote_result
from raftzmq.raft.state import RaftConfig, RaftState, Reads, send
from raftzmq.raft.types import (
    Configuration,
    Entry,
    EntryKind,
    HardState,
    LogPosition,
    NodeId,
    Ready,
    Role,
    Snapshot,
    Standing,
)

_HANDLERS: Final[dict[type[Message], Callable[[RaftState, Any], None]]] = {
    PreVoteRequest: election.handle_pre_vote_request,
    PreVoteResponse: election.handle_pre_vote_response,
    VoteRequest: election.handle_vote_request,
    VoteResponse: election.handle_vote_response,
    AppendRequest: replication.handle_append,
    AppendResponse: replication.handle_append_response,
    HeartbeatRequest: replication.handle_heartbeat,
    HeartbeatResponse: replication.handle_heartbeat_response,
    ReadIndexRequest: reads.handle_request,
    ReadIndexResponse: reads.handle_response,
    TimeoutNow: election.handle_timeout_now,
    ProofRequest: standing.handle_request,
    ProofResponse: standing.handle_response,
}


class Raft:
    """One node's part in the agreement; pure: same inputs, same outputs.

    Args:
        config: fixed for the life of this object.
        hard_state: as it is on disk.
        base: position just before the first entry on disk.
        entries: the entries on disk, from ``base.index + 1`` on.
        applied_index: what the state machine has applied already; an installed snapshot
            counts, so the host ends a snapshot swap before it starts Raft.
        rng: the only source of chance: timeouts and the salt of contexts.
        standing: UNKNOWN until ``admit``; RECOVERING when the disk says that it was so before.
        read_back: reads entries from the host's disk that were shed; needed only after ``shed``.

    Raises:
        InvariantBroken: log or applied_index contradict each other; the host compares them
            first and reports a damaged store under its own name.
    """

    __slots__ = ("_state",)

    def __init__(
        self,
        config: RaftConfig,
        *,
        hard_state: HardState,
        base: LogPosition,
        entries: Sequence[Entry],
        applied_index: int,
        rng: random.Random,
        standing: Standing = Standing.MEMBER,
        read_back: ReadBack | None = None,
    ) -> None:
        log = Log(base, entries) if read_back is None else Log(base, entries, read_back)
        last = log.last_position
        check(applied_index <= last.index, "what is applied is in the log", applied=applied_index)
        check(last.term <= hard_state.term, "no entry is of a later term than the current one")
        check(
            0 < config.heartbeat_ticks < config.election_ticks
            and 0 < config.leader_lost_ticks_max <= config.election_ticks,
            "heartbeats come more often than elections",
        )
        commit_index = max(base.index, applied_index)
        self._state = RaftState(
            config=config,
            rng=rng,
            log=log,
            reads=Reads(context_salt=rng.getrandbits(31) << 32),
            configuration=config.configuration,
            members=frozenset(),
            term=hard_state.term,
            voted_for=hard_state.voted_for,
            saved=hard_state,
            commit_index=commit_index,
            stable_index=last.index,
            entries_given=last.index,
            committed_given=commit_index,
            standing=standing,
        )
        membership.adopt(self._state, config.configuration)
        roles.restart_timer(self._state)

    # --- inputs -------------------------------------------------------------------------------

    def tick(self) -> None:
        """One tick passed."""
        state = self._state
        state.now += 1
        if state.role is Role.LEADER:
            election.check_quorum(state)
        if state.role is Role.LEADER:
            transfer.tick(state)
            replication.tick(state)
        else:
            election.tick(state)
            standing.tick(state)
            if state.reads.asked:
                reads.tick(state)

    def quiet_ticks(self) -> int:
        """After so many ticks something may be due, at the least 1; the ones before only count.

        Until a message arrives, that is, or anything else is called.
        """
        state = self._state
        if state.role is Role.LEADER:
            return max(1, min(replication.quiet_ticks(state), election.quorum_ticks(state)))
        if state.role is Role.FOLLOWER and state.may_promise and not state.reads.asked:
            return max(1, state.election_timeout - state.election_elapsed)
        return 1

    def held_up(self) -> None:
        """The host was kept from counting ticks, and may be again: it counts too few then, so that
        a leader has to say at its usual interval that it lives, whatever it was held up by."""
        calm.stir(self._state)

    def step(self, message: Message) -> None:
        """A message arrived, decoded and addressed to this node; from a peer, so never trusted
        to be recent, in order, or single."""
        state = self._state
        check(message.receiver == state.node, "a message reaches its receiver", message=message)
        if message.sender == state.node:
            return
        if message.term < state.term:
            _answer_old_term(state, message)
            return
        if message.term > state.term and not isinstance(message, PreVoteRequest | PreVoteResponse):
            if isinstance(message, VoteRequest) and election.is_disruptive(state, message):
                return
            leads = isinstance(message, AppendRequest | HeartbeatRequest)
            leader = message.sender if leads else None
            roles.become_follower(state, message.term, leader, "higher term")
        _HANDLERS[type(message)](state, message)

    def propose(self, data: bytes, kind: EntryKind = EntryKind.COMMAND) -> LogPosition | None:
        """Append an entry; None when refused, see ``propose_refusal``. Not yet committed."""
        return replication.propose(self._state, data, kind)

    def propose_refusal(self) -> str | None:
        """Why ``propose`` would refuse now: "not_leader", "transfer", "overloaded", or None."""
        return replication.propose_refusal(self._state)

    def read_index(self, context: int) -> None:
        """Ask what a linearizable read must wait for; a ReadState with ``context`` follows.

        At a leader without own-term commit the answer waits for it; the caller bounds the wait.
        """
        reads.ask(self._state, context)

    def peer_lost(self, peer: NodeId) -> None:
        """The transport saw the connection to ``peer`` break."""
        state = self._state
        if state.role is Role.LEADER:
            replication.lose_peer(state, peer)
        elif state.role is Role.FOLLOWER and state.leader == peer:
            roles.lose_leader(state)

    def peer_restarted(self, peer: NodeId) -> None:
        """``peer`` was started anew; its disk may hold less than it once acknowledged."""
        replication.restart_peer(self._state, peer)

    def admit(self, why: str) -> None:
        """Enough peers know this node as it is now, so it may vote and acknowledge."""
        standing.admit(self._state, why)

    def recover(self, why: str) -> None:
        """This node has forgotten what it promised; the host made durable that it recovers."""
        standing.recover(self._state, why)

    def transfer_leadership(self, target: NodeId | None) -> bool:
        """Hand leadership to a voter, None: to the most up-to-date one. False: not begun."""
        return transfer.begin(self._state, target)

    def set_electable(self, electable: bool, why: str) -> None:
        """Whether this node may come to lead; a leader goes on, to be handed over by the host.

        It may when nothing is left for which it may not: each ``why`` is set and lifted apart.

        Log and votes of a node that may not lead are as good as any other's: it acknowledges
        entries and votes, but does not campaign and ignores TimeoutNow.
        """
        election.set_electable(self._state, electable, why)

    def install_snapshot(self, snapshot: Snapshot, sender: NodeId, term: int) -> bool:
        """The host staged and verified a snapshot of the leader ``sender`` of ``term``.

        Returns:
            True: the next Ready says ``install``. False: it is of no use; drop the file.
        """
        return snapshots.install(self._state, snapshot, sender, term)

    def reapply(self, index: int) -> None:
        """The host's state went back to ``index``: hand out again what is committed after it.

        As at a restart. Ignored when nothing after ``index`` was handed out yet.

        Raises:
            InvariantBroken: the log no longer holds what follows ``index``.
        """
        snapshots.reapply(self._state, index)

    def snapshot_finished(self, peer: NodeId, *, installed: bool) -> None:
        """The transfer of a snapshot to ``peer`` ended, well or not."""
        snapshots.finished(self._state, peer, installed=installed)

    def persisted(self, position: LogPosition) -> None:
        """Everything up to ``position`` is on this node's disk."""
        replication.persisted(self._state, position)

    def compact(self, index: int) -> LogPosition:
        """Forget entries up to ``index``, applied durably by the host; returns the new base."""
        return snapshots.compact(self._state, index)

    def shed(self, index: int) -> None:
        """Forget the data of entries up to ``index``, to be read back from the host's disk."""
        snapshots.shed(self._state, index)

    def bound_memory(self, bytes_max: int) -> None:
        """Forget the data of entries before the last ``bytes_max``, but for uncommitted ones."""
        snapshots.bound_memory(self._state, bytes_max)

    # --- output -------------------------------------------------------------------------------

    def ready(self) -> Ready | None:
        """What the host has to do now; None when there is nothing."""
        return ready.collect(self._state)

    # --- what may be seen ---------------------------------------------------------------------

    @property
    def node(self) -> NodeId:
        """Name of this node."""
        return self._state.config.node

    @property
    def role(self) -> Role:
        """Role of this node."""
        return self._state.role

    @property
    def standing(self) -> Standing:
        """Whether this node may make promises."""
        return self._state.standing

    @property
    def term(self) -> int:
        """Current term."""
        return self._state.term

    @property
    def voted_for(self) -> NodeId | None:
        """Whom this node voted for in the current term."""
        return self._state.voted_for

    @property
    def leader(self) -> NodeId | None:
        """Leader of the current term as far as this node knows; itself included."""
        return self._state.leader

    @property
    def leadership(self) -> tuple[Role, int, NodeId | None]:
        """Role, term and leader at once, for who compares them often."""
        state = self._state
        return state.role, state.term, state.leader

    @property
    def commit_index(self) -> int:
        """Index up to which the log is known to be committed."""
        return self._state.commit_index

    @property
    def stable_index(self) -> int:
        """Index up to which the log is known to be on this node's disk."""
        return self._state.stable_index

    @property
    def last_position(self) -> LogPosition:
        """End of the log."""
        return self._state.log.last_position

    @property
    def base(self) -> LogPosition:
        """Position just before the first entry that is held."""
        return self._state.log.base

    @property
    def log(self) -> Log:
        """The log, to be read; nobody else writes it."""
        return self._state.log

    @property
    def log_bytes(self) -> int:
        """Bytes of the entries in memory, overhead included."""
        return self._state.log.size_bytes

    @property
    def configuration(self) -> Configuration:
        """Configuration in force."""
        return self._state.configuration

    @property
    def leader_contact_ticks(self) -> int:
        """Ticks since a leader was heard from; 0 at the leader itself."""
        state = self._state
        return 0 if state.role is Role.LEADER else state.now - state.contact_tick

    @property
    def long_without_leader(self) -> bool:
        """Whether nobody who is fit came to lead in all this time, so that an unfit node should."""
        last_resort_ticks = limits.LAST_RESORT_ELECTIONS * self._state.config.election_ticks
        return self.leader_contact_ticks >= last_resort_ticks

    def has_leader_lease(self) -> bool:
        """Whether this node has a live leader, itself included, and so refuses to vote."""
        return roles.has_leader_lease(self._state)

    def is_majority(self, nodes: Collection[NodeId]) -> bool:
        """Whether ``nodes`` are a quorum of the configuration in force."""
        votes = dict.fromkeys(nodes, True)
        return vote_result(self._state.configuration, votes) is VoteResult.WON

    def progress(self) -> dict[NodeId, ProgressView]:
        """The leader's view of its peers; empty at other nodes."""
        state = self._state
        return {
            peer: ProgressView(
                progress.match_index,
                progress.next_index,
                progress.flow,
                state.now - progress.contact_tick < state.config.election_ticks,
            )
            for peer, progress in state.progress.items()
        }


def _answer_old_term(state: RaftState, message: Message) -> None:
    """Requests of an old term are told the current one; old responses mean nothing."""
    match message:
        case AppendRequest():
            replication.refuse_append(state, message.sender)
        case HeartbeatRequest():
            send(
                state,
                HeartbeatResponse(
                    sender=state.node,
                    receiver=message.sender,
                    term=state.term,
                    round=0,
                    binding=state.may_promise,
                ),
            )
        case VoteRequest():
            send(
                state,
                VoteResponse(
                    sender=state.node, receiver=message.sender, term=state.term, granted=False
                ),
            )
        case PreVoteRequest():
            election.handle_pre_vote_request(state, message)
        case PreVoteResponse():
            if not message.granted:
                election.handle_pre_vote_response(state, message)
        case ReadIndexRequest():
            reads.refuse(state, message)
        case _:
            pass
