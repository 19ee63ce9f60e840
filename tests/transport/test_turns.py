"""A queue in which connections take turns."""

from __future__ import annotations

from raftzmq.transport.turns import Turns

ALICE, BOB, CAROL = b"alice", b"bob", b"carol"


def turns_of(*held: tuple[bytes, int]) -> Turns[int]:
    turns: Turns[int] = Turns()
    for holder, number in held:
        turns.append(holder, number)
    return turns


def taken(turns: Turns[int]) -> list[int]:
    return [turns.take() for _ in range(len(turns))]


def number(item: int) -> int:
    return item


def test_one_of_each_and_the_items_of_one_connection_in_their_order() -> None:
    turns = turns_of((BOB, 0), (ALICE, 1), (ALICE, 2), (BOB, 3), (ALICE, 4), (ALICE, 5))
    assert len(turns) == 6
    assert turns.first() == 0
    assert taken(turns) == [0, 1, 3, 2, 4, 5]
    assert not turns


def test_all_of_one_connection_go_and_the_others_keep_their_turns() -> None:
    turns = turns_of((ALICE, 0), (BOB, 1), (ALICE, 2), (CAROL, 3), (BOB, 4))
    assert list(turns.take_all(BOB)) == [1, 4]
    assert list(turns.take_all(BOB)) == []
    assert turns.holders == 2
    turns.append(BOB, 5)
    assert taken(turns) == [0, 3, 5, 2]


def test_what_comes_back_goes_before_what_its_connection_sent_later() -> None:
    turns = turns_of(*((ALICE, each) for each in range(6)))
    first, second, third = turns.take(), turns.take(), turns.take()
    turns.put_back(ALICE, [second], number)
    turns.put_back(ALICE, [third, first], number)
    turns.append(BOB, 6)
    turns.put_back(CAROL, [8, 7], number)
    assert len(turns) == 9
    assert taken(turns) == [0, 6, 7, 1, 8, 2, 3, 4, 5]


def test_what_is_removed_costs_nobody_his_turn() -> None:
    turns = turns_of((ALICE, 0), (BOB, 1), (ALICE, 2), (CAROL, 3), (BOB, 4))
    assert turns.take() == 0
    assert turns.remove(lambda item: item > 9) == []
    assert turns.remove(lambda item: item in (1, 3)) == [1, 3]
    assert list(turns) == [4, 2]
    turns.append(CAROL, 5)
    assert taken(turns) == [4, 2, 5]
    turns.append(ALICE, 6)
    turns.clear()
    assert not turns
    assert len(turns) == 0


def test_who_waits_and_what_came_last() -> None:
    turns = turns_of((ALICE, 0), (BOB, 1), (ALICE, 2))
    assert turns.holders == 2
    assert (turns.last(ALICE), turns.last(BOB), turns.last(CAROL)) == (2, 1, None)
    assert taken(turns) == [0, 1, 2]
    assert (turns.holders, turns.last(ALICE)) == (0, None)


def test_each_is_looked_at_once_to_be_removed() -> None:
    turns = turns_of(*((ALICE, each) for each in range(5)))
    seen: list[int] = []

    def unwanted(item: int) -> bool:
        seen.append(item)
        return item % 2 == 0

    assert turns.remove(unwanted) == [0, 2, 4]
    assert seen == [0, 1, 2, 3, 4]
