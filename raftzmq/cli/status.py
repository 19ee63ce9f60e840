"""raftzmq status: every node asked directly, and the proxies."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from types import TracebackType
from typing import Annotated, Any, Self

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table

from raftzmq.cli import exit_codes
from raftzmq.cli.live import ClusterTable, condition_lines
from raftzmq.cli.options import ConfigOption, open_config
from raftzmq.config import ClusterConfig
from raftzmq.observe.ask import Asker
from raftzmq.observe.survey import leader_of, look, old_leaders, proxies_seen
from raftzmq.wire.status import NodeStatus


def status(
    config: ConfigOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Everything, as JSON.")] = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Again and again.")] = False,
    every: Annotated[
        float, typer.Option(min=0.1, max=3600, metavar="SECONDS", help="With --watch.")
    ] = 1.0,
    timeout: Annotated[
        float, typer.Option(min=0.01, max=60, metavar="SECONDS", help="Wait for answers.")
    ] = 0.5,
) -> None:
    """Show role, term, progress and load of each node, asked directly, and of each proxy.

    "lag" counts the log entries between the leader's commit and what this node has applied.
    The exit code is 1 when no node leads, so that scripts can wait for a leader.

    Example: raftzmq status --watch

    Example: raftzmq status --json
    """
    cluster = open_config(config)
    with _Watcher(cluster, int(timeout * 1000), as_json, watch) as watcher:
        if not watch:
            if not watcher.show(Console(highlight=False)):
                raise typer.Exit(exit_codes.FAILED)
            return
        try:
            watcher.show_often(Console(highlight=False), every)
        except KeyboardInterrupt:
            return  # the usual way to end it


class _Watcher:
    """Looks at a cluster and shows it; a context manager."""

    def __init__(self, cluster: ClusterConfig, timeout_ms: int, as_json: bool, often: bool) -> None:
        self._cluster = cluster
        self._timeout_ms = timeout_ms
        self._as_json = as_json
        self._rows = ClusterTable(cluster, rates=often)
        self._nodes = Asker({name: node.client for name, node in cluster.nodes.items()})
        self._doors = Asker({name: proxy.address for name, proxy in cluster.proxies.items()})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._nodes.close()
        self._doors.close()

    def show(self, console: Console) -> bool:
        """Show the cluster once; returns whether a node leads."""
        statuses, seen = self._look()
        if self._as_json:
            typer.echo(json.dumps(_document(self._cluster, statuses, seen), indent=2))
        else:
            console.print(self._table(statuses, seen))
            for line in condition_lines(statuses):
                console.print(line)
        return leader_of(statuses) is not None

    def show_often(self, console: Console, every_s: float) -> None:
        """Show it until somebody interrupts."""
        if self._as_json or not console.is_terminal:
            while True:
                self.show(console)
                time.sleep(every_s)
        with Live(console=console, auto_refresh=False) as live:
            while True:
                statuses, seen = self._look()
                lines = condition_lines(statuses)
                live.update(Group(self._table(statuses, seen), *lines), refresh=True)
                time.sleep(every_s)

    def _look(self) -> tuple[dict[str, NodeStatus], dict[str, dict[str, Any]]]:
        statuses = look(self._nodes, timeout_ms=self._timeout_ms)
        return statuses, proxies_seen(self._doors, timeout_ms=self._timeout_ms)

    def _table(self, statuses: dict[str, NodeStatus], seen: dict[str, dict[str, Any]]) -> Table:
        return self._rows.table(statuses, proxies=_proxy_states(self._cluster, seen))


def _proxy_states(cluster: ClusterConfig, seen: dict[str, dict[str, Any]]) -> dict[str, str]:
    states = {}
    for name in cluster.proxies:
        broker = seen.get(name, {}).get("broker")
        if not isinstance(broker, dict):
            states[name] = "[red]no answer[/red]"
        else:
            states[name] = f"proxy to {broker.get('leader') or 'nobody'}"
    return states


def _document(
    cluster: ClusterConfig, statuses: dict[str, NodeStatus], seen: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    leader = leader_of(statuses)
    return {
        "cluster": cluster.cluster,
        "leader": leader.node if leader else None,
        "term": leader.term if leader else None,
        "old_leaders": sorted(status.node for status in old_leaders(statuses)),
        "nodes": {
            name: asdict(statuses[name]) if name in statuses else None for name in cluster.nodes
        },
        "proxies": {name: seen.get(name, {}).get("broker") for name in cluster.proxies},
    }
