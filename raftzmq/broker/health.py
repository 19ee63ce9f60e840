"""Who leads and who lives, as far as one broker can know from what the nodes push.

Rules of this file:

1. The highest term that a reachable node reports decides who leads. A term without a known
   leader means that an election is under way; until it is decided, a node that is heard to say
   that it leads still does. It may be wrong, which costs a redirection; but the node in the
   higher term may be one that reached this broker and nobody else, and would then stop the
   cluster for as long as it is cut off.
2. A node that refused a write, or whose connection broke, leads again only in a higher term or
   when it says so itself. Followers that have not noticed yet are not believed.
3. Any traffic proves life. A node silent for longer than ``SILENCE_MS_MAX`` is suspect: nothing
   new is sent to it. A node silent for longer than ``FORGET_MS`` has no say about the term.

No clock and no sockets: time is the argument ``now_ms``, milliseconds of any monotonic clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from raftzmq import limits
from raftzmq.wire.status import NodeStatus

LEADER_QUIET_MS_MAX: Final = 800
"""A leader that was quiet for longer than this may be out of reach: it tells its status every
200 ms when nothing else is to be told. Less than what a client waits before it asks whether to stay
(client/pipeline.py)."""
SILENCE_MS_MAX: Final = 1_000
FORGET_MS: Final = 5_000
OBSERVE_MS: Final = 400
"""A node that has not told its status for so long is asked for it. Its list of observers may be
full, and then it pushes nothing to this broker; what it answers reads shows that it lives, but not
who leads."""
RENEW_MS: Final = limits.OBSERVER_TTL_MS // 3
"""Whoever pushes is asked to go on, before it stops."""


class NodeView:
    """What the broker knows of one node."""

    __slots__ = (
        "address",
        "applied_index",
        "asked_ms",
        "heard_ms",
        "name",
        "reachable",
        "status",
        "suspect",
        "told_ms",
    )

    def __init__(self, name: str, address: str) -> None:
        self.name = name
        self.address = address
        self.status: NodeStatus | None = None
        self.heard_ms = 0
        self.told_ms = self.asked_ms = -RENEW_MS
        self.applied_index = 0
        self.reachable = False
        self.suspect = False


class ClusterView:
    """The nodes of one cluster and its leader, seen from outside.

    Args:
        nodes: name -> client address of each node.
    """

    def __init__(self, nodes: Mapping[str, str]) -> None:
        self.nodes = {name: NodeView(name, address) for name, address in nodes.items()}
        self.term = 0
        self.leader: str | None = None
        self._refused: dict[str, int] = {}
        self._hint: str | None = None

    def status(self, node: str, status: NodeStatus, now_ms: int) -> None:
        """A node said how it is; this may change the leader."""
        view = self.nodes[node]
        view.status = status
        view.told_ms = now_ms
        # Not the maximum: a node that was rebuilt from nothing starts low again.
        view.applied_index = status.applied_index
        self.heard(node, now_ms)
        if status.leader == node:
            self._refused.pop(node, None)
        self._elect()

    def heard(self, node: str, now_ms: int) -> None:
        """A node sent anything at all."""
        view = self.nodes[node]
        view.heard_ms = now_ms
        view.reachable = True
        view.suspect = False

    def unobserved(self, now_ms: int) -> list[str]:
        """Names of the nodes that are to be asked for their status now, and from now on."""
        due = []
        for name, view in self.nodes.items():
            asked_ms = now_ms - view.asked_ms
            if asked_ms >= RENEW_MS or min(asked_ms, now_ms - view.told_ms) >= OBSERVE_MS:
                view.asked_ms = now_ms
                due.append(name)
        return due

    def applied(self, node: str, index: int) -> None:
        """An answer of ``node`` shows that it has applied at least ``index``."""
        view = self.nodes[node]
        if index > view.applied_index:
            view.applied_index = index

    def lost(self, node: str) -> None:
        """The connection to ``node`` broke."""
        view = self.nodes[node]
        view.reachable = False
        view.status = None
        self.refused(node, "")

    def refused(self, node: str, leader_address: str) -> None:
        """``node`` does not take writes; it may have named the address of the one that does."""
        self._refused[node] = self.term
        if self._hint == node:
            self._hint = None
        for name, view in self.nodes.items():
            if view.address == leader_address and self._refused.get(name, -1) < self.term:
                self._hint = name
        self._elect()

    def silent(self, now_ms: int) -> list[str]:
        """Names of the nodes that became suspect since the last call."""
        fresh = []
        forgot = False
        for name, view in self.nodes.items():
            quiet_ms = now_ms - view.heard_ms
            if view.reachable and not view.suspect and quiet_ms > SILENCE_MS_MAX:
                view.suspect = True
                fresh.append(name)
            if view.status is not None and quiet_ms > FORGET_MS:
                view.status = None
                forgot = True
        if forgot:
            self._elect()
        return fresh

    def usable(self, node: str) -> bool:
        """Whether new work may be sent to ``node``."""
        view = self.nodes[node]
        return view.reachable and not view.suspect

    def takes_writes(self, now_ms: int) -> bool:
        """Whether a leader is within reach, as far as is known; see LEADER_QUIET_MS_MAX.

        A leader that was cut off together with this broker steps down, while what the others
        said last still names it: what it says itself counts more.
        """
        leader = self.leader
        if leader is None or not self.usable(leader):
            return False
        view = self.nodes[leader]
        if view.status is not None and view.status.leader != leader:
            return False
        return now_ms - view.heard_ms <= LEADER_QUIET_MS_MAX

    def furthest(self) -> int:
        """The highest index that a node is known to have applied; 0 if nothing is known yet."""
        return max((view.applied_index for view in self.nodes.values()), default=0)

    def readable(self, node: str) -> bool:
        """Whether reads may be sent to ``node``: usable, and its replica is in order."""
        status = self.nodes[node].status
        return self.usable(node) and (status is None or status.serves_reads)

    def _elect(self) -> None:
        term, leader = 0, None
        for view in self.nodes.values():
            status = view.status
            if status is None or status.term < term:
                continue
            if status.term > term:
                term, leader = status.term, None
            named = status.leader
            if named and named in self.nodes and self._refused.get(named, -1) < term:
                leader = named
        if term > self.term:
            self._hint = None
        self.term = term
        self.leader = leader or self._hint or self._last_that_leads()

    def _last_that_leads(self) -> str | None:
        """Of the nodes that say that they lead and are in order, the one of the latest term."""
        term, leader = -1, None
        for name, view in self.nodes.items():
            status = view.status
            if status is None or status.leader != name or status.term <= term:
                continue
            if not view.suspect and self._refused.get(name, -1) < status.term:
                term, leader = status.term, name
        return leader
