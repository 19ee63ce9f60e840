"""A node that knows no leader says so, but not for every election."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from raftzmq.node.conditions import Conditions
from raftzmq.node.leaderless import NAME, Leaderless
from raftzmq.raft.raft import Raft


@dataclass
class Core:
    """As much of Raft as is looked at."""

    leader: str | None = None


def test_condition_begins_after_the_patience_and_ends_with_a_leader() -> None:
    core, conditions = Core(), Conditions()
    watch = Leaderless(cast(Raft, core), conditions, 10)
    seen = []
    for _ in range(12):
        watch.tick()
        seen.append(NAME in conditions.sentences())
    assert seen == [False] * 10 + [True] * 2
    assert conditions.refusing_reads is None, "stale reads go on"
    core.leader = "n2"
    watch.tick()
    assert conditions.sentences() == {}


def test_an_ordinary_election_is_not_worth_a_word() -> None:
    core, conditions = Core(), Conditions()
    watch = Leaderless(cast(Raft, core), conditions, 10)
    for leader in ([None] * 9 + ["n1"]) * 3:
        core.leader = leader
        watch.tick()
        assert conditions.sentences() == {}
