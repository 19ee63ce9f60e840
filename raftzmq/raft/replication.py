"""Log replication, both ends (thesis 3.5, 3.6).

What the leader has to say is said in ``flush``, once per Ready, so that proposals made between
two Readies share messages. That an entry is committed is no message of its own: it travels with
the next append, the next heartbeat or the answer to a ReadIndex, at the latest at the next tick.
A lone write would else cost each follower a second wake-up and a second acknowledgement.
"""

from __future__ import annotations

from raftzmq.invariants import check
from raftzmq.raft import calm, commit, reads, roles, snapshots, transfer
from raftzmq.raft.log import ENTRY_OVERHEAD_BYTES
from raftzmq.raft.messages import (
    AppendRequest,
    AppendResponse,
    HeartbeatRequest,
    HeartbeatResponse,
)
from raftzmq.raft.progress import Flow, Progress
from raftzmq.raft.quorum import committed_index
from raftzmq.raft.state import RaftState, note, send
from raftzmq.raft.types import (
    Entry,
    EntryKind,
    LogPosition,
    LogTruncated,
    NodeId,
    ProgressChanged,
    Role,
)

# --- the leader's own log ---------------------------------------------------------------------


def start_term(state: RaftState) -> None:
    """Append a no-op: only an entry of its own term tells a leader what is committed (6.4)."""
    _append_own(state, EntryKind.NOOP, b"")


def propose_refusal(state: RaftState) -> str | None:
    """Why a proposal would be refused now: not_leader, transfer, overloaded; None: it is taken.

    The bound on uncommitted bytes keeps a leader that is cut off from growing without end; it
    may be passed by one proposal.
    """
    if state.role is not Role.LEADER:
        return "not_leader"
    if state.transfer is not None:
        return "transfer"
    uncommitted = state.log.bytes_between(state.commit_index, state.log.last_index)
    if uncommitted >= state.config.uncommitted_bytes_max:
        return "overloaded"
    return None


def propose(
    state: RaftState, data: bytes, kind: EntryKind = EntryKind.COMMAND
) -> LogPosition | None:
    """Append an entry to the leader's log; None when refused, see ``propose_refusal``."""
    if propose_refusal(state) is not None:
        return None
    return _append_own(state, kind, data)


def persisted(state: RaftState, position: LogPosition) -> None:
    """This node's disk holds everything up to ``position``; a leader now counts itself.

    Ignored when the log holds another entry there by now.
    """
    if state.log.term_at(position.index) != position.term:
        return
    if position.index > state.stable_index:
        state.stable_index = position.index
        if state.role is Role.LEADER:
            _count_commit(state)


# --- the leader and its peers -----------------------------------------------------------------


def tick(state: RaftState) -> None:
    """Heartbeats, at their interval, and commits that no message has told yet."""
    state.heartbeat_elapsed += 1
    if state.heartbeat_elapsed >= calm.heartbeat_ticks(state):
        broadcast_heartbeat(state)
    for progress in state.progress.values():
        if progress.flow is Flow.REPLICATE and progress.commit_sent < state.commit_index:
            progress.nudge = True
            state.replicate_due = True


def quiet_ticks(state: RaftState) -> int:
    """Ticks until ``tick`` or that of a transfer may have something to do."""
    untold = any(
        progress.flow is Flow.REPLICATE and progress.commit_sent < state.commit_index
        for progress in state.progress.values()
    )
    if untold or state.transfer is not None:
        return 1
    return calm.heartbeat_ticks(state) - state.heartbeat_elapsed


def broadcast_heartbeat(state: RaftState) -> None:
    """Tell every peer that the leader lives, and the current ReadIndex round.

    commit_index is cut to what the peer is known to hold: beyond it, its log is unverified.
    """
    state.heartbeat_elapsed = 0
    for peer, progress in state.progress.items():
        commit_index = min(progress.match_index, state.commit_index)
        progress.commit_sent = max(progress.commit_sent, commit_index)
        send(
            state,
            HeartbeatRequest(
                sender=state.node,
                receiver=peer,
                term=state.term,
                commit_index=commit_index,
                round=state.reads.round,
            ),
        )


