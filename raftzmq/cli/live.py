"""The table of a running cluster, one row per process."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from rich.table import Table
from rich.text import Text

from raftzmq.config import ClusterConfig
from raftzmq.observe.survey import leader_of, old_leaders, rates
from raftzmq.wire.status import NodeStatus

_ROLE_STYLE: Final = {"leader": "bold green", "follower": "", "candidate": "yellow"}
_NUMBERS: Final = ("term", "commit", "applied", "lag")


@dataclass(frozen=True, slots=True)
class _Look:
    at: float
    statuses: dict[str, NodeStatus]


def condition_lines(statuses: Mapping[str, NodeStatus]) -> list[Text]:
    """One line per condition that keeps a node from full service."""
    return [
        Text(f"{name}: {condition}: {sentence}", style="yellow")
        for name, status in statuses.items()
        for condition, sentence in status.conditions.items()
    ]


class ClusterTable:
    """Builds the table; remembers the last look, because rates need two.

    Args:
        config: the cluster.
        rates: show requests per second; else addresses, for a table that is shown once. Both
            together would not fit into 80 columns.
    """

    def __init__(self, config: ClusterConfig, *, rates: bool) -> None:
        self._config = config
        self._rates = rates
        self._last = _Look(time.monotonic(), {})
        self._old: set[str] = set()

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
            notes: name -> what is known of a process that did not answer.
        """
        now = _Look(time.monotonic(), statuses)
        table = Table(
            title=f"cluster {self._config.cluster}",
            title_justify="left",
            box=None,
            padding=(0, 2, 0, 0),
        )
        for name in ("node", "role"):
            table.add_column(name, no_wrap=True)
        numbers = (*_NUMBERS, *(("reads/s", "writes/s") if self._rates else ()), "pid")
        for name in numbers:
            table.add_column(name, justify="right", no_wrap=True)
        if not self._rates:
            table.add_column("address", no_wrap=True)
        leader = leader_of(statuses)
        self._old = {status.node for status in old_leaders(statuses)}
        for name, node in self._config.nodes.items():
            status = statuses.get(name)
            if status is None:
                note = (notes or {}).get(name, "no answer")
                cells = [f"[red]{note}[/red]", *[""] * len(numbers)]
            else:
                cells = self._cells(status, leader, now)
            table.add_row(name, *cells, *([] if self._rates else [node.client]))
        for name, proxy in self._config.proxies.items():
            state = (notes or {}).get(name) or (proxies or {}).get(name, "proxy")
            row = [name, state, *[""] * len(numbers)]
            table.add_row(*row, *([] if self._rates else [proxy.address]))
        self._last = now
        return table

    def _cells(self, status: NodeStatus, leader: NodeStatus | None, now: _Look) -> list[str]:
        style, role = _ROLE_STYLE.get(status.role, ""), status.role
        if status.node in self._old:
            style, role = "yellow", "old leader"
        cells = [
            f"[{style}]{role}[/{style}]" if style else role,
            str(status.term),
            str(status.commit_index),
            str(status.applied_index),
            str(max(0, leader.commit_index - status.applied_index)) if leader else "",
        ]
        if self._rates:
            rate = rates(self._last.statuses.get(status.node), status, now.at - self._last.at)
            cells += [f"{rate.reads_per_s:,.0f}", f"{rate.writes_per_s:,.0f}"] if rate else ["", ""]
        return [*cells, str(status.pid)]
