"""Log replication and commitment rule by rule (thesis 3.5, 3.6.2, 3.8, 5, 10.2.1)."""

from __future__ import annotations

import pytest

from raftzmq.invariants import InvariantBroken
from raftzmq.raft.messages import AppendRequest, AppendResponse, HeartbeatRequest, Message
from raftzmq.raft.progress import Flow
from raftzmq.raft.types import (
    Configuration,
    EntryKind,
    HardState,
    LogPosition,
    NodeId,
    ProgressChanged,
    Ready,
    Role,
    Snapshot,
)
from tests.raft.lone import THREE, Lone, append, appended, entries, heard, heartbeat, rejected

TWO = Configuration(voters=frozenset(("n1", "n2")))


def leader(lone: Lone, *, match: int | None = None) -> Lone:
    """Make it lead, and let n2 accept everything so far."""
    lone.lead()
    lone.step(appended("n2", lone.raft.term, match or lone.raft.last_position.index))
    return lone


# --- the follower ------------------------------------------------------------------------------


def test_3_5_consistency_check() -> None:
    lone = Lone([1, 1])
    (answer,) = lone.step(append("n2", 1, (3, 1), [1]))
    assert isinstance(answer, AppendResponse)
    assert not answer.accepted
    assert (answer.rejected_index, answer.hint_index, answer.hint_term) == (3, 2, 1)
    assert lone.raft.last_position.index == 2


def test_3_5_conflict_truncates_from_the_first_mismatch_only() -> None:
    """R22: 2@1 stays, 3@1 and 4@1 go."""
    lone = Lone([1, 1, 1, 1])
    lone.step(append("n2", 3, (1, 1), [1, 3]))
    assert lone.raft.last_position == LogPosition(3, 3)
    assert [entry.index for ready in lone.readies for entry in ready.entries] == [3]


def test_3_5_an_older_shorter_append_truncates_nothing() -> None:
    """R19, R20: not when it is a prefix of the log, and not when it is empty."""
    lone = Lone(term=1)
    lone.step(append("n2", 1, (0, 0), [1, 1, 1]))
    for late in (append("n2", 1, (0, 0), [1]), append("n2", 1, (1, 1)), append("n2", 1, (0, 0))):
        (answer,) = lone.step(late)
        assert isinstance(answer, AppendResponse)
        assert answer.accepted
        assert answer.match_index == late.prev_index + len(late.entries)
        assert lone.raft.last_position.index == 3


def test_3_5_acknowledges_no_more_than_was_checked() -> None:
    """The tail behind the append's entries is not the leader's; the ack must not cover it."""
    lone = Lone([1, 1, 1, 1])
    (answer,) = lone.step(append("n2", 2, (1, 1), [1]))
    assert isinstance(answer, AppendResponse)
    assert answer.match_index == 2


def test_figure_3_1_commit_is_bounded_by_the_last_new_entry() -> None:
    """R17: min(leader's commit, last new entry), not the own last index."""
    lone = Lone([1, 1, 1, 1])
    lone.step(append("n2", 2, (1, 1), [1], commit=9))
    assert lone.raft.commit_index == 2


def test_3_8_ack_leaves_after_the_write() -> None:
    lone = Lone(term=1)
    lone.raft.step(append("n2", 1, (0, 0), [1], commit=1))
    ready = lone.raft.ready()
    assert ready is not None
    assert not ready.messages_now
    assert [type(m) for m in ready.messages_after_persist] == [AppendResponse]
    assert [entry.index for entry in ready.entries] == [1]
    assert [entry.index for entry in ready.committed] == [1]


def test_3_6_3_a_committed_entry_is_never_removed() -> None:
    """A leader that contradicts what is committed cannot be; the node stops."""
    lone = Lone([1, 1], applied=2)
    with pytest.raises(InvariantBroken, match="committed entry"):
        lone.step(append("n2", 2, (0, 0), [1, 2]))
    other = Lone([1, 1], applied=2)
    with pytest.raises(InvariantBroken, match="committed entry"):
        other.step(append("n2", 2, (2, 2), [2]))


def test_a_commit_beyond_the_log_means_that_the_disk_forgot() -> None:
    lone = Lone([1], term=1)
    with pytest.raises(InvariantBroken, match="in the log"):
        lone.step(heartbeat("n2", 1, commit=5))


