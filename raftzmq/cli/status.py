"""raftzmq status: every node asked directly, and the proxies."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.live import Live

from raftzmq.cli import exit_codes
from raftzmq.cli.live import ClusterTable
from raftzmq.cli.options import ConfigOption, open_config
from raftzmq.config import ClusterConfig
from raftzmq.observe.ask import Asker
from raftzmq.observe.survey import leader_of, look, proxies_seen
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
    console = Console(highlight=False)
    addresses = {name: node.client for name, node in cluster.nodes.items()}
    doors = {name: proxy.address for name, proxy in cluster.proxies.items()}
    with Asker(addresses) as nodes, Asker(doors) as proxies:
        if not watch:
            statuses = look(nodes, timeout_ms=int(timeout * 1000))
            seen = proxies_seen(proxies, timeout_ms=int(timeout * 1000)) if doors else {}
            if as_json:
                console.print_json(json.dumps(_document(cluster, statuses, seen)))
            else:
                rows = ClusterTable(cluster)
                console.print(rows.table(statuses, proxies=_proxy_states(cluster, seen)))
            if leader_of(statuses) is None:
                raise typer.Exit(exit_codes.FAILED)
            return
        rows = ClusterTable(cluster)
        with Live(console=console, auto_refresh=False) as live:
            while True:
                statuses = look(nodes, timeout_ms=int(timeout * 1000))
                seen = proxies_seen(proxies, timeout_ms=int(timeout * 1000)) if doors else {}
                if as_json:
                    typer.echo(json.dumps(_document(cluster, statuses, seen)))
                else:
                    table = rows.table(statuses, proxies=_proxy_states(cluster, seen))
                    live.update(table, refresh=True)
                time.sleep(every)


def _proxy_states(cluster: ClusterConfig, seen: dict[str, dict[str, Any]]) -> dict[str, str]:
    states = {}
    for name in cluster.proxies:
        broker = seen.get(name, {}).get("broker")
        if not isinstance(broker, dict):
            states[name] = "[red]no answer[/red]"
        else:
            leader = broker.get("leader") or "nobody"
            states[name] = f"(writes go to {leader}; {broker.get('held_requests', 0)} held)"
    return states


def _document(
    cluster: ClusterConfig, statuses: dict[str, NodeStatus], seen: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    leader = leader_of(statuses)
    return {
        "cluster": cluster.cluster,
        "leader": leader.node if leader else None,
        "term": leader.term if leader else None,
        "nodes": {
            name: asdict(statuses[name]) if name in statuses else None for name in cluster.nodes
        },
        "proxies": {name: seen.get(name, {}).get("broker") for name in cluster.proxies},
    }
