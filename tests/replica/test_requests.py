"""What waits for consensus is answered once, and never with another entry's result."""

from raftzmq.raft.types import LogPosition
from raftzmq.replica.requests import PendingReads, PendingWrites


def at(index: int, term: int) -> LogPosition:
    return LogPosition(index, term)


def test_result_goes_to_the_proposal_of_the_same_index_and_term() -> None:
    pending: PendingWrites[str] = PendingWrites()
    pending.add(at(5, 2), "five")
    pending.add(at(6, 2), "six")
    assert pending.applied(4, 2) == (None, None, [])
    assert pending.applied(5, 2) == ("five", None, [])
    assert pending.applied(6, 2) == ("six", None, [])
    assert len(pending) == 0


def test_entry_of_another_term_at_the_index_means_never_executed() -> None:
    pending: PendingWrites[str] = PendingWrites()
    pending.add(at(5, 2), "five")
    pending.add(at(6, 2), "six")
    assert pending.applied(5, 3) == (None, "five", [])
    assert pending.applied(6, 3) == (None, "six", [])


def test_proposals_passed_by_a_snapshot_may_have_been_executed() -> None:
    pending: PendingWrites[str] = PendingWrites()
    for index in (5, 6, 7):
        pending.add(at(index, 2), f"w{index}")
    assert pending.applied(7, 3) == (None, "w7", ["w5", "w6"])


def test_losing_leadership_forgets_only_what_is_not_committed() -> None:
    pending: PendingWrites[str] = PendingWrites()
    for index in (5, 6, 7):
        pending.add(at(index, 2), f"w{index}")
    assert pending.lost(commit_index=5) == ["w6", "w7"]
    assert pending.applied(5, 2) == ("w5", None, [])


def test_read_waits_for_its_index_then_runs() -> None:
    reads: PendingReads[str] = PendingReads()
    first, second = reads.ask("a"), reads.ask("b")
    assert reads.answered(second, 7) is None
    assert reads.answered(first, 9) is None
    assert reads.ready(6) == []
    assert reads.ready(8) == ["b"]
    assert reads.ready(9) == ["a"]
    assert len(reads) == 0


def test_refused_read_comes_back_once_and_a_late_answer_finds_nothing() -> None:
    reads: PendingReads[str] = PendingReads()
    context = reads.ask("a")
    assert reads.answered(context, None) == "a"
    assert reads.answered(context, 5) is None
    assert reads.ready(10) == []


def test_reads_that_can_never_run_do_not_gather() -> None:
    reads: PendingReads[int] = PendingReads()
    for number in range(10_000):
        reads.wait(1 << 62, number)
        reads.forget(lambda token: token < 9_990)
    assert len(reads) < 2_000
    assert 9_999 in reads.ready(1 << 62)


def test_only_a_read_that_knows_its_index_waits_for_the_applied_index() -> None:
    pending: PendingReads[str] = PendingReads()
    context = pending.ask("read")
    assert not pending.awaits_applied
    assert pending.answered(context, 3) is None
    assert pending.awaits_applied
    assert pending.ready(3) == ["read"]
    assert not pending.awaits_applied
