"""raftzmq start: one node or proxy in the foreground, or the whole cluster."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from raftzmq.cli.children import die_with_parent
from raftzmq.cli.options import ConfigOption, open_config
from raftzmq.cli.running import proxy_lock
from raftzmq.cli.supervise import supervise
from raftzmq.config import ClusterConfig
from raftzmq.errors import ConfigError


def start(
    name: Annotated[
        str | None, typer.Argument(help="A node or proxy of nodes.toml; all of them by default.")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Start the whole cluster on this machine, or one NAME of it in the foreground.

    Without NAME, each node and proxy becomes a process of its own; on a terminal a table shows
    them, Ctrl-C stops them all. Data folders are made as needed.

    Example: raftzmq start            (three nodes and a proxy, data in ./raftzmq-data)

    Example: raftzmq start n1 --config /etc/raftzmq/nodes.toml
    """
    cluster = open_config(config)
    if name is None:
        raise typer.Exit(supervise(cluster, cluster.source, Console(highlight=False)))
    die_with_parent()
    raise typer.Exit(_run_one(cluster, name))


def _run_one(cluster: ClusterConfig, name: str) -> int:
    # Imported here: the other commands would pay for the whole server at each start.
    from raftzmq.broker.process import run_broker
    from raftzmq.node.process import run_node

    if name in cluster.nodes:
        return run_node(cluster, name)
    if name in cluster.proxies:
        with proxy_lock(cluster, name):
            return run_broker(cluster, name)
    known = ", ".join((*cluster.nodes, *cluster.proxies))
    raise ConfigError(
        f"{cluster.source or 'built-in defaults'}: no node or proxy is named {name!r}; "
        f"there are {known}"
    )
