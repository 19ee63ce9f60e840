"""What waits is answered in time; what is answered does not wait."""

from __future__ import annotations

from raftzmq.node.batches import Batch
from raftzmq.node.deadlines import STALE_MAX, Deadlines


def batch(deadline_ms: int) -> Batch:
    return Batch([b"id"], [], lambda envelope, frame, count: None, "n1", deadline_ms)


def test_what_is_due_is_taken_once_and_in_its_order() -> None:
    deadlines = Deadlines()
    due = {number: batch(ms) for number, ms in enumerate((30, 10, 20, 10))}
    for number, each in due.items():
        deadlines.add(number, each)
    assert list(deadlines.take_expired(9)) == []
    assert list(deadlines.take_expired(20)) == [due[1], due[3], due[2]]
    assert list(deadlines) == [due[0]]
    assert list(deadlines.take_expired(1_000)) == [due[0]]
    assert list(deadlines.take_expired(1_000)) == []


def test_what_is_answered_is_forgotten_at_once() -> None:
    deadlines = Deadlines()
    deadlines.add(1, batch(50))
    deadlines.add(2, kept := batch(50))
    deadlines.discard(1, 50)
    deadlines.discard(1, 50)
    deadlines.discard(7, 60)
    assert len(deadlines) == 1
    assert list(deadlines.take_expired(50)) == [kept]


def test_a_time_may_come_back_after_nothing_was_left_of_it() -> None:
    deadlines = Deadlines()
    deadlines.add(1, batch(50))
    deadlines.discard(1, 50)
    deadlines.add(2, again := batch(50))
    assert list(deadlines.take_expired(50)) == [again]


def test_times_of_which_nothing_is_left_do_not_pile_up() -> None:
    deadlines = Deadlines()
    for number in range(10 * STALE_MAX):
        deadlines.add(number, batch(number))
        deadlines.discard(number, number)
    assert len(deadlines._times) <= STALE_MAX + 2
    deadlines.add(0, last := batch(5))
    assert list(deadlines.take_expired(10 * STALE_MAX)) == [last]


def test_who_is_answered_while_it_is_taken_is_no_trouble() -> None:
    deadlines = Deadlines()
    for number in range(3):
        deadlines.add(number, batch(10))
    for number, _ in enumerate(deadlines.take_expired(10)):
        deadlines.discard(number, 10)
    assert len(deadlines) == 0
