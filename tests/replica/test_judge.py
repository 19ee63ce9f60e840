"""Who is right: majorities of all voters, late reports, splits, sizes, joint configurations."""

from __future__ import annotations

from itertools import permutations, product

import pytest

from raftzmq.raft.types import Configuration
from raftzmq.replica.judge import NOT_HASHED, Finding, judge

A, B, C = b"a", b"b", b"c"
EQUAL, DIFFERS, DOUBTED = Finding.EQUAL, Finding.DIFFERS, Finding.DOUBTED
UNDECIDED, WAITING, SKIPPED = Finding.UNDECIDED, Finding.WAITING, Finding.SKIPPED


def voters(count: int) -> Configuration:
    return Configuration(voters=frozenset(f"n{number}" for number in range(1, count + 1)))


def found(size: int, *digests: bytes | None) -> list[Finding]:
    reports = {f"n{n}": each for n, each in enumerate(digests, 1) if each is not None}
    return list(judge(voters(size), reports).findings.values())


@pytest.mark.parametrize(
    ("digests", "findings"),
    [
        ((A, A, A), [EQUAL, EQUAL, EQUAL]),
        ((A, B, A), [EQUAL, DIFFERS, EQUAL]),
        ((A, A, None), [EQUAL, EQUAL, WAITING]),
        ((A, None, None), [UNDECIDED, WAITING, WAITING]),
        ((A, B, None), [DOUBTED, DOUBTED, WAITING]),
        ((A, B, C), [DOUBTED, DOUBTED, DOUBTED]),
        ((A, NOT_HASHED, A), [EQUAL, SKIPPED, EQUAL]),
        ((A, NOT_HASHED, None), [UNDECIDED, SKIPPED, WAITING]),
        ((A, NOT_HASHED, B), [DOUBTED, SKIPPED, DOUBTED]),
        ((NOT_HASHED, NOT_HASHED, NOT_HASHED), [SKIPPED, SKIPPED, SKIPPED]),
    ],
)
def test_three_voters(digests: tuple[bytes | None, ...], findings: list[Finding]) -> None:
    assert found(3, *digests) == findings


@pytest.mark.parametrize(
    ("digests", "findings"),
    [
        ((A, A, A, B, B), [EQUAL, EQUAL, EQUAL, DIFFERS, DIFFERS]),
        # Two against one is no majority of five, though it is one of those that answered.
        ((A, A, B, None, None), [DOUBTED, DOUBTED, DOUBTED, WAITING, WAITING]),
        ((A, A, B, B, C), [DOUBTED] * 5),
        ((A, A, B, None, A), [EQUAL, EQUAL, DIFFERS, WAITING, EQUAL]),
    ],
)
def test_five_voters(digests: tuple[bytes | None, ...], findings: list[Finding]) -> None:
    assert found(5, *digests) == findings


def test_a_lone_voter_is_its_own_majority() -> None:
    assert found(1, A) == [EQUAL]


def test_reports_may_come_in_any_order() -> None:
    for digests in product((A, B, None), repeat=3):
        names = {f"n{n}": each for n, each in enumerate(digests, 1) if each is not None}
        results = {
            tuple(judge(voters(3), dict(order)).findings.items())
            for order in permutations(names.items())
        }
        assert len(results) == 1


def test_a_majority_once_found_stays_whoever_reports_after_it() -> None:
    for late in product((A, B, C, NOT_HASHED), repeat=2):
        reports = {"n1": A, "n2": A, "n3": A, "n4": late[0], "n5": late[1]}
        assert judge(voters(5), reports).right == A


def test_learners_are_judged_and_do_not_count() -> None:
    configuration = Configuration(
        voters=frozenset({"n1", "n2", "n3"}), learners=frozenset({"n4", "n5"})
    )
    judgement = judge(configuration, {"n1": A, "n2": A, "n3": B, "n4": B, "n5": B})
    assert judgement.right == A
    assert judgement.findings == {
        "n1": EQUAL,
        "n2": EQUAL,
        "n3": DIFFERS,
        "n4": DIFFERS,
        "n5": DIFFERS,
    }
    # A learner alone puts nobody in doubt.
    assert not judge(configuration, {"n1": A, "n4": B}).doubted


def test_both_halves_of_a_joint_configuration_must_agree() -> None:
    configuration = Configuration(
        voters=frozenset({"n1", "n2", "n3"}), outgoing=frozenset({"n3", "n4", "n5"})
    )
    reports = {"n1": A, "n2": A, "n3": A, "n4": B, "n5": B}
    assert judge(configuration, reports).right is None
    assert judge(configuration, {**reports, "n5": A}).right == A


def test_complete_means_that_every_voter_reported() -> None:
    assert not judge(voters(3), {"n1": A, "n2": A}).complete
    assert judge(voters(3), {"n1": A, "n2": A, "n3": NOT_HASHED}).complete
