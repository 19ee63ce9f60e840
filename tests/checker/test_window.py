"""What is left out of a window never makes a violation: what was right stays right."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from raftzmq.checker import window
from raftzmq.checker.history import Operation
from raftzmq.checker.linearizability import judge
from tests.checker.brute_force import is_linearizable
from tests.checker.histories import World, with_mistake


class Reckless(window._Shrinking):
    """Leaves out whatever may be left out, whether a violation remains or not."""

    def __init__(self, model: str, chance: random.Random) -> None:
        super().__init__(model, 1_000)
        self._chance = chance

    def is_wrong(self, operations: Sequence[Operation]) -> bool:
        return bool(operations) and self._chance.random() < 0.4


def right_history(model: str, chance: random.Random) -> list[Operation]:
    world = World(model, chance, values=chance.choice([0, 3]), unknown=chance.choice([0, 0.3]))
    history = world.history(chance.randint(2, 9), chance.randint(1, 4))
    judged = [
        each for each in history if each.ok is True or (each.ok is None and each.op != "read")
    ]
    return sorted(judged, key=lambda each: each.call)


@pytest.mark.parametrize("model", ["register", "append", "counter", "bank"])
@pytest.mark.parametrize("step", ["prefix", "observers", "updates"])
def test_a_right_history_stays_right_without_what_is_left_out(model: str, step: str) -> None:
    shorter = 0
    for seed in range(500):
        chance = random.Random(seed)
        history = right_history(model, chance)
        reckless = Reckless(model, chance)
        if not any(each.op == "read" for each in history):
            continue
        if step == "prefix":
            left = window._prefix(history, chance.choice(window._ends(history)))
        elif step == "observers":
            left = reckless.without_observers(history)
        else:
            left = window._WITHOUT_UPDATES[model](reckless, history)
        shorter += len(left) < len(history)
        assert is_linearizable(model, left), seed
    assert shorter > 25


@pytest.mark.parametrize("model", ["register", "append", "counter", "bank"])
def test_windows_of_long_histories_are_small(model: str) -> None:
    sizes = []
    for seed in range(30):
        chance = random.Random(seed)
        history = with_mistake(World(model, chance, unknown=0.02).history(150, 3), chance)
        judgement = judge(model, history)
        if judgement.window is not None:
            sizes.append(len(judgement.window.operations))
            again = judge(model, judgement.window.operations)
            assert again.holds is False
    assert sizes
    assert sorted(sizes)[len(sizes) // 2] <= 8


def test_a_success_that_was_owed_to_what_came_later_is_only_a_try_in_the_prefix() -> None:
    swap = Operation("a", "cas", "k", 6, 5, True, 0, 100, True)
    read = Operation("b", "read", "k", None, None, None, 1, 10, True)
    write = Operation("b", "write", "k", 5, None, None, 20, 30, True)
    assert is_linearizable("register", [swap, read, write])
    assert is_linearizable("register", window._prefix([swap, read, write], 10))
