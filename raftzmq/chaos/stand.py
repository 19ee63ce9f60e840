"""A cluster that faults are injected into, whoever started it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from raftzmq.chaos.disks import Ballast
from raftzmq.chaos.kinds import Need
from raftzmq.chaos.network import Control
from raftzmq.chaos.shim import FaultFile
from raftzmq.chaos.trouble import ChaosError
from raftzmq.config import ClusterConfig
from raftzmq.observe.ask import Asker
from raftzmq.observe.survey import leader_of, look
from raftzmq.wire.status import NodeStatus

LOOK_MS: Final = 300
_BETWEEN_LOOKS_S: Final = 0.02
WHOLE_S: Final = 45.0
"""For all nodes to follow one leader and to hold what it has committed; a machine under load is
slow. Longer than that is a failure of the cluster."""


class Processes(Protocol):
    """The processes of a cluster, by their names in nodes.toml."""

    def pid(self, name: str) -> int | None:
        """The process that runs now, or None."""

    def start(self, name: str) -> None:
        """Make it run again, if it does not."""

    def expect_end(self, name: str) -> None:
        """Its end from now until ``start`` is wanted, and nobody's fault."""


@dataclass(frozen=True, slots=True)
class Stand:
    """See Need for what may be missing.

    Attributes:
        config: as clients see it.
        asker: of all nodes.
        control: of the switch.
        shims: by node.
        disks: by node.
        sleep: waits so many seconds; stops the run when somebody asked for that.
    """

    config: ClusterConfig
    processes: Processes
    asker: Asker
    control: Control | None = None
    shims: Mapping[str, FaultFile] = field(default_factory=dict)
    disks: Mapping[str, Ballast] = field(default_factory=dict)
    sleep: Callable[[float], None] = time.sleep

    @property
    def nodes(self) -> tuple[str, ...]:
        """Names of the nodes."""
        return tuple(self.config.nodes)

    @property
    def proxies(self) -> tuple[str, ...]:
        """Names of the proxies."""
        return tuple(self.config.proxies)

    @property
    def seats(self) -> tuple[str, ...]:
        """All that have an address of their own in the network, clients not among them."""
        return self.nodes + self.proxies

    @property
    def have(self) -> frozenset[Need]:
        """What faults this cluster can suffer."""
        found = set()
        if self.control is not None:
            found.add(Need.NETWORK)
        if self.shims:
            found.add(Need.SHIM)
        if self.disks:
            found.add(Need.DISK)
        return frozenset(found)

    def look(self) -> dict[str, NodeStatus]:
        """Status of the nodes that answer."""
        return look(self.asker, timeout_ms=LOOK_MS)

    def leader(self, seconds: float = WHOLE_S) -> NodeStatus:
        """Who leads.

        Raises:
            ChaosError: nobody does.
        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found = leader_of(self.look())
            if found is not None:
                return found
            self.sleep(_BETWEEN_LOOKS_S)
        raise ChaosError(f"no node leads after {seconds:.0f} s; see raftzmq status")

    def wait_until_whole(self, seconds: float = WHOLE_S) -> NodeStatus:
        """Until all nodes serve, follow one leader, and have applied what it had committed.

        Returns:
            The leader's status.

        Raises:
            ChaosError: that does not come about; the message says what each node says.
        """
        deadline = time.monotonic() + seconds
        goal: NodeStatus | None = None
        seen: dict[str, NodeStatus] = {}
        while time.monotonic() < deadline:
            seen = self.look()
            leader = leader_of(seen)
            together = leader is not None and all(
                (each.term, each.leader, each.conditions) == (leader.term, leader.node, {})
                for each in seen.values()
            )
            if len(seen) < len(self.nodes) or not together or leader is None:
                goal = None
            elif goal is None or goal.term != leader.term:
                goal = leader
            elif all(each.applied_index >= goal.commit_index for each in seen.values()):
                return leader
            self.sleep(_BETWEEN_LOOKS_S)
        raise ChaosError(f"the cluster is not whole after {seconds:.0f} s: {_told(self, seen)}")

    def shim(self, node: str) -> FaultFile:
        """Raises:
        ChaosError: the cluster was started without.
        """
        if node not in self.shims:
            raise ChaosError(f"{node} was started without {Need.SHIM}: {HOW}")
        return self.shims[node]

    def disk(self, node: str) -> Ballast:
        """Raises:
        ChaosError: the cluster was started without.
        """
        if node not in self.disks:
            raise ChaosError(f"{node} was started without {Need.DISK}: {HOW}")
        return self.disks[node]

    def switch(self) -> Control:
        """Raises:
        ChaosError: the cluster was started without.
        """
        if self.control is None:
            raise ChaosError(f"the cluster was started without {Need.NETWORK}: {HOW}")
        return self.control


HOW: Final = (
    "start one that has all with `sudo scripts/chaos/cluster.sh --out DIR` and give "
    "--config DIR/nodes.toml"
)


def started_ticks(pid: int) -> str:
    """When a process began, as the kernel counts; tells two apart that had the same id."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def state_of(pid: int) -> str:
    """The kernel's letter for the state of a process; empty when there is none."""
    return _state(Path(f"/proc/{pid}"))


def _state(folder: Path) -> str:
    try:
        return (folder / "stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return ""


def is_gone(pid: int) -> bool:
    """Whether it has ended, all of its threads; one that is dead and not yet collected has.

    The first thread can be dead for a while before the last: until then locks are held and files
    are written.
    """
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return True
    return all(_state(thread) in ("", "Z", "X") for thread in threads)


def _told(stand: Stand, seen: Mapping[str, NodeStatus]) -> str:
    return ", ".join(
        f"{name}: {seen[name].role} of {seen[name].leader or 'nobody'} in term {seen[name].term},"
        f" applied {seen[name].applied_index}"
        + "".join(f", {condition}" for condition in seen[name].conditions)
        if name in seen
        else f"{name}: no answer"
        for name in stand.nodes
    )
