"""What of the log is kept for peers that take a snapshot: all that follows on it.

A snapshot is of no use when the log has been compacted beyond it before the receiver has it: it
would need another one, and so on for as long as clients write. So the leader keeps the log from
the moment a copy begins until the receiver has caught up by it (docs/decisions/012). How long the
log may become for that is the host's to bound.
"""

from __future__ import annotations

from dataclasses import dataclass

from raftzmq.raft.raft import Raft
from raftzmq.raft.types import NodeId

IDLE_TICKS_MAX = 1000
"""A peer that has a snapshot and comes no further in the log for so long is waited for no more."""


@dataclass(slots=True)
class _Kept:
    """What one peer will need."""

    index: int
    """It goes on after this index."""
    receiving: bool = True
    """It does not have the snapshot yet; whoever sends it watches over its progress."""
    idle_ticks: int = 0


class Retention:
    """Peers for which the log is kept, and from where.

    Attributes:
        abandoned: peers that the log was not kept for although they needed it, until they catch
            up.
    """

    def __init__(self) -> None:
        self._kept: dict[NodeId, _Kept] = {}
        self.abandoned: frozenset[NodeId] = frozenset()

    def sends(self, peer: NodeId, index: int) -> None:
        """``peer`` is to get a snapshot of ``index``, or of a later one than that."""
        self._kept[peer] = _Kept(index)

    def sent(self, peer: NodeId) -> None:
        """``peer`` has installed it, and goes on by the log."""
        if peer in self._kept:
            self._kept[peer].receiving = False

    def end(self, peer: NodeId) -> None:
        """``peer`` gets no snapshot, for now."""
        self._kept.pop(peer, None)

    def clear(self) -> None:
        """This node does not lead: it sends nothing to anybody."""
        self._kept.clear()
        if self.abandoned:
            self.abandoned = frozenset()

    def tick(self, raft: Raft) -> None:
        """One unit of time: see how far the peers have come."""
        if not self._kept:
            return
        progress = raft.progress()
        for peer, kept in list(self._kept.items()):
            if kept.receiving:
                continue
            view = progress.get(peer)
            kept.idle_ticks += 1
            if view is not None and view.match_index > kept.index:
                kept.index = view.match_index
                kept.idle_ticks = 0
            if view is not None and view.match_index >= raft.commit_index:
                self._caught_up(peer)
            elif view is None or kept.idle_ticks >= IDLE_TICKS_MAX:
                del self._kept[peer]

    def least_index(self, goal: int) -> int:
        """Up to where the log may be compacted, which should be ``goal``.

        A peer that has come to ``goal`` by itself needs nothing kept.
        """
        for peer, kept in list(self._kept.items()):
            if not kept.receiving and kept.index >= goal:
                self._caught_up(peer)
        return min((kept.index for kept in self._kept.values()), default=goal)

    def abandon(self, goal: int) -> list[NodeId]:
        """The log is compacted up to ``goal`` whoever needs it; returns who does."""
        left = sorted(peer for peer, kept in self._kept.items() if kept.index < goal)
        for peer in left:
            del self._kept[peer]
        self.abandoned |= set(left)
        return left

    def _caught_up(self, peer: NodeId) -> None:
        del self._kept[peer]
        if peer in self.abandoned:
            self.abandoned -= {peer}
