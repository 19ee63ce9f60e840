"""The figures of the failover script: what counts as a wait, and what fails a run."""

from __future__ import annotations

import json

import pytest

from scripts.chaos.failover_report import FaultResult, Round, document, longest_wait_ms, spread


@pytest.mark.parametrize(
    ("acks", "longest"),
    [
        ([0.5, 1.1, 1.2, 1.9], 700),
        ([0.9, 1.1, 1.4, 1.9], 500),
        ([0.2, 1.9], 1_700),
        ([0.9, 1.1], 900),
        ([], 1_000),
    ],
    ids=["middle", "second", "begins before", "never again", "nothing"],
)
def test_wait_spans_the_fault_and_ends_with_the_round(acks: list[float], longest: float) -> None:
    assert longest_wait_ms(acks, 1.0, 2.0) == pytest.approx(longest)


def test_spread_is_least_median_ninetieth_and_most() -> None:
    assert spread([float(n) for n in range(20, 0, -1)]) == (1.0, 10.5, 18.0, 20.0)
    assert spread([3.0]) == (3.0, 3.0, 3.0, 3.0)
    assert spread([]) == (0.0, 0.0, 0.0, 0.0)


def a_round(**changes: object) -> Round:
    fields: dict[str, object] = {
        "number": 1, "old": "n1", "new": "n2", "wait_ms": 20.0, "mend_wait_ms": 5.0,
        "usual_wait_ms": 4.0, "elections": 1, "before": 500, "after": 500, "evidence": "died",
        "complaints": (),
    }  # fmt: skip
    return Round(**{**fields, **changes})  # type: ignore[arg-type]


def result(**changes: object) -> FaultResult:
    found = FaultResult(fault="kill", rounds=[a_round()], replicas="equal")
    for name, value in changes.items():
        setattr(found, name, value)
    return found


def test_a_clean_run_has_no_failures() -> None:
    assert result().failures() == []


def test_everything_can_be_written_as_json() -> None:
    found = result(errors={"write: DeadlineExpired": 1}, refused={"no answer": 3})
    shown = json.loads(json.dumps(document([found], {"rounds": 1})))["faults"]["kill"]
    assert shown["wait_ms"] == {"min": 20.0, "median": 20.0, "p90": 20.0, "max": 20.0}
    assert shown["refused"] == {"no answer": 3}
    assert len(shown["failures"]) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"lost": ["row 1"]},
        {"twice": ["row 1"]},
        {"ghosts": ["row 1"]},
        {"stale": ["counter 1"]},
        {"errors": {"write: DeadlineExpired": 1}},
        {"replicas": "DIFFER"},
        {"replicas": ""},
        {"complaints": ["a client got no answer"]},
        {"rounds": [a_round(complaints=("the fault did not fire",))]},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_everything_that_must_not_be_fails_the_run(changes: dict[str, object]) -> None:
    assert len(result(**changes).failures()) == 1