def test_3_5_append_that_begins_before_the_base() -> None:
    """What the snapshot covers agrees by itself (R56: a late append after an install)."""
    lone = Lone([2, 2], base=LogPosition(5, 2), applied=5)
    (answer,) = lone.step(append("n2", 3, (3, 1), [2, 2, 2, 2, 3]))
    assert isinstance(answer, AppendResponse)
    assert (answer.accepted, answer.match_index) == (True, 8)
    assert lone.raft.last_position == LogPosition(8, 3)
    (answer,) = lone.step(append("n2", 3, (1, 1), [1]))
    assert isinstance(answer, AppendResponse)
    assert (answer.accepted, answer.match_index) == (True, 5)


# --- the leader --------------------------------------------------------------------------------


def test_6_4_the_term_begins_with_a_noop() -> None:
    """R26: before anything that a client proposes."""
    lone = Lone([1, 1])
    lone.lead()
    lone.raft.propose(b"x")
    lone.drain()
    written = [entry for ready in lone.readies for entry in ready.entries]
    assert [entry.kind for entry in written] == [EntryKind.NOOP, EntryKind.COMMAND]
    assert [entry.index for entry in written] == [3, 4]


def test_3_6_2_only_entries_of_the_own_term_are_committed_by_counting() -> None:
    """R12: 2@2 on a majority stays uncommitted until 3@3 is on a majority, too."""
    lone = Lone([1, 2], term=2)
    lone.lead()
    lone.step(rejected("n2", 3, 2, (0, 0)))
    lone.step(appended("n2", 3, 2))
    assert lone.raft.commit_index == 0
    lone.step(appended("n2", 3, 3))
    assert lone.raft.commit_index == 3


def test_10_2_1_the_leader_counts_itself_after_its_write() -> None:
    """R15: n2's ack and the own unwritten log are one disk, not two."""
    lone = leader(Lone())
    lone.step(appended("n3", 1, 1))
    position = lone.raft.propose(b"x")
    assert position is not None
    sent = lone.drain(persist=False)
    assert {m.receiver for m in sent if isinstance(m, AppendRequest)} == {"n2", "n3"}
    lone.raft.step(appended("n2", 1, 2))
    assert (lone.raft.stable_index, lone.raft.commit_index) == (1, 1)
    lone.raft.persisted(position)
    assert (lone.raft.stable_index, lone.raft.commit_index) == (2, 2)


def test_10_2_1_a_quorum_of_others_commits_without_the_leader() -> None:
    lone = leader(Lone())
    lone.raft.propose(b"x")
    lone.drain(persist=False)
    for peer in ("n2", "n3"):
        lone.raft.step(appended(peer, 1, 2))
    assert (lone.raft.stable_index, lone.raft.commit_index) == (1, 2)


def test_persisted_is_ignored_for_an_entry_that_was_replaced() -> None:
    lone = Lone(term=1)
    lone.raft.step(append("n2", 1, (0, 0), [1]))
    lone.drain(persist=False)
    lone.raft.step(append("n3", 2, (0, 0), [2]))
    lone.drain(persist=False)
    lone.raft.persisted(LogPosition(1, 1))
    assert lone.raft.stable_index == 0
    lone.raft.persisted(LogPosition(1, 2))
    assert lone.raft.stable_index == 1
    lone.raft.persisted(LogPosition(7, 2))
    assert lone.raft.stable_index == 1


def empty_appends(sent: list[Message]) -> set[tuple[NodeId, int]]:
    """Receiver and commit_index of the appends without entries."""
    return {
        (m.receiver, m.commit_index) for m in sent if isinstance(m, AppendRequest) and not m.entries
    }


def test_commit_is_told_at_the_next_tick_and_once() -> None:
    """A commit by itself wakes nobody."""
    lone = leader(Lone())
    lone.step(appended("n3", 1, 1))
    lone.raft.propose(b"x")
    lone.drain()
    assert not lone.step(appended("n2", 1, 2))
    assert lone.raft.commit_index == 2
    assert empty_appends(lone.ticks(1)) == {("n2", 2), ("n3", 2)}
    assert not empty_appends(lone.ticks(5))


