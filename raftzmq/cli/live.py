"""The table of a running cluster, one row per process."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from rich.table import Table

from raftzmq.config import ClusterConfig
from raftzmq.observe.survey import leader_of, rates
from raftzmq.wire.status import NodeStatus

_ROLE_STYLE = {"leader": "bold green", "follower": "", "candidate": "yellow"}


@dataclass(frozen=True, slots=True)
class _Look:
    at: float
    statuses: dict[str, NodeStatus]


class ClusterTable:
    """Builds the table; remembers the last look, because rates need two."""

    def __init__(self, config: ClusterConfig) -> None:
        self._config = config
        self._last = _Look(time.monotonic(), {})

    def table(
        self,
        statuses: dict[str, NodeStatus],
        *,
        proxies: Mapping[str, str] | None = None,
        notes: Mapping[str, str] | None = None,
    ) -> Table:
        """The table for what was seen now.

        Args:
            statuses: of the nodes that answered.
            proxies: name -> state of each proxy.
            notes: name -> what is known of a node that did not answer.
        """
        now = _Look(time.monotonic(), statuses)
        seconds = now.at - self._last.at
        table = Table(title=f"cluster {self._config.cluster}", title_justify="left")
        table.add_column("node")
        table.add_column("role")
        for name in ("term", "commit", "applied", "lag", "reads/s", "writes/s", "pid"):
            table.add_column(name, justify="right")
        table.add_column("address")
        leader = leader_of(statuses)
        for name, node in self._config.nodes.items():
            status = statuses.get(name)
            if status is None:
                note = (notes or {}).get(name, "no answer")
                table.add_row(name, f"[red]{note}[/red]", *[""] * 7, node.client)
                continue
            style = _ROLE_STYLE.get(status.role, "")
            role = status.role
            if role == "leader" and leader is not None and status.term < leader.term:
                role, style = "leader of an old term", "yellow"
            rate = rates(self._last.statuses.get(name), status, seconds)
            table.add_row(
                name,
                f"[{style}]{role}[/{style}]" if style else role,
                str(status.term),
                str(status.commit_index),
                str(status.applied_index),
                str(max(0, leader.commit_index - status.applied_index)) if leader else "",
                f"{rate.reads_per_s:,.0f}" if rate else "",
                f"{rate.writes_per_s:,.0f}" if rate else "",
                str(status.pid),
                node.client,
            )
        for name, proxy in self._config.proxies.items():
            state = (proxies or {}).get(name, "")
            table.add_row(name, f"proxy {state}".strip(), *[""] * 7, proxy.address)
        self._last = now
        return table
