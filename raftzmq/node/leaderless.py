"""Says that a node knows no leader, once that lasts longer than an election takes."""

from __future__ import annotations

from raftzmq.node.conditions import Condition, Conditions
from raftzmq.raft.raft import Raft

NAME = "no leader"
_CONDITION = Condition(
    "it hears no leader, so it serves no writes and only stale reads; it is cut off from the "
    "others, or most of them are down"
)


class Leaderless:
    """Sets and clears the condition; asked once per tick.

    Args:
        raft: the core.
        conditions: of this node.
        patience_ticks: an election may take so long without being worth a word.
    """

    def __init__(self, raft: Raft, conditions: Conditions, patience_ticks: int) -> None:
        self._raft = raft
        self._conditions = conditions
        self._patience_ticks = patience_ticks
        self._ticks = 0

    def tick(self) -> None:
        """A tick passed."""
        if self._raft.leader is not None:
            if self._ticks > self._patience_ticks:
                self._conditions.set(NAME, None)
            self._ticks = 0
            return
        self._ticks += 1
        if self._ticks == self._patience_ticks + 1:
            self._conditions.set(NAME, _CONDITION)