def test_the_next_append_tells_the_commit_and_the_tick_does_not_repeat_it() -> None:
    lone = leader(Lone())
    lone.step(appended("n3", 1, 1))
    lone.raft.propose(b"x")
    lone.drain()
    lone.step(appended("n2", 1, 2))
    lone.raft.propose(b"y")
    told = [m for m in lone.drain() if isinstance(m, AppendRequest)]
    assert {(m.receiver, m.commit_index, len(m.entries)) for m in told} == {
        ("n2", 2, 1),
        ("n3", 2, 1),
    }
    assert not empty_appends(lone.ticks(5))


def test_commit_is_told_through_a_full_window() -> None:
    """No entry may leave for n3, which answers nothing; the commit may."""
    lone = leader(Lone(inflight_messages_max=1))
    lone.step(appended("n3", 1, 1))
    for index in (2, 3):
        lone.raft.propose(b"x")
        lone.drain()
        lone.step(appended("n2", 1, index))
    assert ("n3", 3) in empty_appends(lone.ticks(1))


def test_heartbeat_commit_stays_within_the_match() -> None:
    """R17: beyond its match, the peer's log is unverified."""
    lone = leader(Lone([1, 1]))
    sent = [m for m in lone.ticks(2) if isinstance(m, HeartbeatRequest)]
    assert {m.receiver: m.commit_index for m in sent} == {"n2": 3, "n3": 0}


def test_3_5_rejections_never_move_next_below_match() -> None:
    """R24: neither a late one nor one with a hint of long ago."""
    lone = leader(Lone([1, 1, 1]))
    lone.step(rejected("n2", 2, 2, (0, 0)))
    view = lone.raft.progress()["n2"]
    assert (view.flow, view.match_index, view.next_index) == (Flow.REPLICATE, 4, 5)
    lone.raft.propose(b"x")
    lone.raft.propose(b"y")
    lone.drain()
    lone.step(rejected("n2", 2, 5, (0, 0)))
    view = lone.raft.progress()["n2"]
    assert (view.flow, view.match_index, view.next_index) == (Flow.PROBE, 4, 5)


def test_acknowledgements_in_any_order() -> None:
    """R54, R24: an older one, late, takes nothing back, neither match nor window."""
    lone = leader(Lone(inflight_messages_max=2, append_bytes_max=1))
    for _ in range(4):
        lone.raft.propose(b"x")
    assert len(lone.drain()) == 2
    assert len([m for m in lone.step(appended("n2", 1, 3)) if m.receiver == "n2"]) == 2
    assert not [m for m in lone.step(appended("n2", 1, 2)) if m.receiver == "n2"]
    view = lone.raft.progress()["n2"]
    assert (view.match_index, view.next_index) == (3, 6)


def test_probe_sends_one_at_a_time() -> None:
    """R54: further proposals wait for the answer to the probe."""
    lone = Lone(configuration=TWO)
    lone.lead()
    lone.raft.propose(b"x")
    assert not lone.drain()
    assert [type(m) for m in lone.step(heard("n2", 1))] == [AppendRequest]
    assert not lone.drain()


def test_responses_beyond_the_log_or_from_strangers_are_ignored() -> None:
    lone = leader(Lone())
    lone.step(appended("n2", 1, 99))
    lone.step(appended("n9", 1, 1))
    lone.step(heard("n9", 1))
    assert lone.raft.progress()["n2"].match_index == 1
    assert "n9" not in lone.raft.progress()


def test_proposals_are_refused_with_the_reason() -> None:
    """R64 and thesis 3.10."""
    lone = Lone(uncommitted_bytes_max=100)
    assert lone.raft.propose(b"") is None
    assert lone.raft.propose_refusal() == "not_leader"
    leader(lone)
    assert lone.raft.propose_refusal() is None
    assert lone.raft.propose(b"x" * 1000) is not None, "one proposal may pass the bound"
    assert lone.raft.propose(b"x") is None
    assert lone.raft.propose_refusal() == "overloaded"
    lone.drain()
    lone.step(appended("n2", 1, 2))
    assert lone.raft.propose_refusal() is None
    lone.raft.transfer_leadership("n3")
    assert lone.raft.propose(b"x") is None
    assert lone.raft.propose_refusal() == "transfer"


def test_only_a_change_of_flow_is_news() -> None:
    lone = leader(Lone())
    lone.readies.clear()
    for index in range(2, 5):
        lone.raft.propose(b"x")
        lone.drain()
        lone.step(appended("n2", 1, index))
    facts = [fact for ready in lone.readies for fact in ready.trace]
    assert not [fact for fact in facts if isinstance(fact, ProgressChanged)]


