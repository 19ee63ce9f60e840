"""Thousands of random events per seed, with every safety property checked after each of them.

Loss, duplication, reordering, partitions, pauses, crashes between any two effects, compaction and
snapshots, proposals, reads, transfers. Afterwards everything heals, and the cluster must agree.
"""

from __future__ import annotations

import os
import random
from dataclasses import dataclass

import pytest

from raftzmq.raft.types import Configuration, NodeId, Role, Standing
from tests.raft.cluster import Cluster, Node, voters
from tests.raft.safety import Safety

EVENTS = int(os.environ.get("RAFTZMQ_RANDOM_EVENTS", "4000"))
SEEDS = int(os.environ.get("RAFTZMQ_RANDOM_SEEDS", "8"))


@dataclass
class Coverage:
    """A run in which nothing happened proves nothing."""

    proposed: int = 0
    crashes: int = 0
    snapshots: int = 0
    leaders: int = 0
    wipes: int = 0
    roll_backs: int = 0
    recoveries: int = 0


class Schedule:
    """One seeded run.

    Args:
        configuration: of all nodes.
        seed: the only source of chance.
        amnesiacs_max: how many nodes may have lost their disk, or got an older one back, and
            not yet recovered, at a time. 0: disks are never lost.

    Recovering needs a majority of nodes that have forgotten nothing, so with more amnesiacs than
    a minority (1 of 3, 2 of 5) nobody recovers and nobody leads, ever: safe but dead. Nodes that
    are down or cut off meanwhile need not be counted here, as they come back in the end, with all
    that they promised. And what a majority once held is held by as many less the amnesiacs, so
    at least by one node that counts. Several nodes may lose their disks one after the other.
    """

    def __init__(self, configuration: Configuration, seed: int, *, amnesiacs_max: int = 0) -> None:
        self.amnesiacs_max = amnesiacs_max
        self.rng = random.Random(seed)
        self.cluster = Cluster(
            configuration,
            rng=lambda name: random.Random(f"{seed}/{name}"),
            watch=self._check,
            election_ticks=10,
            heartbeat_ticks=2,
            append_bytes_max=200,
            inflight_bytes_max=400,
            inflight_messages_max=4,
            uncommitted_bytes_max=2000,
        )
        self.safety = Safety(self.cluster)
        self.coverage = Coverage()
        self.forgetful: dict[NodeId, bool] = {}
        self.cluster.start_all()
        self.paused: set[NodeId] = set()
        self.loss = self.rng.choice((0.0, 0.02, 0.2))

    def run(self, events: int) -> None:
        for count in range(events):
            lost = self.coverage.wipes + self.coverage.roll_backs
            if count == events // 2 and self.amnesiacs_max and not lost:
                # Chance has spared every disk so far; a run that proves nothing is a waste.
                self._lose_disk(self.rng.choice(list(self.cluster.nodes.values())))
            self._event()
        self._heal()

    def _check(self, node: Node) -> None:
        self.safety.check(node)
        was, now = self.forgetful.get(node.name, False), node.has_forgotten
        if was and not now:
            self.coverage.recoveries += 1
        self.forgetful[node.name] = now

    def _event(self) -> None:
        cluster, rng = self.cluster, self.rng
        node = rng.choice(list(cluster.nodes.values()))
        name = node.name
        if name in self.paused:
            if rng.random() < 0.02:
                self._resume(name)
            self._deliver()
            return
        if node.raft is None:
            if rng.random() < 0.1:
                self._restart(node)
            self._deliver()
            return
        if node.live.standing is Standing.UNKNOWN and rng.random() < 0.05:
            cluster.welcome(name)
        if self.amnesiacs_max and rng.random() < (0.1 if self._deposed() else 0.004):
            self._forget(node)
            return
        what = rng.random()
        if what < 0.22:
            cluster.tick(name)
        elif what < 0.30:
            if cluster.propose(name, rng.randbytes(rng.choice((1, 10, 300)))) is not None:
                self.coverage.proposed += 1
        elif what < 0.36:
            self._read(name)
        elif what < 0.363:
            cluster.crash(name)
            self.coverage.crashes += 1
            self.safety.check(node)
            return
        elif what < 0.366:
            self._partition()
        elif what < 0.368:
            leader = cluster.leader()
            self.paused.add(leader.name if leader and rng.random() < 0.7 else name)
            return
        elif what < 0.372:
            cluster.cuts.clear()
        elif what < 0.376:
            node.live.transfer_leadership(rng.choice([None, *cluster.nodes]))
        elif what < 0.38:
            node.live.peer_lost(rng.choice([*cluster.nodes]))
        elif what < 0.39 and len(node.applied) > node.live.base.index:
            cluster.compact(name, rng.randint(node.live.base.index, len(node.applied)))
        else:
            self._deliver()
        if rng.random() < 0.6:
            crash_at = rng.randint(1, 6) if rng.random() < 0.004 else None
            self._flush(name, crash_at)

    def _restart(self, node: Node) -> None:
        """Mostly the peers first have to say who the node is, as with a real host."""
        standing = None
        if self.amnesiacs_max and (node.has_forgotten or self.rng.random() < 0.7):
            standing = Standing.UNKNOWN
        self.cluster.restart(node.name, standing)

    def _forget(self, node: Node) -> None:
        """Save the disk for later, or lose it, or get back what was saved."""
        deposed = self._deposed()
        if deposed is not None and node is not deposed and not deposed.has_forgotten:
            self._forget_the_new_leader(node, deposed)
        elif self.rng.random() < 0.6:
            self.cluster.save_copy(node.name)
        else:
            self._lose_disk(node)

    def _forget_the_new_leader(self, node: Node, deposed: Node) -> None:
        """The rarest and worst: who forgot that there is a new leader hears the old one alone."""
        if self._lose_disk(node):
            among = {node.name, deposed.name}
            self.cluster.cuts = {
                (sender, receiver)
                for sender in self.cluster.nodes
                for receiver in self.cluster.nodes
                if (sender in among) != (receiver in among)
            }
            self._restart(node)
            self._resume(deposed.name)

    def _lose_disk(self, node: Node) -> bool:
        amnesiacs = {other.name for other in self.cluster.nodes.values() if other.has_forgotten}
        if len(amnesiacs | {node.name}) > self.amnesiacs_max:
            return False
        # The node itself knows of it at once, or it has to be told by its peers.
        mark = self.rng.random() < 0.5
        if node.copy is not None and self.rng.random() < 0.5:
            self.cluster.roll_back(node.name, mark=mark)
            self.coverage.roll_backs += 1
        else:
            self.cluster.wipe(node.name, mark=mark)
            self.coverage.wipes += 1
        return True

    def _read(self, name: NodeId) -> None:
        self.safety.read_began(name, self.cluster._contexts + 1)
        self.cluster.read(name)

    def _resume(self, name: NodeId) -> None:
        """A paused process goes on where it was; nothing tells it how long it was away."""
        self.paused.discard(name)
        if self.cluster.nodes[name].raft is not None:
            self._read(name)
            self._flush(name, None)

    def _flush(self, name: NodeId, crash_at: int | None) -> None:
        base = self.cluster.nodes[name].disk.base.index
        self.cluster.flush(name, effects_max=crash_at)
        node = self.cluster.nodes[name]
        if node.raft is None:
            self.coverage.crashes += 1
        elif node.disk.base.index > base:
            self.coverage.snapshots += 1
        self.safety.check(node)

    def _deliver(self) -> None:
        cluster, rng = self.cluster, self.rng
        for _ in range(rng.randint(1, 4)):
            if not cluster.network:
                return
            # Mostly in order; now and then anything that is on its way, however old.
            place = 0 if rng.random() < 0.8 else rng.randrange(len(cluster.network))
            if cluster.network[place].receiver in self.paused:
                place = rng.randrange(len(cluster.network))
                if cluster.network[place].receiver in self.paused:
                    continue
            if rng.random() < self.loss:
                cluster.drop(place)
            else:
                parcel = cluster.deliver(place, keep=rng.random() < 0.03)
                if rng.random() < 0.8 and cluster.nodes[parcel.receiver].raft is not None:
                    self._flush(parcel.receiver, None)
        if len(cluster.network) > 300:
            cluster.drop(rng.randrange(len(cluster.network)))

    def _partition(self) -> None:
        """Cut some links, each direction by itself."""
        names = list(self.cluster.nodes)
        for sender in names:
            for receiver in names:
                if self.rng.random() < 0.25:
                    self.cluster.cuts.add((sender, receiver))

    def _deposed(self) -> Node | None:
        """A node that takes itself for the leader, and is not any more."""
        leader = self.cluster.leader()
        for node in self.cluster.running():
            if node is not leader and node.live.role is Role.LEADER:
                return node
        return None

    def _heal(self) -> None:
        """Without faults one leader emerges, and all nodes come to hold the same."""
        cluster = self.cluster
        cluster.cuts.clear()
        self.paused.clear()
        for node in cluster.nodes.values():
            if node.raft is None:
                self._restart(node)
            if node.live.standing is Standing.UNKNOWN:
                cluster.welcome(node.name)
        for _ in range(200):
            for name in cluster.nodes:
                cluster.tick(name)
            cluster.stabilize()
        for node in cluster.nodes.values():
            assert node.live.standing is Standing.MEMBER, f"{node.name} recovers"
            assert not node.disk.recovering, f"{node.name} knows after a crash that it did"
        leader = cluster.leader()
        assert leader is not None, "a leader emerges"
        self.coverage.leaders = len(self.safety.leaders)
        assert cluster.propose(leader.name, b"last") is not None
        for _ in range(10):
            cluster.stabilize()
            for name in cluster.nodes:
                cluster.tick(name)
        for node in cluster.nodes.values():
            assert node.applied == leader.applied, f"{node.name} catches up"
            assert [role for role in (node.live.role,) if role is Role.LEADER] == (
                [Role.LEADER] if node is leader else []
            )
        assert not self.safety.reads, "every read has an outcome"


