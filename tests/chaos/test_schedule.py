"""Schedules: from a seed alone, every kind of fault, and never two that take the majority."""

from __future__ import annotations

from itertools import pairwise

import pytest

from raftzmq.chaos.kinds import KINDS, Need, expand, possible
from raftzmq.chaos.schedule import HEAD_S, TAIL_S, plan
from raftzmq.errors import ConfigError

ALL = tuple(KINDS)


def test_the_same_seed_gives_the_same_faults() -> None:
    assert plan(7, 600, ALL) == plan(7, 600, ALL)
    assert plan(7, 600, ALL) != plan(8, 600, ALL)


@pytest.mark.parametrize("seed", range(50))
def test_a_plan_holds_each_kind_and_leaves_head_and_tail_alone(seed: int) -> None:
    found = plan(seed, 120, ALL)
    assert {each.kind for each in found} == set(ALL)
    assert found[0].at_s == HEAD_S
    assert [each.at_s for each in found] == sorted(each.at_s for each in found)
    assert all(each.at_s + each.for_s <= 120 - TAIL_S for each in found)
    assert all(each.for_s > 0.2 for each in found)


@pytest.mark.parametrize("seed", range(50))
def test_only_mild_faults_come_on_top_of_others(seed: int) -> None:
    found = plan(seed, 900, ALL)
    for before, after in pairwise(found):
        if after.at_s < before.at_s + before.for_s:
            assert KINDS[after.kind].mild, (before, after)
            assert not KINDS[before.kind].alone
            assert after.kind != before.kind


def test_some_faults_do_come_on_top_of_others() -> None:
    found = plan(1, 900, ALL)
    assert any(after.at_s < before.at_s + before.for_s for before, after in pairwise(found))


def test_kinds_come_equally_often() -> None:
    kinds = ("kill-leader", "kill-random", "pause")
    found = [each.kind for each in plan(3, 1_800, kinds)]
    counts = [found.count(kind) for kind in kinds]
    assert max(counts) - min(counts) <= 1
    assert min(counts) > 50


def test_too_many_kinds_for_the_time_are_refused_with_the_time_they_need() -> None:
    with pytest.raises(ConfigError, match=f"{len(ALL)} kinds .* fit into 30 s: give at"):
        plan(1, 30, ALL)
    with pytest.raises(ConfigError):
        plan(1, 30, ())


def test_words_for_several_kinds() -> None:
    assert expand(["clock"]) == ("clock-jump", "clock-drift")
    assert expand(["all"]) == ALL
    assert expand(["pause", "pause", "partition-full"]) == ("pause", "partition-full")
    assert set(expand(["kill"])) == {"kill-leader", "kill-random", "kill-proxy", "kill-all"}
    with pytest.raises(ConfigError, match="no fault is named 'meteor'"):
        expand(["meteor"])
    with pytest.raises(ConfigError):
        expand([""])


def test_what_a_cluster_cannot_suffer_is_named_with_what_is_missing() -> None:
    can, cannot = possible(("pause", "slow-disk", "fill-disk"), frozenset({Need.SHIM}))
    assert can == ("pause", "slow-disk")
    assert cannot == {"fill-disk": "needs a small disk per node"}