# --- Ready, snapshots, compaction ---------------------------------------------------------------


def test_ready_hands_out_everything_once() -> None:
    lone = leader(Lone())
    lone.raft.propose(b"x")
    assert lone.raft.ready() is not None
    assert lone.raft.ready() is None


def test_restart_applies_what_follows_the_applied_index() -> None:
    """R60: commit_index starts at what is applied, and nothing is handed out twice."""
    lone = Lone([1, 1, 1], applied=2)
    assert lone.raft.commit_index == 2
    lone.step(append("n2", 1, (3, 1), commit=3))
    assert lone.applied == [3]


def test_install_replaces_the_log() -> None:
    lone = Lone([1, 1, 1], applied=1)
    snapshot = Snapshot(index=7, term=3, configuration=THREE)
    lone.follow("n2", 3)
    assert lone.raft.install_snapshot(snapshot, "n2", 3)
    ready = lone.raft.ready()
    assert ready is not None
    assert ready.install == snapshot
    assert not ready.entries
    assert not ready.committed
    (answer,) = ready.messages_after_persist
    assert isinstance(answer, AppendResponse)
    assert (answer.accepted, answer.match_index) == (True, 7)
    assert lone.raft.base == lone.raft.last_position == LogPosition(7, 3)
    assert (lone.raft.commit_index, lone.raft.stable_index) == (7, 7)
    lone.step(append("n2", 3, (7, 3), [3], commit=8))
    assert lone.applied == [8]


def test_install_comes_after_its_term_is_written() -> None:
    """A crash between the two leaves a term without a snapshot, never the reverse."""
    lone = Lone(term=1)
    snapshot = Snapshot(index=7, term=3, configuration=THREE)
    assert lone.raft.install_snapshot(snapshot, "n2", 4)
    first, second = lone.raft.ready(), lone.raft.ready()
    assert first == Ready(hard_state=HardState(4, None))
    assert second is not None
    assert (second.install, second.hard_state) == (snapshot, None)


def test_install_of_what_the_log_holds_only_commits() -> None:
    """Thesis 5.1: a prefix of the log is no reason to drop what follows it."""
    lone = Lone([1, 1, 1])
    snapshot = Snapshot(index=2, term=1, configuration=THREE)
    assert not lone.raft.install_snapshot(snapshot, "n2", 1)
    (answer,) = lone.drain()
    assert isinstance(answer, AppendResponse)
    assert (answer.accepted, answer.match_index) == (True, 2)
    assert (lone.raft.commit_index, lone.raft.last_position.index) == (2, 3)
    assert lone.applied == [1, 2]


def test_install_twice_before_a_ready() -> None:
    """Two snapshots in a short time: the later one counts."""
    lone = Lone(term=1)
    first = Snapshot(index=3, term=1, configuration=THREE)
    second = Snapshot(index=5, term=1, configuration=THREE)
    assert lone.raft.install_snapshot(first, "n2", 1)
    assert lone.raft.install_snapshot(second, "n2", 1)
    ready = lone.raft.ready()
    assert ready is not None
    assert ready.install == second


def test_install_of_an_old_term_is_taken_and_its_sender_refused() -> None:
    """Simulator seeds 1553 (3 nodes) and 1631 (5): a newer term was heard while it was installed.

    The host's state holds the snapshot by then; without it in the log, applied would be ahead
    of commit for good. What is committed is so in every later term (thesis 3.6.3).
    """
    lone = Lone([1, 1], term=3)
    snapshot = Snapshot(index=7, term=2, configuration=THREE)
    assert lone.raft.install_snapshot(snapshot, "n2", 2)
    ready = lone.raft.ready()
    assert ready is not None
    assert ready.install == snapshot
    (answer,) = ready.messages_after_persist
    assert isinstance(answer, AppendResponse)
    assert (answer.accepted, answer.term) == (False, 3)
    assert lone.raft.leader is None
    assert lone.raft.last_position == LogPosition(7, 2)
    assert (lone.raft.commit_index, lone.raft.stable_index) == (7, 7)
    lone.step(append("n3", 3, (7, 2), [3], commit=8))
    assert lone.applied == [8]


