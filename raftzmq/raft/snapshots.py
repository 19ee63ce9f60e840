"""When a snapshot takes the place of log entries, at both ends (thesis 5).

The bytes of a snapshot never pass through here: the host moves, stages and verifies the file.
Here it is decided who needs one, and whether an arrived one still says anything new.
"""

from __future__ import annotations

from raftzmq.invariants import check
from raftzmq.raft import commit, membership, replication, roles
from raftzmq.raft.progress import Flow, Progress
from raftzmq.raft.state import RaftState
from raftzmq.raft.types import LogPosition, NodeId, Role, Snapshot


def want(state: RaftState, peer: NodeId, progress: Progress) -> None:
    """The log no longer reaches back to what ``peer`` needs; tell the host once.

    Only for a peer that was heard from: a snapshot is too dear to send into the void.
    """
    if state.now - progress.contact_tick >= state.config.election_ticks:
        progress.paused = True
        return
    progress.snapshot()
    state.snapshots_wanted.append(peer)
    replication.note_progress(state, peer, progress)


def finished(state: RaftState, peer: NodeId, *, installed: bool) -> None:
    """The host's transfer to ``peer`` ended; probe what the peer holds now.

    After a success the probe asks at the base, which the snapshot covers; after a failure it
    waits for a sign of life first.
    """
    progress = state.progress.get(peer)
    if progress is None or progress.flow is not Flow.SNAPSHOT:
        return
    if installed:
        replication.probe(state, peer, progress, state.log.base.index + 1)
    else:
        replication.probe(state, peer, progress, progress.match_index + 1, paused=True)


def install(state: RaftState, snapshot: Snapshot, sender: NodeId, term: int) -> bool:
    """A staged snapshot of a leader of ``term``: hear that leader, and take what it sent.

    An old leader is refused as for an append, but its snapshot is taken all the same: the host's
    state holds it by now, and what it holds is committed in every later term (thesis 3.6.3).

    Returns:
        False when it is no news: committed here already, or the log holds its last entry, so
        that committing up to there does the same.

    Raises:
        InvariantBroken: this node leads and its log lacks what the snapshot holds.
    """
    if term < state.term:
        replication.refuse_append(state, sender)
        return _take(state, snapshot)
    if term > state.term:
        roles.become_follower(state, term, sender, "higher term in a snapshot")
    if state.role is Role.LEADER:
        return False
    roles.hear_leader(state, sender)
    taken = _take(state, snapshot)
    replication.acknowledge(state, sender, state.commit_index)
    return taken


def _take(state: RaftState, snapshot: Snapshot) -> bool:
    if state.log.term_at(snapshot.index) == snapshot.term:
        commit.commit_to(state, snapshot.index)
    if snapshot.index <= state.commit_index:
        return False
    check(
        state.role is not Role.LEADER,
        "a leader's log holds every committed entry",
        snapshot=snapshot.index,
        last_index=state.log.last_index,
    )
    state.log.reset(LogPosition(snapshot.index, snapshot.term))
    state.commit_index = snapshot.index
    state.stable_index = snapshot.index
    state.entries_given = snapshot.index
    state.committed_given = snapshot.index
    state.install = snapshot
    membership.adopt(state, snapshot.configuration)
    return True


def compact(state: RaftState, index: int) -> LogPosition:
    """Forget entries up to ``index``, which the host has applied durably; the new base.

    Raises:
        InvariantBroken: ``index`` was not handed out to be applied, or not to be written.
    """
    check(
        index <= min(state.committed_given, state.entries_given),
        "only applied entries are forgotten",
        index=index,
        committed_given=state.committed_given,
    )
    state.log.compact(index)
    state.stable_index = max(state.stable_index, state.log.base.index)
    return state.log.base


def shed(state: RaftState, index: int) -> None:
    """Keep entries up to ``index`` on disk only: applied ones that a peer may still need.

    Raises:
        InvariantBroken: ``index`` was not handed out to be applied, or not to be written.
    """
    check(
        index <= min(state.committed_given, state.stable_index),
        "only applied entries are shed",
        index=index,
        committed_given=state.committed_given,
        stable_index=state.stable_index,
    )
    state.log.shed(index)


def bound_memory(state: RaftState, bytes_max: int) -> None:
    """Keep what is committed beyond the last ``bytes_max`` of the log on disk only."""
    surplus = state.log.surplus(bytes_max)
    if surplus:
        state.log.shed(min(surplus, state.committed_given, state.stable_index))


def reapply(state: RaftState, index: int) -> None:
    """Hand out again what is committed after ``index``, as a restart would.

    Raises:
        InvariantBroken: the entry after ``index`` is compacted already.
    """
    check(
        state.log.base.index <= index,
        "the log reaches back to where the state went back to",
        index=index,
        base=state.log.base.index,
    )
    state.committed_given = min(state.committed_given, index)
