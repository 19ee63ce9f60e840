"""The bound of level STALE is proved by read indexes, and by nothing else."""

from __future__ import annotations

from raftzmq.node.freshness import Freshness


def test_nothing_is_proved_before_an_index_is_answered_and_applied() -> None:
    freshness = Freshness()
    assert not freshness.within(1 << 40, 0)
    freshness.asked(1, 100)
    assert not freshness.within(1_000, 100)
    freshness.answered(1, 7)
    freshness.applied(6)
    assert not freshness.within(1_000, 100)
    freshness.applied(7)
    assert freshness.within(50, 150)
    assert not freshness.within(50, 151)


def test_a_refusal_proves_nothing() -> None:
    freshness = Freshness()
    freshness.asked(1, 100)
    freshness.answered(1, None)
    freshness.answered(1, 5)
    freshness.answered(2, 5)
    freshness.applied(9)
    assert not freshness.within(1_000, 100)


def test_the_age_counts_from_the_question_not_from_the_answer() -> None:
    freshness = Freshness()
    freshness.asked(1, 100)
    freshness.asked(2, 200)
    freshness.answered(2, 8)
    freshness.answered(1, 9)
    freshness.applied(8)
    assert freshness.within(100, 300)
    # Applied later, but asked earlier: it takes nothing back.
    freshness.applied(9)
    assert freshness.within(100, 300)
    assert not freshness.within(99, 300)


def test_an_answer_proves_no_more_than_its_own_question_asked_for() -> None:
    freshness = Freshness()
    freshness.asked(1, 100)
    freshness.asked(2, 500)
    freshness.answered(1, 7)
    freshness.applied(7)
    assert freshness.within(100, 200)
    assert not freshness.within(100, 550), "the second question is not answered yet"