def test_install_of_an_old_term_spares_what_was_acknowledged_since() -> None:
    """The new leader's log holds the snapshot's last entry, so this log may not be cut."""
    lone = Lone([1, 1], term=2)
    lone.step(append("n3", 3, (2, 1), [2, 3], commit=2))
    assert not lone.raft.install_snapshot(Snapshot(index=3, term=2, configuration=THREE), "n2", 2)
    assert (lone.raft.commit_index, lone.raft.last_position.index) == (3, 4)


def test_a_leader_commits_what_a_snapshot_of_an_old_term_holds() -> None:
    """It led before the install that it began as a follower was done."""
    lone = Lone([1, 1, 1], applied=1)
    lone.lead()
    assert lone.raft.commit_index == 1
    assert not lone.raft.install_snapshot(Snapshot(index=3, term=1, configuration=THREE), "n2", 1)
    assert (lone.raft.role, lone.raft.commit_index) == (Role.LEADER, 3)


def test_a_leader_without_what_a_snapshot_holds_stops() -> None:
    lone = leader(Lone([1, 1, 1]))
    with pytest.raises(InvariantBroken, match="holds every committed entry"):
        lone.raft.install_snapshot(Snapshot(index=9, term=1, configuration=THREE), "n2", 1)


def test_install_brings_the_configuration() -> None:
    """Thesis 4.1, R46: the snapshot's is in force at once."""
    lone = Lone()
    configuration = Configuration(voters=frozenset(("n2", "n3")), learners=frozenset(("n1",)))
    lone.raft.install_snapshot(Snapshot(index=3, term=1, configuration=configuration), "n2", 1)
    assert lone.raft.configuration == configuration
    lone.drain()
    assert not lone.ticks(100)
    assert lone.raft.role is Role.FOLLOWER


def test_a_snapshot_is_wanted_once_and_only_for_the_living() -> None:
    """R56."""
    lone = leader(Lone([1, 1, 1]), match=4)
    lone.raft.compact(3)
    lone.step(rejected("n3", 2, 3, (0, 0)))
    wanted = [peer for ready in lone.readies for peer in ready.snapshots_wanted]
    assert wanted == ["n3"]
    for _ in range(5):
        lone.step(heard("n3", 2))
        lone.raft.propose(b"x")
        assert not [m for m in lone.drain() if m.receiver == "n3"]
    wanted = [peer for ready in lone.readies for peer in ready.snapshots_wanted]
    assert wanted == ["n3"]
    lone.raft.snapshot_finished("n3", installed=False)
    lone.drain()
    assert lone.raft.progress()["n3"].flow is Flow.PROBE
    for _ in range(6):
        lone.ticks(2)
        lone.step(heard("n2", 2))
    wanted = [peer for ready in lone.readies for peer in ready.snapshots_wanted]
    assert wanted == ["n3"], "not before a sign of life"
    lone.step(heard("n3", 2))
    wanted = [peer for ready in lone.readies for peer in ready.snapshots_wanted]
    assert wanted == ["n3", "n3"]


def test_compact_stays_behind_what_was_handed_out() -> None:
    lone = leader(Lone([1, 1, 1]))
    before = lone.raft.log_bytes
    assert lone.raft.compact(2) == LogPosition(2, 1)
    assert lone.raft.log_bytes < before
    assert lone.raft.compact(1) == LogPosition(2, 1)
    lone.raft.propose(b"x")
    lone.drain(persist=False)
    with pytest.raises(InvariantBroken, match="only applied"):
        lone.raft.compact(5)


def test_start_refuses_contradictions() -> None:
    with pytest.raises(InvariantBroken, match="applied"):
        Lone([1], applied=2)
    with pytest.raises(InvariantBroken, match="term"):
        Lone([3], term=2)


def test_messages_of_a_new_term_wait_for_it_to_be_written() -> None:
    """A sole voter with a learner could otherwise lead one term twice (thesis 3.8)."""
    configuration = Configuration(voters=frozenset(("n1",)), learners=frozenset(("n2",)))
    lone = Lone(configuration=configuration)
    lone.raft.tick()
    assert lone.raft.role is Role.LEADER
    ready = lone.raft.ready()
    assert ready is not None
    assert ready.hard_state is not None
    assert not ready.messages_now
    assert [type(m) for m in ready.messages_after_persist] == [AppendRequest]


def test_entries_of_the_test_are_contiguous() -> None:
    assert [entry.index for entry in entries([1, 1], after=4)] == [5, 6]
