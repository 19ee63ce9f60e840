"""A single link that breaks again and again costs a healthy leader nothing.

A lost connection to the leader starts pre-vote at once; what keeps that harmless is that the
others still hear the leader.
"""

from __future__ import annotations

import random

import pytest

from raftzmq.raft.types import Role
from tests.raft.cluster import Cluster, voters
from tests.raft.safety import Safety

TICKS = 3_000
LEADER, FINE, FLAPPING = "n1", "n2", "n3"


class FlappingLink:
    """n1 leads; its link to n3 breaks at random moments, for random times, one way or both."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.cluster = Cluster(
            voters(LEADER, FINE, FLAPPING),
            rng=lambda name: random.Random(f"{seed}/{name}"),
            watch=lambda node: self.safety.check(node),
            election_ticks=10,
            heartbeat_ticks=2,
            leader_lost_ticks_max=3,
        )
        self.safety = Safety(self.cluster)
        self.cluster.start_all()
        self.breaks = self.haste = 0
        while self.cluster.nodes[LEADER].live.role is not Role.LEADER:
            self.cluster.tick(LEADER)
            self.cluster.stabilize()
        self._links = [(LEADER, FLAPPING), (FLAPPING, LEADER)]

    def tick(self) -> None:
        """One tick of everybody, in any order, after which all that can arrive has arrived."""
        if self.rng.random() < 0.3:
            self._break()
        elif self.rng.random() < 0.5:
            self.cluster.cuts.clear()
        for name in self.rng.sample(list(self.cluster.nodes), 3):
            self.cluster.tick(name)
            if self.rng.random() < 0.5:
                self.cluster.stabilize()
        self.cluster.stabilize()
        self.haste += self.cluster.nodes[FLAPPING].live.role is Role.PRE_CANDIDATE

    def _break(self) -> None:
        """The connections of one or both directions are lost; who had opened one notices."""
        for sender, receiver in self.rng.sample(self._links, self.rng.randint(1, 2)):
            self.breaks += 1
            self.cluster.cuts.add((sender, receiver))
            self.cluster.nodes[sender].live.peer_lost(receiver)


@pytest.mark.parametrize("seed", range(10))
def test_flapping_link_deposes_nobody(seed: int) -> None:
    world = FlappingLink(seed)
    leader = world.cluster.nodes[LEADER].live
    term = leader.term
    for number in range(TICKS):
        world.cluster.propose(LEADER, b"%d" % number)
        position = leader.last_position
        world.tick()
        assert (leader.role, leader.term) == (Role.LEADER, term)
        assert leader.commit_index == position.index, "writes go on over the other link"
    assert world.breaks > TICKS // 4, "the link did not flap"
    assert world.haste > 20, "it never came to a pre-vote: nothing was put to the test"
    world.cluster.cuts.clear()
    for _ in range(30):
        for name in world.cluster.nodes:
            world.cluster.tick(name)
        world.cluster.stabilize()
    assert len({tuple(node.applied) for node in world.cluster.nodes.values()}) == 1
