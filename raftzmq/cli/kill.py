"""raftzmq kill: stops reads that run or wait."""

from __future__ import annotations

import getpass
import socket
from typing import Annotated

import typer

from raftzmq.cli import exit_codes
from raftzmq.cli.options import ConfigOption, open_config
from raftzmq.errors import RequestError
from raftzmq.observe.ask import Asker
from raftzmq.observe.running import kill_query, node_of


def kill(
    ids: Annotated[
        list[str],
        typer.Argument(metavar="ID...", help="As `raftzmq queries` shows them, like n2-1a2b3-17."),
    ],
    config: ConfigOption = None,
    timeout: Annotated[
        float, typer.Option(min=0.01, max=60, metavar="SECONDS", help="Wait for an answer.")
    ] = 2.0,
) -> None:
    """Stop reads that run or wait for a worker. Their clients get the error Killed at once.

    The error names you and this machine; nothing sends a killed read again by itself. A write
    that is being applied cannot be stopped, since every replica must do the same with it; it
    ends by itself at write_steps_max.

    Exit codes: 0 all were stopped; 4 one is unknown, has ended, or must not be stopped;
    5 its node did not answer.

    Example: raftzmq kill n2-1a2b3-17
    """
    cluster = open_config(config)
    names = list(cluster.nodes)
    code = 0
    with Asker({name: node.client for name, node in cluster.nodes.items()}) as asker:
        for query in ids:
            try:
                node = node_of(query, names)
                kill_query(asker, node, query, _myself(), timeout_ms=int(timeout * 1000))
            except RequestError as error:
                typer.echo(exit_codes.explained(error), err=True)
                code = max(code, exit_codes.of_request(error))
            else:
                typer.echo(f"{query} stopped")
    if code:
        raise typer.Exit(code)


def _myself() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "somebody"  # a user id without a name, as in many containers
    return f"{user}@{socket.gethostname()}"