def flush(state: RaftState) -> None:
    """Send each peer what it may be sent now."""
    if not state.replicate_due:
        return
    state.replicate_due = False
    for peer, progress in state.progress.items():
        _send_due(state, peer, progress)


def handle_append_response(state: RaftState, message: AppendResponse) -> None:
    """A peer accepted or rejected an append."""
    progress = state.progress.get(message.sender)
    if progress is None or message.match_index > state.log.last_index:
        return
    _heard(state, progress, message.binding)
    if message.accepted:
        _accepted(state, message, progress)
    elif progress.flow is not Flow.SNAPSHOT:
        _rejected(state, message, progress)


def handle_heartbeat_response(state: RaftState, message: HeartbeatResponse) -> None:
    """A peer lives: end a pause, look after acknowledgements that do not come, count rounds."""
    progress = state.progress.get(message.sender)
    if progress is None:
        return
    _heard(state, progress, message.binding)
    if progress.flow is Flow.PROBE:
        progress.paused = False
        state.replicate_due = True
    elif progress.flow is Flow.REPLICATE:
        # Who binds itself by now may have acknowledged before it did.
        match_index = progress.binding_index if message.binding else progress.match_index
        if match_index < state.log.last_index:
            if match_index == progress.heartbeat_match:
                progress.nudge = True
                state.replicate_due = True
            progress.heartbeat_match = match_index
    if message.binding:
        reads.handle_heartbeat_response(state, message)
    transfer.advance(state, message.sender)


def lose_peer(state: RaftState, peer: NodeId) -> None:
    """The connection to a peer broke: what is in flight is lost, so probe when it answers."""
    progress = state.progress.get(peer)
    if progress is not None:
        probe(state, peer, progress, progress.match_index + 1, paused=True)


def restart_peer(state: RaftState, peer: NodeId) -> None:
    """The peer was started anew, maybe with an empty disk: nothing is known of its log.

    What was committed with its help stays committed; the rest it has to acknowledge again.
    """
    known = state.progress.get(peer)
    if known is not None:
        state.progress[peer] = Progress(
            state.log.last_index + 1, known.contact_tick, known.binding_tick
        )
        state.replicate_due = True


def propose_proof(state: RaftState, peer: NodeId, context: int) -> int:
    """Append a no-op for a recovering peer, once per context; returns its index."""
    progress = state.progress[peer]
    if progress.proof is None or progress.proof[0] != context:
        progress.proof = context, _append_own(state, EntryKind.NOOP, b"").index
    return progress.proof[1]


def probe(
    state: RaftState, peer: NodeId, progress: Progress, next_index: int, *, paused: bool = False
) -> None:
    """Put a peer into PROBE; it is told by an append at ``next_index - 1`` what to answer."""
    before = progress.flow
    progress.probe(next_index, paused=paused)
    state.replicate_due = True
    if before is not Flow.PROBE:
        note_progress(state, peer, progress)


def note_progress(state: RaftState, peer: NodeId, progress: Progress) -> None:
    """Tell the host that the flow to a peer changed."""
    note(
        state,
        ProgressChanged(
            peer=peer,
            flow=progress.flow.value,
            match_index=progress.match_index,
            next_index=progress.next_index,
        ),
    )


def _append_own(state: RaftState, kind: EntryKind, data: bytes) -> LogPosition:
    index = state.log.last_index + 1
    calm.stir(state)
    state.log.append((Entry(index, state.term, kind, data),))
    state.replicate_due = True
    return LogPosition(index, state.term)


