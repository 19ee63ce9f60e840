"""The scenes of the demo, in order; each says what it did and what came of it."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

from raftzmq.cli.demo.audit import audit
from raftzmq.cli.demo.load import TABLE, Load
from raftzmq.cli.local_cluster import LocalCluster, NotReached
from raftzmq.client.connection import Connection
from raftzmq.errors import RequestError
from raftzmq.observe.survey import leader_of
from raftzmq.wire.status import NodeStatus

WRITERS = 3
STEADY_S = 2.0
SETTLE_S = 0.5
ELECTION_S = 15.0
CATCH_UP_S = 20.0


class Story:
    """Tells and checks; ``faults`` collects what was not as promised.

    Args:
        cluster: running, three nodes and two proxies.
        tell: takes one line for people.
    """

    def __init__(self, cluster: LocalCluster, tell: Callable[[str], None]) -> None:
        self._cluster = cluster
        self._tell = tell
        self.faults: list[str] = []

    def run(self) -> None:
        """All scenes."""
        try:
            self._begin()
            with Load(self._cluster.doors, writers=WRITERS) as load:
                self._steady(load)
                dead = self._kill_leader(load)
                self._bring_back(dead)
                self._pause_leader(load)
                self._kill_proxy(load)
                load.stop()
            self._count(load)
        except (NotReached, RequestError) as error:
            self.faults.append(str(error))

    def _begin(self) -> None:
        leader = self._leader()
        members = ", ".join(self._cluster.config.nodes)
        self._tell(f"Nodes {members} run; {leader.node} was elected leader in term {leader.term}.")
        with Connection(self._cluster.doors) as connection:
            connection.write(TABLE)
        self._tell("A table is created through the proxy, on a majority's disks.")

    def _steady(self, load: Load) -> None:
        began = time.monotonic()
        time.sleep(STEADY_S)
        seconds = time.monotonic() - began
        self._tell(
            f"{WRITERS} writers and a reader, each waiting for its answer: "
            f"{load.writes / seconds:,.0f} writes/s, {load.reads / seconds:,.0f} reads/s."
        )

    def _kill_leader(self, load: Load) -> str:
        old = self._leader()
        moment = time.monotonic()
        self._cluster.children[old.node].signal(signal.SIGKILL)
        self._tell(f"\nThe leader {old.node} is killed with SIGKILL, in the middle of writes.")
        new = self._elected(old, f"a leader after {old.node} was killed")
        self._busy_again(load, moment)
        self._tell(
            f"  {new.node} was elected in term {new.term}. The longest wait of a write: "
            f"{load.longest_wait_s(moment) * 1000:,.0f} ms. Errors seen by clients: "
            f"{len(load.errors)}."
        )
        return old.node

    def _bring_back(self, name: str) -> None:
        behind = self._leader().commit_index
        began = time.monotonic()
        self._cluster.children[name].wait(5.0)
        self._cluster.children.start(name)
        statuses = self._cluster.wait(
            f"{name} to catch up",
            CATCH_UP_S,
            lambda seen: name in seen and seen[name].applied_index >= behind,
        )
        self._tell(
            f"\n{name} is started again: {time.monotonic() - began:.1f} s later it has applied "
            f"all up to index {statuses[name].applied_index:,}, as {statuses[name].role}."
        )

    def _pause_leader(self, load: Load) -> None:
        old = self._leader()
        child = self._cluster.children[old.node]
        moment = time.monotonic()
        child.signal(signal.SIGSTOP)
        self._tell(f"\nThe leader {old.node} is paused (SIGSTOP): it is not dead, it is silent.")
        try:
            new = self._elected(old, f"a leader while {old.node} is paused")
            self._busy_again(load, moment)
            self._tell(
                f"  {new.node} was elected in term {new.term}; the longest wait of a write: "
                f"{load.longest_wait_s(moment) * 1000:,.0f} ms. Errors: {len(load.errors)}."
            )
            self._tell(
                f"  Two nodes believe they lead: {old.node} in term {old.term}, as it said "
                f"last, and {new.node} in term {new.term}. Only one has a majority."
            )
        finally:
            child.signal(signal.SIGCONT)
        resumed = time.monotonic()
        self._cluster.wait(
            f"{old.node} to step down",
            ELECTION_S,
            lambda seen: (
                old.node in seen
                and seen[old.node].role == "follower"
                and seen[old.node].term > old.term
            ),
        )
        self._tell(
            f"  {old.node} is resumed; {(time.monotonic() - resumed) * 1000:,.0f} ms later it has "
            f"heard of the higher term and follows."
        )

    def _kill_proxy(self, load: Load) -> None:
        name = next(iter(self._cluster.config.proxies))
        moment = time.monotonic()
        self._cluster.children[name].signal(signal.SIGKILL)
        self._busy_again(load, moment)
        self._tell(
            f"\nThe proxy {name} is killed too; the clients go on by the other. The longest wait: "
            f"{load.longest_wait_s(moment) * 1000:,.0f} ms. Errors: {len(load.errors)}."
        )

    def _count(self, load: Load) -> None:
        confirmed = load.keys()
        result = audit(self._cluster, confirmed)
        self._tell(
            f"\nAfter {len(confirmed):,} confirmed writes and {load.reads:,} reads, each replica "
            f"is read directly:"
        )
        for name, rows in result.rows.items():
            index, digest = result.digests.get(name, (0, "none"))
            self._tell(f"  {name}: {rows:,} rows; content at index {index:,} is {digest[:16]}...")
        self.faults += result.faults
        self.faults += load.errors[:5]
        self.faults += load.stale_reads[:5]
        if not self.faults:
            self._tell(
                "Every confirmed row is there exactly once on each replica, the replicas are "
                "equal, no read was stale, and no client saw an error."
            )

    def _leader(self) -> NodeStatus:
        statuses = self._cluster.wait(
            "a leader", ELECTION_S, lambda seen: leader_of(seen) is not None
        )
        leader = leader_of(statuses)
        if leader is None:
            raise NotReached("nobody leads")
        return leader

    def _elected(self, old: NodeStatus, what: str) -> NodeStatus:
        """The leader of a later term, without waiting for the answer of the old one."""
        others = [name for name in self._cluster.config.nodes if name != old.node]

        def newer(statuses: dict[str, NodeStatus]) -> bool:
            leader = leader_of(statuses)
            return leader is not None and leader.term > old.term

        leader = leader_of(self._cluster.wait(what, ELECTION_S, newer, others))
        if leader is None:
            raise NotReached(what)
        return leader

    def _busy_again(self, load: Load, since: float) -> None:
        deadline = time.monotonic() + ELECTION_S
        while not load.confirmed_by_all_since(since):
            if time.monotonic() > deadline:
                raise NotReached(f"writes did not go on within {ELECTION_S:.0f} s")
            time.sleep(0.01)
        time.sleep(SETTLE_S)
