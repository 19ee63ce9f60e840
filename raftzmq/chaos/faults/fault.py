"""What every fault is."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, Final

from raftzmq.chaos.schedule import Planned
from raftzmq.chaos.stand import Stand
from raftzmq.wire.status import NodeStatus

_EVIDENCE_S: Final = 5.0


class Fault(ABC):
    """One fault, once. ``heal`` and ``close`` may be called in any state, also more than once.

    Args:
        stand: the cluster.
        planned: parameters, and who is hit as far as the moment does not decide.
        victim: hit this one, a node or proxy, instead.

    Attributes:
        target: whom it hit, once injected.
        detail: parameters and evidence, for people.
        fired: it was seen to have an effect.
    """

    wants_whole: ClassVar[bool] = True
    """Inject only into a cluster in which all is well, since it takes somebody away."""

    def __init__(self, stand: Stand, planned: Planned, victim: str = "") -> None:
        self.stand = stand
        self.planned = planned
        self.victim = victim
        self.target = victim
        self.detail = ""
        self.fired = False

    @abstractmethod
    def inject(self) -> None:
        """Begin.

        Raises:
            ChaosError: it is not possible.
        """

    @abstractmethod
    def heal(self) -> None:
        """End it and gather the evidence.

        Raises:
            ChaosError: the cluster did not take it.
        """

    def look(self) -> None:  # noqa: B027 - most have nothing to look at
        """Called now and then while it is on, to gather evidence that passes."""

    def pick_node(self) -> str:
        """Who is hit: the named one; else the leader, or one of the others, as planned."""
        if self.victim:
            return self.victim
        leader = self.stand.leader()
        return leader.node if self.planned.lead else self.pick_other(leader)

    def pick_other(self, leader: NodeStatus) -> str:
        """A node that does not lead; the leader itself where there is only one node."""
        others = [name for name in self.stand.nodes if name != leader.node] or [leader.node]
        if not self.wants_whole:
            # Another fault may be on, and what befalls its victim would show nothing.
            seen = self.stand.look()
            well = [name for name in others if name in seen and seen[name].leader == leader.node]
            others = well or others
        return others[self.planned.choice % len(others)]

    def wait_for(self, seen: Callable[[], bool]) -> None:
        """Go on for a while until the effect was seen: traffic may be thin at this moment."""
        deadline = time.monotonic() + _EVIDENCE_S
        while not seen() and time.monotonic() < deadline:
            self.stand.sleep(0.05)

    def proven(self, evidence: str) -> None:
        """It fired: ``evidence`` says by what that was seen."""
        self.fired = True
        self.note(evidence)

    def note(self, text: str) -> None:
        """Add to the detail."""
        self.detail += ("; " if self.detail else "") + text