def _send_due(state: RaftState, peer: NodeId, progress: Progress) -> None:
    if progress.flow is Flow.PROBE:
        if not progress.paused:
            _send_append(state, peer, progress, state.config.append_bytes_max)
        return
    # SNAPSHOT sends nothing; and looking for an entry that is compacted enters it on the way.
    while progress.next_index <= state.log.last_index and progress.flow is Flow.REPLICATE:
        room = state.config.inflight_bytes_max - progress.inflight_bytes
        if len(progress.inflight) >= state.config.inflight_messages_max or room <= 0:
            break
        if not _send_append(state, peer, progress, min(room, state.config.append_bytes_max)):
            break
    if progress.flow is Flow.REPLICATE and progress.nudge:
        _send_append(state, peer, progress, 0)


def _send_append(state: RaftState, peer: NodeId, progress: Progress, bytes_max: int) -> bool:
    """Send one append; with ``bytes_max`` 0 an empty one. False: nothing could be sent."""
    log = state.log
    prev_index = progress.next_index - 1
    prev_term = log.term_at(prev_index)
    if prev_term is None:
        snapshots.want(state, peer, progress)
        return False
    entries: tuple[Entry, ...] = ()
    size_bytes = 0
    last_index = prev_index
    if bytes_max > 0:
        entries = log.chunk(prev_index + 1, bytes_max)
        last_index = prev_index + len(entries)
        size_bytes = (
            log.bytes_between(prev_index, last_index)
            if prev_index >= log.front.index
            else sum(len(entry.data) + ENTRY_OVERHEAD_BYTES for entry in entries)
        )
        room = state.config.inflight_bytes_max - progress.inflight_bytes
        if size_bytes > room and progress.inflight:
            # An entry larger than the room left waits until the window is empty.
            return False
    send(
        state,
        AppendRequest(
            sender=state.node,
            receiver=peer,
            term=state.term,
            prev_index=prev_index,
            prev_term=prev_term,
            commit_index=state.commit_index,
            entries=entries,
        ),
    )
    progress.nudge = False
    progress.commit_sent = state.commit_index
    if entries or progress.flow is Flow.PROBE:
        progress.sent(last_index, size_bytes)
    return True


def _heard(state: RaftState, progress: Progress, binding: bool) -> None:
    progress.contact_tick = state.now
    if binding:
        progress.binding_tick = state.now


def _accepted(state: RaftState, message: AppendResponse, progress: Progress) -> None:
    peer, match_index = message.sender, message.match_index
    is_news = progress.accepted(match_index, binding=message.binding)
    if progress.flow is Flow.PROBE or (
        progress.flow is Flow.SNAPSHOT and progress.match_index >= state.log.base.index
    ):
        progress.replicate()
        note_progress(state, peer, progress)
    state.replicate_due = True
    if is_news:
        if match_index > state.commit_index:
            _count_commit(state)
        transfer.advance(state, peer)


def _rejected(state: RaftState, message: AppendResponse, progress: Progress) -> None:
    if progress.is_stale_rejection(message.rejected_index):
        return
    hint_index = min(message.hint_index, state.log.last_index)
    agreed = state.log.last_at_most(hint_index, message.hint_term)
    if agreed is None:
        # Where the logs part lies before the base: only a snapshot helps.
        agreed = min(hint_index, state.log.base.index - 1)
    next_index = min(message.rejected_index, agreed + 1)
    probe(state, message.sender, progress, next_index)


def _count_commit(state: RaftState) -> None:
    """Commit what a quorum holds durably, if it is of this term (thesis 3.6.2, figure 3.7).

    An entry of an earlier term on a majority may still be overwritten; it is committed by
    the first entry of this term that is committed after it.
    """
    match = {peer: progress.binding_index for peer, progress in state.progress.items()}
    match[state.node] = state.stable_index
    index = committed_index(state.configuration, match)
    if index > state.commit_index and state.log.term_at(index) == state.term:
        commit.commit_to(state, index)
        reads.commit_advanced(state)


# --- the follower -----------------------------------------------------------------------------


