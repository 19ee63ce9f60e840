"""Verdicts: each property is violated once, and each way to prove nothing fails as well."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from raftzmq.chaos.judge import Evidence, judge
from raftzmq.chaos.record import Fault, Leadership, Stall
from raftzmq.checker.history import Operation

SECONDS = 10.0


def operation(op: str, key: str, at: int, **more: Any) -> Operation:
    fields: dict[str, Any] = {
        "client": "c1", "value": None, "expected": None, "result": None, "ok": True,
        "call": at * 1_000_000, "returned": at * 1_000_000 + 900_000,
    }  # fmt: skip
    return Operation(op=op, key=key, **{**fields, **more})


def good() -> Evidence:
    """A run in which all is well; 10 ms per operation and model."""
    accounts = {"a": 100, "b": 100}
    bank = [operation("open", "bank-1", 0, value=accounts)]
    histories: dict[str, list[Operation]] = {
        "register": [], "append": [], "counter": [], "bank": bank,
    }  # fmt: skip
    appended: list[str] = []
    for number in range(400):
        at = 5 + number * 20
        histories["register"] += [
            operation("write", "r", at, value=f"v{number}"),
            operation("read", "r", at + 2, result=f"v{number}"),
        ]
        key = f"list-{number // 100}"
        appended = appended if number % 100 else []
        appended = [*appended, f"a{number}"]
        histories["append"] += [
            operation("append", key, at, value=f"a{number}"),
            operation("read", key, at + 2, result=appended),
        ]
        histories["counter"] += [
            operation("add", "c", at, value=1, result=f"n{number}"),
            operation("read", "c", at + 2, result=number + 1),
        ]
        accounts = {"a": accounts["a"] - 1, "b": accounts["b"] + 1}
        bank += [
            operation(
                "transfer", "bank-1", at, value={"from": "a", "to": "b", "amount": 1},
                result=f"t{number}",
            ),
            operation("read", "bank-1", at + 2, result=accounts),
        ]  # fmt: skip
    names = [f"{letter}{number}" for letter in "ant" for number in range(400)]
    return Evidence(
        histories=histories,
        origin_ns=0,
        faults_from_s=4.0,
        seconds=SECONDS,
        wanted=("pause",),
        faults=[Fault("pause", "n1", 4.0, 5.0, True, "process 1 stopped")],
        stalls=[Stall(4.0, 4.6, 0)],
        leaderships=[Leadership("n1", 1, 0.0, 4.5), Leadership("n2", 2, 4.6, 10.0)],
        present=dict.fromkeys(names, 1),
        digests={"n1": (7, "ab"), "n2": (7, "ab"), "n3": (7, "ab")},
        nodes=("n1", "n2", "n3"),
    )


def wrong(evidence: Evidence) -> dict[str, bool | None]:
    return {each.name: each.holds for each in judge(evidence) if each.holds is not True}


def test_a_good_run_passes() -> None:
    assert wrong(good()) == {}


def with_history(model: str, change: Callable[[list[Operation]], list[Operation]]) -> Evidence:
    evidence = good()
    histories = {**evidence.histories, model: change(list(evidence.histories[model]))}
    return replace(evidence, histories=histories)


def test_a_stale_read_is_a_violation_with_a_picture() -> None:
    evidence = with_history("register", lambda h: [*h[:-1], replace(h[-1], result="v7")])
    assert wrong(evidence) == {"register: linearizable": False}
    assert "<svg" in judge(evidence)[0].picture


def test_a_partial_transfer_is_a_violation() -> None:
    evidence = with_history("bank", lambda h: [*h[:-1], replace(h[-1], result={"a": 0, "b": 499})])
    assert wrong(evidence) == {"bank: linearizable": False}


def test_an_acknowledged_write_that_is_missing_is_lost() -> None:
    evidence = good()
    present = dict(evidence.present or {})
    del present["n13"]
    (verdict,) = [v for v in judge(replace(evidence, present=present)) if v.holds is not True]
    assert (verdict.name, verdict.holds) == ("nothing lost", False)
    assert "n13" in verdict.detail


def test_a_write_that_is_there_twice_is_doubled() -> None:
    evidence = good()
    assert wrong(replace(evidence, present={**(evidence.present or {}), "t5": 2})) == {
        "nothing doubled": False
    }


def test_a_refused_write_that_is_there_comes_from_nowhere() -> None:
    refused = operation("add", "c", 9_000, value=1, result="n999", ok=False)
    evidence = with_history("counter", lambda h: [*h, refused])
    assert wrong(evidence) == {}
    found = {**(evidence.present or {}), "n999": 1}
    assert wrong(replace(evidence, present=found)) == {"nothing from nowhere": False}


@pytest.mark.parametrize("count", [0, 1])
def test_a_write_of_unknown_outcome_may_be_there_or_not(count: int) -> None:
    unknown = operation("add", "c", 9_000, value=1, result="n999", ok=None, returned=None)
    evidence = with_history("counter", lambda h: [*h, unknown])
    present = {**(evidence.present or {}), **({"n999": 1} if count else {})}
    assert wrong(replace(evidence, present=present)) == {}


def test_a_database_that_cannot_be_read_decides_nothing() -> None:
    assert wrong(replace(good(), present=None, digests=None)) == {
        "nothing lost": None,
        "nothing doubled": None,
        "nothing from nowhere": None,
        "replicas equal": None,
    }


@pytest.mark.parametrize(
    ("digests", "holds"),
    [
        ({"n1": (7, "ab"), "n2": (7, "ab"), "n3": (7, "cd")}, False),
        ({"n1": (7, "ab"), "n2": (7, "ab"), "n3": (8, "ab")}, None),
        ({"n1": (7, "ab"), "n2": (7, "ab")}, None),
    ],
)
def test_replicas(digests: dict[str, tuple[int, str]], holds: bool | None) -> None:
    assert wrong(replace(good(), digests=digests)) == {"replicas equal": holds}


@pytest.mark.parametrize(
    ("change", "name", "holds"),
    [
        ({"leaderships": [Leadership("n1", 1, 0, 1), Leadership("n2", 1, 1, 2)]},
         "one leader per term", False),
        ({"leaderships": []}, "one leader per term", None),
        ({"endings": ["n1 ended unasked"]}, "processes", False),
        ({"tracebacks": ["n1: Traceback"]}, "processes", False),
        ({"faults": [Fault("pause", "n1", 4, 5, False, "")]}, "each fault fired", False),
        ({"faults": [], "stalls": []}, "each fault fired", False),
        ({"wanted": ("pause", "kill-all")}, "each fault fired", False),
        ({"stalls": [Stall(5.0, 21.0, 0)]}, "writes go on within 15 s", False),
        ({"seconds": 400.0}, "enough traffic", False),
        ({"faults_from_s": 0.0}, "enough traffic", False),
        ({"errors": {"REJECTED SqlError: no such table": 1}}, "no valid request rejected", False),
        ({"trouble": ["the switch ended"]}, "the run itself", False),
    ],
)  # fmt: skip
def test_what_else_fails_a_run(change: dict[str, Any], name: str, holds: bool | None) -> None:
    assert wrong(replace(good(), **change)) == {name: holds}


def test_a_stall_counts_from_the_end_of_the_fault() -> None:
    faults = [Fault("partition-full", "n1", 4.0, 20.0, True, "")]
    assert wrong(replace(good(), faults=faults, wanted=(), stalls=[Stall(4.0, 21.0, 0)])) == {}


def test_too_many_unknown_outcomes_fail_a_run() -> None:
    def forget(history: list[Operation]) -> list[Operation]:
        return [
            replace(each, ok=None, returned=None) if each.op == "add" else each for each in history
        ]

    assert wrong(with_history("counter", forget)) == {"outcomes known": False}


def test_a_model_without_traffic_is_not_proven() -> None:
    assert wrong(with_history("counter", lambda _: []))["counter: linearizable"] is None


def test_a_run_with_nothing_in_it_fails_in_every_respect_that_needs_something() -> None:
    empty = replace(
        good(), histories={}, present={}, faults=[], leaderships=[], stalls=[], digests={}
    )
    names = set(wrong(empty))
    assert {
        "register: linearizable", "nothing lost", "nothing doubled", "replicas equal",
        "each fault fired", "enough traffic", "outcomes known", "one leader per term",
    } <= names  # fmt: skip


def test_a_kind_that_was_put_off_each_time_fails_the_run() -> None:
    evidence = replace(good(), put_off=["wipe-node at 5.0 s (needed)"])
    assert wrong(evidence) == {}, "one of a kind that came at another time"
    evidence = replace(evidence, wanted=("pause", "wipe-node"))
    assert wrong(evidence) == {"each fault fired": False}
    (detail,) = [v.detail for v in judge(evidence) if v.name == "each fault fired"]
    assert "never injected: wipe-node" in detail
    assert "put off: wipe-node at 5.0 s (needed)" in detail
