"""Linearizable reads while an old leader, cut off with a few followers, does not know it yet.

The one answer that would be stale: a follower on the small side asks the leader it knows, and
both together are no quorum. Random schedules hardly ever come there, because an old leader
notices within an election timeout; so here the small side's clocks run slow (no
clock is trusted) and the cut goes right between it and the rest.
"""

from __future__ import annotations

import random

import pytest

from raftzmq.raft.quorum import VoteResult, vote_result
from raftzmq.raft.types import Configuration, NodeId
from tests.raft.cluster import Cluster, voters
from tests.raft.safety import Safety

ROUNDS = 12
EVENTS = 500

CONFIGURATIONS = {
    "three": voters("n1", "n2", "n3"),
    "three+learner": voters("n1", "n2", "n3", learners=("n4",)),
    "four": voters("n1", "n2", "n3", "n4"),
    "five": voters("n1", "n2", "n3", "n4", "n5"),
    "seven": voters(*(f"n{number}" for number in range(1, 8))),
    "joint": Configuration(
        voters=frozenset(("n1", "n2", "n3", "n6", "n7")),
        outgoing=frozenset(("n3", "n4", "n5")),
    ),
}


class Split:
    """Rounds of: one cluster, then two sides, then one again."""

    def __init__(self, configuration: Configuration, seed: int) -> None:
        self.rng = random.Random(seed)
        self.configuration = configuration
        self.cluster = Cluster(
            configuration,
            rng=lambda name: random.Random(f"{seed}/{name}"),
            watch=lambda node: self.safety.check(node),
            election_ticks=10,
            heartbeat_ticks=2,
        )
        self.safety = Safety(self.cluster)
        self.cluster.start_all()
        self.small: set[NodeId] = set()
        self.tempted = 0
        """Reads asked of a leader that no longer knows what is committed."""

    def run(self) -> None:
        for _ in range(ROUNDS):
            self.small = set()
            self.cluster.cuts.clear()
            self._settle()
            self._cut()
            for _ in range(EVENTS):
                self._event()

    def _settle(self) -> None:
        for _ in range(60):
            for name in self.cluster.nodes:
                self.cluster.tick(name)
            self.cluster.stabilize()
        leader = self.cluster.leader()
        assert leader is not None
        assert self.cluster.propose(leader.name, b"x") is not None
        self.cluster.stabilize()

    def _cut(self) -> None:
        """The leader and as many others as leave the rest a quorum, in both halves if joint."""
        leader = self.cluster.leader()
        assert leader is not None
        others = [name for name in self.cluster.nodes if name != leader.name]
        self.rng.shuffle(others)
        self.small = {leader.name}
        for name in others:
            rest = {each: True for each in others if each not in self.small and each != name}
            if vote_result(self.configuration, rest) is VoteResult.WON:
                self.small.add(name)
        for one in self.cluster.nodes:
            for other in self.cluster.nodes:
                if (one in self.small) != (other in self.small):
                    self.cluster.cuts.add((one, other))

    def _event(self) -> None:
        cluster, rng = self.cluster, self.rng
        name = rng.choice(list(cluster.nodes))
        node = cluster.nodes[name]
        what = rng.random()
        if what < (0.02 if name in self.small else 0.4):
            cluster.tick(name)
        elif what < 0.5:
            cluster.propose(name, b"x")
        elif what < 0.6:
            # What a read that begins here must see is known before anything else happens.
            if name in self.small and node.live.commit_index < len(self.safety.committed):
                self.tempted += node.live.leader in self.small
            self.safety.read_began(name, cluster._contexts + 1)
            cluster.read(name)
        cluster.flush(name)
        for _ in range(rng.randint(0, 4)):
            if cluster.network:
                cluster.deliver(rng.randrange(min(3, len(cluster.network))))


@pytest.mark.parametrize("kind", CONFIGURATIONS)
@pytest.mark.parametrize("seed", range(3))
def test_no_read_is_answered_from_the_past(kind: str, seed: int) -> None:
    split = Split(CONFIGURATIONS[kind], seed)
    split.run()
    assert split.tempted >= 20
    assert split.safety.reads_done >= 20
    assert len(split.safety.leaders) >= 5