CONFIGURATIONS = {
    "three": voters("n1", "n2", "n3"),
    "five": voters("n1", "n2", "n3", "n4", "n5"),
    "three+learner": voters("n1", "n2", "n3", learners=("n4",)),
    "joint": Configuration(
        voters=frozenset(("n1", "n2", "n3")), outgoing=frozenset(("n3", "n4", "n5"))
    ),
}


@pytest.mark.parametrize("kind", CONFIGURATIONS)
@pytest.mark.parametrize("seed", range(SEEDS))
def test_safety_under_random_schedules(kind: str, seed: int) -> None:
    schedule = Schedule(CONFIGURATIONS[kind], seed)
    schedule.run(EVENTS)
    coverage = schedule.coverage
    assert coverage.leaders >= 1
    assert coverage.proposed >= 5
    assert schedule.safety.reads_done >= 5


@pytest.mark.parametrize(("kind", "amnesiacs_max"), [("three", 1), ("five", 2)])
@pytest.mark.parametrize("seed", range(SEEDS))
def test_safety_when_disks_are_lost(kind: str, amnesiacs_max: int, seed: int) -> None:
    schedule = Schedule(CONFIGURATIONS[kind], seed, amnesiacs_max=amnesiacs_max)
    schedule.run(EVENTS)
    coverage = schedule.coverage
    assert coverage.leaders >= 1
    assert coverage.wipes + coverage.roll_backs >= 1
    assert coverage.recoveries >= 1


def test_same_seed_same_run() -> None:
    """R66: no hidden input; the conversation of a seed is the same, byte for byte."""
    conversations = []
    for _ in range(2):
        schedule = Schedule(CONFIGURATIONS["three"], seed=7)
        lines: list[str] = []
        schedule.cluster.say = lines.append
        schedule.run(1000)
        conversations.append(lines)
    assert len(conversations[0]) > 200
    assert conversations[0] == conversations[1]
