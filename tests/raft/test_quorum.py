"""Quorum arithmetic against twins that are too simple to be wrong, and by identities."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftzmq.invariants import InvariantBroken
from raftzmq.raft.quorum import VoteResult, committed_index, vote_result
from raftzmq.raft.types import Configuration, NodeId

NAMES = ["n1", "n2", "n3", "n4", "n5", "n6", "n7"]
steady = settings(deadline=None, derandomize=True)
"""A busy machine or an unlucky draw must not fail a build."""
some_voters = st.frozensets(st.sampled_from(NAMES), min_size=1)
some_match = st.dictionaries(st.sampled_from(NAMES), st.integers(0, 12))
some_votes = st.dictionaries(st.sampled_from(NAMES), st.booleans())


def majorities(voters: frozenset[NodeId]) -> list[frozenset[NodeId]]:
    """Every set of more than half of the voters."""
    return [
        frozenset(group)
        for size in range(len(voters) // 2 + 1, len(voters) + 1)
        for group in combinations(sorted(voters), size)
    ]


def simple_committed_index(voters: frozenset[NodeId], match: dict[NodeId, int]) -> int:
    """By definition: the best that all members of some majority have reached."""
    return max(min(match.get(name, 0) for name in group) for group in majorities(voters))


def simple_vote_result(voters: frozenset[NodeId], votes: dict[NodeId, bool]) -> VoteResult:
    """By definition: some majority granted; no majority can any more; else pending."""
    groups = majorities(voters)
    if any(all(votes.get(name) is True for name in group) for group in groups):
        return VoteResult.WON
    if any(all(votes.get(name) is not False for name in group) for group in groups):
        return VoteResult.PENDING
    return VoteResult.LOST


@steady
@given(some_voters, some_match)
def test_committed_index_is_the_best_of_a_majority(
    voters: frozenset[NodeId], match: dict[NodeId, int]
) -> None:
    configuration = Configuration(voters=voters)
    assert committed_index(configuration, match) == simple_committed_index(voters, match)


@steady
@given(some_voters, some_votes)
def test_vote_result_of_one_majority(voters: frozenset[NodeId], votes: dict[NodeId, bool]) -> None:
    assert vote_result(Configuration(voters=voters), votes) is simple_vote_result(voters, votes)


@steady
@given(some_voters, some_voters, some_match)
def test_joint_commits_what_both_halves_commit(
    voters: frozenset[NodeId], outgoing: frozenset[NodeId], match: dict[NodeId, int]
) -> None:
    joint = Configuration(voters=voters, outgoing=outgoing)
    assert committed_index(joint, match) == min(
        simple_committed_index(voters, match), simple_committed_index(outgoing, match)
    )


@steady
@given(some_voters, some_voters, some_votes)
def test_joint_vote_needs_both_halves(
    voters: frozenset[NodeId], outgoing: frozenset[NodeId], votes: dict[NodeId, bool]
) -> None:
    halves = {simple_vote_result(voters, votes), simple_vote_result(outgoing, votes)}
    expected = VoteResult.PENDING
    if VoteResult.LOST in halves:
        expected = VoteResult.LOST
    elif halves == {VoteResult.WON}:
        expected = VoteResult.WON
    assert vote_result(Configuration(voters=voters, outgoing=outgoing), votes) is expected


@steady
@given(some_voters, some_match, some_votes)
def test_joint_with_itself_is_simple(
    voters: frozenset[NodeId], match: dict[NodeId, int], votes: dict[NodeId, bool]
) -> None:
    simple, joint = Configuration(voters=voters), Configuration(voters=voters, outgoing=voters)
    assert committed_index(joint, match) == committed_index(simple, match)
    assert vote_result(joint, votes) is vote_result(simple, votes)


@steady
@given(some_voters, st.frozensets(st.sampled_from(NAMES)), some_match, some_votes)
def test_learners_never_count(
    voters: frozenset[NodeId],
    learners: frozenset[NodeId],
    match: dict[NodeId, int],
    votes: dict[NodeId, bool],
) -> None:
    plain = Configuration(voters=voters)
    taught = Configuration(voters=voters, learners=learners - voters)
    assert committed_index(taught, match) == committed_index(plain, match)
    assert vote_result(taught, votes) is vote_result(plain, votes)


@pytest.mark.parametrize(
    ("match", "committed"),
    [
        ({}, 0),
        ({"n1": 5}, 0),
        ({"n1": 5, "n2": 3}, 3),
        ({"n1": 5, "n2": 3, "n3": 4}, 4),
        ({"n1": 5, "n2": 5, "n3": 1}, 5),
    ],
)
def test_three_voters(match: dict[NodeId, int], committed: int) -> None:
    configuration = Configuration(voters=frozenset(("n1", "n2", "n3")))
    assert committed_index(configuration, match) == committed


def test_even_numbers_need_more_than_half() -> None:
    four = Configuration(voters=frozenset(("n1", "n2", "n3", "n4")))
    assert committed_index(four, {"n1": 9, "n2": 9}) == 0
    assert vote_result(four, {"n1": True, "n2": True}) is VoteResult.PENDING
    assert vote_result(four, {"n1": False, "n2": False}) is VoteResult.LOST


def test_without_voters_nothing_is_decided() -> None:
    nobody = Configuration(voters=frozenset())
    with pytest.raises(InvariantBroken):
        committed_index(nobody, {})
    with pytest.raises(InvariantBroken):
        vote_result(nobody, {})
