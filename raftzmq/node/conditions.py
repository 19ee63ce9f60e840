"""What keeps this node from full service, in words for people and in effects on its duties.

Others set and clear a condition; the service, the core and the status ask here. Used by the
raft thread only.
"""

from __future__ import annotations

from dataclasses import dataclass

from raftzmq.errors import RequestError, Unavailable
from raftzmq.raft.types import Standing


@dataclass(frozen=True, slots=True)
class Condition:
    """One reason for reduced service.

    Attributes:
        sentence: what is the matter, and what to do, for people.
        refuses_reads: no read is served while it lasts.
        refuses_writes: no write is proposed while it lasts.
        write_error: what a refused write is answered with. ``Unavailable`` makes brokers try
            again until the request's deadline, ``DiskFull`` reaches the client at once.
    """

    sentence: str
    refuses_reads: bool = False
    refuses_writes: bool = False
    write_error: type[RequestError] = Unavailable


def standing_condition(standing: Standing) -> Condition | None:
    """What a standing means for the node's service; see raft/standing.py."""
    if standing is Standing.RECOVERING:
        return Condition(
            "its data were lost, set back or are new; it takes no part in votes and"
            " acknowledgements until it holds all that it may have promised, for which a majority"
            " of the cluster without it must be up",
            refuses_reads=True,
        )
    if standing is Standing.UNKNOWN:
        return Condition(
            "it has just started and waits until its peers confirm that they know no later life"
            " of it"
        )
    return None


class Conditions:
    """The conditions that hold now, by name.

    Attributes:
        refusing_reads: one that refuses reads.
        refusing_writes: one that refuses writes.
        names: of all of them.
    """

    def __init__(self) -> None:
        self._held: dict[str, Condition] = {}
        self.refusing_reads: Condition | None = None
        self.refusing_writes: Condition | None = None
        self.names: tuple[str, ...] = ()

    def set(self, name: str, condition: Condition | None) -> None:
        """Hold ``condition`` under ``name``, in place of what was there; None clears it."""
        if condition is None:
            self._held.pop(name, None)
        else:
            self._held[name] = condition
        held = self._held.values()
        self.refusing_reads = next((each for each in held if each.refuses_reads), None)
        self.refusing_writes = next((each for each in held if each.refuses_writes), None)
        self.names = tuple(self._held)

    def sentences(self) -> dict[str, str]:
        """Name -> sentence of each condition."""
        return {name: condition.sentence for name, condition in self._held.items()}
