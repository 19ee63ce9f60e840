"""The judge agrees with the twin that tries every order, and ends on histories of every size."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftzmq.checker.history import HistoryUnreadable, Operation
from raftzmq.checker.linearizability import judge
from tests.checker.brute_force import is_linearizable
from tests.checker.histories import World, noise, with_mistake

MODELS = ["register", "append", "counter", "bank"]


def op(
    client: str,
    name: str,
    call: int,
    returned: int | None,
    *,
    value: Any = None,
    expected: Any = None,
    result: Any = None,
    ok: bool | None = True,
    key: str = "k",
) -> Operation:
    return Operation(client, name, key, value, expected, result, call, returned, ok)


def small_history(model: str, seed: int) -> list[Operation]:
    chance = random.Random(seed)
    if chance.random() < 0.5:
        return noise(model, chance, chance.randint(2, 6))
    world = World(
        model,
        chance,
        values=chance.choice([0, 2, 3]),
        unknown=chance.choice([0, 0.2, 0.5]),
        step=chance.choice([0, 1, 10]),
    )
    history = world.history(chance.randint(1, 7), chance.randint(1, 4))
    for _ in range(chance.randint(0, 2)):
        history = with_mistake(history, chance)
    return history


@pytest.mark.parametrize("model", MODELS)
@settings(max_examples=400, deadline=None)
@given(seed=st.integers(0, 2**40))
def test_the_twin_agrees_and_the_window_is_a_violation_by_itself(model: str, seed: int) -> None:
    history = small_history(model, seed)
    judgement = judge(model, history)
    assert judgement.keys[0].holds is is_linearizable(model, history)
    window = judgement.window
    assert (window is not None) is (judgement.holds is False)
    if window is not None:
        assert not is_linearizable(model, window.operations)
        assert len(window.operations) <= len(history)
        assert window.reason


@pytest.mark.parametrize("model", MODELS)
def test_both_verdicts_are_common_among_the_histories_of_these_tests(model: str) -> None:
    verdicts = [is_linearizable(model, small_history(model, seed)) for seed in range(150)]
    assert 20 < sum(verdicts) < 130


def test_a_stale_read() -> None:
    history = [
        op("c1", "write", 0, 10, value=1),
        op("c1", "write", 20, 30, value=2),
        op("c2", "read", 25, 28, result=1),
        op("c2", "read", 40, 50, result=1),
        op("c3", "read", 60, 70, result=2),
    ]
    assert judge("register", history[:3]).holds is True
    window = judge("register", history).window
    assert window is not None
    assert [(each.op, each.call) for each in window.operations] == [
        ("write", 0),
        ("write", 20),
        ("read", 40),
    ]
    assert window.offending == 2
    assert "1 was not yet there, or no longer" in window.reason


def test_a_write_of_unknown_outcome_may_happen_late_once_or_never() -> None:
    write = op("c1", "write", 0, None, value=1, ok=None)
    first = op("c2", "read", 10, 20, result=None)
    second = op("c2", "read", 30, 40, result=1)
    assert judge("register", [write, first, second]).holds is True
    assert judge("register", [write, first]).holds is True
    third = op("c2", "read", 50, 60, result=None)
    assert judge("register", [write, first, second, third]).holds is False


def test_what_a_failed_write_wrote_must_not_be_seen() -> None:
    history = [op("c1", "write", 0, 5, value=1, ok=False), op("c2", "read", 10, 20, result=1)]
    judgement = judge("register", history)
    assert judgement.holds is False
    assert judgement.window is not None
    assert len(judgement.window.operations) == 2
    assert "definite no" in judgement.window.reason


def test_a_retry_that_was_applied_twice() -> None:
    history = [op(f"c{n}", "add", n * 10, n * 10 + 5, value=1) for n in range(10)]
    history.append(op("c", "read", 200, 210, result=11))
    window = judge("counter", history).window
    assert window is not None
    assert [each.client for each in window.operations] == ["earlier", "c"]
    assert "applied twice" in window.reason
    history[-1] = replace(history[-1], result=9)
    assert "acknowledged" in judge("counter", history).summary


def test_half_a_transfer_and_a_ledger_nobody_opened() -> None:
    move = {"from": "a", "to": "b", "amount": 5}
    history = [
        op("c1", "open", 0, 1, value={"a": 10, "b": 10}),
        op("c1", "transfer", 10, 20, value=move),
        op("c2", "read", 12, 14, result={"a": 5, "b": 10}),
    ]
    judgement = judge("bank", history)
    assert judgement.holds is False
    assert "the sum is 15 and not 20" in judgement.summary
    with pytest.raises(HistoryUnreadable, match="open"):
        judge("bank", history[1:])


def test_lists_in_different_orders_and_with_doubles() -> None:
    appends = [op("c1", "append", 0, 10, value="x"), op("c2", "append", 0, 10, value="y")]
    one = op("c3", "read", 20, 30, result=["x", "y"])
    assert judge("append", [*appends, one]).holds is True
    other = op("c3", "read", 40, 50, result=["y"])
    assert "did not see 'x'" in judge("append", [*appends, one, other]).summary
    early = [op("c3", "read", 1, 9, result=["x"]), op("c4", "read", 1, 9, result=["y"])]
    assert "different orders" in judge("append", [*appends, *early]).summary
    twice = op("c3", "read", 20, 30, result=["x", "x", "y"])
    assert "2 times" in judge("append", [*appends, twice]).summary


def test_keys_are_judged_apart() -> None:
    good = [op("c1", "write", 0, 1, value=1), op("c1", "read", 2, 3, result=1)]
    bad = [op("c1", "read", 0, 1, result=7, key="other")]
    judgement = judge("register", good + bad)
    assert [(each.key, each.holds) for each in judgement.keys] == [("k", True), ("other", False)]
    assert judgement.holds is False


@pytest.mark.parametrize(
    "history",
    [
        [],
        [op("c1", "write", 0, 1, value=1)],
        [op("c1", "read", 0, 1, result=None, ok=None)],
        [op("c1", "read", 0, 1, result=None, ok=False)],
    ],
)
def test_without_anything_seen_there_is_nothing_to_judge(history: list[Operation]) -> None:
    judgement = judge("register", history)
    assert judgement.holds is None
    assert "nothing to judge" in judgement.summary


def test_the_search_ends_when_it_was_told_to_and_that_is_no_pass() -> None:
    amounts = [3**n for n in range(40)]
    history = [op(f"c{n}", "add", n, None, value=a, ok=None) for n, a in enumerate(amounts)]
    history += [op(f"d{n}", "add", n, None, value=-a, ok=None) for n, a in enumerate(amounts)]
    history.append(op("c", "read", 100, 110, result=sum(amounts) // 2 + 1))
    judgement = judge("counter", history, states_max=2_000)
    assert judgement.holds is None
    assert judgement.keys[0].holds is None
    assert "given up" in judgement.keys[0].detail
    assert "undecided" in judgement.summary


@pytest.mark.parametrize("model", MODELS)
def test_long_histories_with_many_unknown_outcomes(model: str) -> None:
    def history(mistaken: bool) -> Iterable[Operation]:
        for key in range(2):
            chance = random.Random(key)
            operations = World(model, chance, unknown=0.1, key=f"k{key}").history(400, 4)
            if mistaken and key == 1:
                last = max(each.call for each in operations) + 1_000
                operations.append(op("z", "read", last, last, result=[-1], key="k1"))
            yield from operations

    assert judge(model, history(mistaken=False)).holds is True
    if model == "append":
        judgement = judge(model, history(mistaken=True))
        assert judgement.window is not None
        assert len(judgement.window.operations) == 1


@pytest.mark.parametrize(
    ("model", "operation", "words"),
    [
        ("nothing", op("c", "read", 0, 1), "there are append"),
        ("register", op("c", "append", 0, 1), "not an operation of the model register"),
        ("register", op("c", "read", 5, 1), "returned before its call"),
        ("register", op("c", "write", 5, None), "never returned"),
        ("append", op("c", "read", 0, 1, result=5), "not a list"),
    ],
)
def test_what_makes_no_sense_is_refused(model: str, operation: Operation, words: str) -> None:
    with pytest.raises(HistoryUnreadable, match=words):
        judge(model, [operation])


def test_null_may_be_written_again() -> None:
    history = [
        op("c1", "read", 0, 1, result=None),
        op("c1", "write", 2, 3, value=1),
        op("c1", "read", 4, 5, result=1),
        op("c1", "write", 6, 7, value=None),
        op("c1", "read", 8, 9, result=None),
    ]
    assert judge("register", history).holds is True


def test_a_write_may_be_hidden_though_its_value_is_seen_from_another() -> None:
    history = [
        op("c1", "write", 0, 10, value=1),
        op("c2", "write", 1, 5, value=2),
        op("c2", "read", 20, 30, result=2),
        op("c2", "write", 40, 50, value=1),
        op("c2", "read", 60, 70, result=1),
    ]
    assert judge("register", history).holds is True


def test_a_refusal_shows_a_value_that_nobody_read() -> None:
    history = [
        op("c1", "write", 0, 10, value=7),
        op("c2", "write", 1, 5, value=2),
        op("c2", "cas", 20, 30, expected=2, value=9, result=False),
    ]
    assert judge("register", history).holds is True
    assert judge("register", history[1:]).holds is False


def test_of_two_equal_writes_the_one_that_returns_first_is_used_first() -> None:
    history = [
        op("a", "write", 0, 100, value=1),
        op("b", "write", 0, 20, value=1),
        op("c", "read", 5, 8, result=1),
        op("c", "write", 25, 30, value=2),
        op("c", "read", 35, 40, result=2),
        op("c", "read", 45, 50, result=1),
    ]
    assert judge("register", history).holds is True
    assert judge("register", [*history[2:], history[1]]).holds is False


@pytest.mark.parametrize("seed", range(40))
def test_registers_of_few_values_with_much_at_the_same_time(seed: int) -> None:
    world = World("register", random.Random(seed), values=2, unknown=0.1)
    assert judge("register", world.history(60, 6)).holds is True
