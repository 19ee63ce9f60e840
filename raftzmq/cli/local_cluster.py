"""A throw-away cluster on free ports of this machine, for the demo and the benchmark."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from raftzmq.cli.children import Children
from raftzmq.config import ClusterConfig, LimitsConfig, NodeConfig, ProxyConfig, to_toml
from raftzmq.errors import StartError
from raftzmq.observe.ask import Asker
from raftzmq.observe.survey import leader_of, look
from raftzmq.transport.free_ports import HOST, free_ports
from raftzmq.wire.status import NodeStatus

START_S = 20.0
LOOK_MS = 200
_BETWEEN_LOOKS_S = 0.005


class NotReached(StartError):
    """The cluster did not come to the wanted state in time."""


class LocalCluster:
    """Nodes and proxies as children of this process, data and logs in one folder.

    A context manager: entering starts all and waits for a leader, leaving ends all. Use it from
    the main thread.

    Args:
        folder: for everything; the caller removes it.
        nodes: how many nodes, n1, n2, ...
        proxies: how many proxies, p1, p2, ...
    """

    def __init__(self, folder: Path, *, nodes: int = 3, proxies: int = 1) -> None:
        self.config = on_free_ports(folder, nodes, proxies)
        file = folder / "nodes.toml"
        file.write_text(to_toml(self.config), encoding="utf-8")
        self.config = replace(self.config, source=file)
        self.children = Children(self.config, file)
        self._asker = Asker({name: node.client for name, node in self.config.nodes.items()})

    def __enter__(self) -> Self:
        try:
            for name in (*self.config.nodes, *self.config.proxies):
                self.children.start(name)
            self.wait("a leader that all nodes follow", START_S, self._all_agree)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End all processes."""
        self._asker.close()
        self.children.stop()

    @property
    def asker(self) -> Asker:
        """For questions to the nodes, each directly."""
        return self._asker

    @property
    def doors(self) -> list[str]:
        """Addresses for clients: the proxies, or the nodes when there is none."""
        proxies = [proxy.address for proxy in self.config.proxies.values()]
        return proxies or [node.client for node in self.config.nodes.values()]

    def look(
        self, timeout_ms: int = LOOK_MS, names: list[str] | None = None
    ) -> dict[str, NodeStatus]:
        """Status of the nodes that answer."""
        return look(self._asker, timeout_ms=timeout_ms, names=names)

    def wait(
        self,
        what: str,
        seconds: float,
        reached: Callable[[dict[str, NodeStatus]], bool],
        names: list[str] | None = None,
    ) -> dict[str, NodeStatus]:
        """Look until ``reached`` says yes; asks only ``names`` when given.

        Raises:
            NotReached: it never did, or a process ended meanwhile that nobody killed.
        """
        deadline = time.monotonic() + seconds
        while True:
            statuses = self.look(names=names)
            if reached(statuses):
                return statuses
            for child in self.children:
                if (child.exit_code or 0) > 0:
                    raise NotReached(f"{child.name} {child.ending()}:\n{child.log_tail()}")
            if time.monotonic() > deadline:
                raise NotReached(f"waited {seconds:.0f} s for {what} in vain")
            time.sleep(_BETWEEN_LOOKS_S)

    def _all_agree(self, statuses: dict[str, NodeStatus]) -> bool:
        leader = leader_of(statuses)
        return (
            leader is not None
            and len(statuses) == len(self.config.nodes)
            and all(status.leader == leader.node for status in statuses.values())
        )


def on_free_ports(folder: Path, nodes: int, proxies: int) -> ClusterConfig:
    """A cluster of nodes n1, n2, ... and proxies p1, p2, ... on ports that are free now."""
    addresses = [f"tcp://{HOST}:{port}" for port in free_ports(2 * nodes + proxies)]
    names = [f"n{number}" for number in range(1, nodes + 1)]
    doors = [f"p{number}" for number in range(1, proxies + 1)]
    return ClusterConfig(
        cluster=f"local-{addresses[0].rpartition(':')[2]}",
        nodes={
            name: NodeConfig(
                name=name, peer=addresses.pop(), client=addresses.pop(), data=folder / name
            )
            for name in names
        },
        proxies={name: ProxyConfig(name=name, address=addresses.pop()) for name in doors},
        limits=LimitsConfig(),
    )
