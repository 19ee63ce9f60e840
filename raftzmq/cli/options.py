"""Options that several commands share, and what they stand for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from raftzmq.config import ClusterConfig, load

DEFAULT_FILE = Path("config/nodes.toml")

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        envvar="RAFTZMQ_CONFIG",
        help="The nodes.toml; else ./config/nodes.toml; else three nodes and a proxy "
        "on this machine.",
        show_default=False,
    ),
]

ConnectOption = Annotated[
    str | None,
    typer.Option(
        "--connect",
        envvar="RAFTZMQ_CONNECT",
        metavar="ADDRESS",
        help="Address of a proxy or node, tcp://HOST:PORT; else the first proxy of nodes.toml.",
        show_default=False,
    ),
]

TokenOption = Annotated[
    bool,
    typer.Option(
        "--token",
        help="Print the session token, a number, as the last line: what `read --level session "
        "--after TOKEN` must see.",
    ),
]

TimeoutOption = Annotated[
    float,
    typer.Option("--timeout", metavar="SECONDS", min=0.01, max=600, help="Give up after this."),
]


def open_config(path: Path | None) -> ClusterConfig:
    """The cluster that the --config option means.

    Raises:
        ConfigError: the file is missing or wrong.
    """
    if path is None and DEFAULT_FILE.is_file():
        path = DEFAULT_FILE
    return load(path)


def connect_addresses(connect: str | None, path: Path | None) -> list[str]:
    """Where requests go: the named address, else all proxies, else all nodes.

    Raises:
        ConfigError: nodes.toml was needed and is missing or wrong.
    """
    if connect is not None:
        return [connect]
    config = open_config(path)
    proxies = [proxy.address for proxy in config.proxies.values()]
    return proxies or [node.client for node in config.nodes.values()]