def handle_append(state: RaftState, message: AppendRequest) -> None:
    """Take over the leader's entries where the logs agree before them (thesis 3.5)."""
    if state.role is Role.LEADER:
        return
    roles.hear_leader(state, message.sender)
    log = state.log
    prev_index, entries = message.prev_index, message.entries
    last_new = prev_index + len(entries)
    if prev_index < log.base.index:
        # The snapshot covers the beginning, which therefore agrees (thesis 5.1).
        entries = entries[log.base.index - prev_index :]
    elif log.term_at(prev_index) != message.prev_term:
        _reject(state, message)
        return
    _take_over(state, entries)
    # Not up to the last index: what follows the entries of this message may be an unverified
    # tail of an earlier term (thesis figure 3.1).
    commit.agree(state, last_new)
    commit.commit_to(state, min(message.commit_index, last_new))
    acknowledge(state, message.sender, max(last_new, state.commit_index))


def handle_heartbeat(state: RaftState, message: HeartbeatRequest) -> None:
    """The leader lives; its commit_index is within what this node acknowledged to it."""
    if state.role is Role.LEADER:
        return
    roles.hear_leader(state, message.sender)
    if state.may_promise:
        commit.commit_to(state, message.commit_index)
    else:
        # The leader may speak to what this node held before it lost its disk: beyond what was
        # compared since, the log may lack the entry or hold another one.
        commit.learn(state, message.commit_index)
    send(
        state,
        HeartbeatResponse(
            sender=state.node,
            receiver=message.sender,
            term=state.term,
            round=message.round,
            binding=state.may_promise,
        ),
    )


def acknowledge(state: RaftState, leader: NodeId, match_index: int) -> None:
    """Tell the leader what this log shares with its own; leaves once that is on disk."""
    send(
        state,
        AppendResponse(
            sender=state.node,
            receiver=leader,
            term=state.term,
            accepted=True,
            match_index=match_index,
            rejected_index=0,
            hint_index=0,
            hint_term=0,
            binding=state.may_promise,
        ),
    )


def refuse_append(state: RaftState, leader: NodeId) -> None:
    """Answer a leader of an old term, so that it learns of this one (thesis 3.3)."""
    send(
        state,
        AppendResponse(
            sender=state.node,
            receiver=leader,
            term=state.term,
            accepted=False,
            match_index=0,
            rejected_index=0,
            hint_index=0,
            hint_term=0,
            binding=state.may_promise,
        ),
    )


def _reject(state: RaftState, message: AppendRequest) -> None:
    log = state.log
    check(
        message.prev_index > state.commit_index,
        "a leader holds every committed entry",
        prev_index=message.prev_index,
        prev_term=message.prev_term,
        commit_index=state.commit_index,
    )
    hint = log.last_at_most(message.prev_index, message.prev_term)
    hint_index = max(state.commit_index, hint or 0)
    send(
        state,
        AppendResponse(
            sender=state.node,
            receiver=message.sender,
            term=state.term,
            accepted=False,
            match_index=0,
            rejected_index=message.prev_index,
            hint_index=hint_index,
            hint_term=log.term_at(hint_index) or 0,
            binding=state.may_promise,
        ),
    )


def _take_over(state: RaftState, entries: tuple[Entry, ...]) -> None:
    """Append what is new. Only a conflict removes anything: a doubled or late append that is
    shorter than the log must not cut what was acknowledged since (thesis 3.5)."""
    log = state.log
    last_index = log.last_index
    for place, entry in enumerate(entries):
        if entry.index > last_index:
            log.append(entries[place:])
            return
        if log.term_at(entry.index) != entry.term:
            _truncate(state, entry.index)
            log.append(entries[place:])
            return


def _truncate(state: RaftState, first: int) -> None:
    check(
        first > state.commit_index,
        "a committed entry is never removed",
        first=first,
        commit_index=state.commit_index,
    )
    note(state, LogTruncated(index=first, term=state.log.term_at(first) or 0))
    state.log.truncate(first)
    state.stable_index = min(state.stable_index, first - 1)
    state.entries_given = min(state.entries_given, first - 1)
