"""Whom a leader that should not lead asks to take over. Pure: no clock, no disk."""

from __future__ import annotations

from collections.abc import Sequence

from raftzmq.raft.types import NodeId


class HandOver:
    """Asks each live peer once, the best first, and all again after a rest.

    A peer that should not lead either ignores the request (``Raft.set_electable``), so an
    attempt that is given up is the answer "no". The rest is there because a leader takes no
    proposals while an attempt is under way.

    Args:
        again_ticks: the rest after all were asked in vain.

    Attributes:
        exhausted: every live peer was asked and none took over.
    """

    def __init__(self, again_ticks: int) -> None:
        self.exhausted = False
        self._again_ticks = again_ticks
        self._asked: set[NodeId] = set()
        self._rest_ticks = 0

    def reset(self) -> None:
        """This node does not lead, or may lead again."""
        self.exhausted = False
        self._asked.clear()
        self._rest_ticks = 0

    def tick(self, live: Sequence[NodeId], *, under_way: bool) -> NodeId | None:
        """One tick as a leader that should not be one; returns whom to ask now.

        Args:
            live: voters heard from of late, the best first.
            under_way: the last one asked has not failed yet.
        """
        if under_way:
            return None
        for peer in live:
            if peer not in self._asked:
                self._asked.add(peer)
                return peer
        self.exhausted = True
        self._rest_ticks += 1
        if self._rest_ticks >= self._again_ticks:
            self._rest_ticks = 0
            self._asked.clear()
        return None
