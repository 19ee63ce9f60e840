"""raftzmq stop: ends nodes and proxies that run on this machine."""

from __future__ import annotations

import os
import signal
import time
from typing import Annotated

import typer
from rich.console import Console

from raftzmq.cli import exit_codes
from raftzmq.cli.options import ConfigOption, open_config
from raftzmq.cli.running import pid_of
from raftzmq.config import ClusterConfig
from raftzmq.errors import ConfigError

WAIT_S = 15.0
_LOOK_S = 0.05


def stop(
    name: Annotated[
        str | None, typer.Argument(help="A node or proxy of nodes.toml; all by default.")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Stop what runs on this machine: the whole cluster, or NAME.

    Sends SIGTERM, which lets a leader hand over first, and waits until the process has ended.
    Nodes on other machines are stopped there.

    Example: raftzmq stop

    Example: raftzmq stop n2
    """
    console = Console(highlight=False)
    cluster = open_config(config)
    if name is not None and name not in cluster.nodes and name not in cluster.proxies:
        raise ConfigError(
            f"no node or proxy is named {name!r}; there are "
            f"{', '.join((*cluster.nodes, *cluster.proxies))}"
        )
    names = [name] if name is not None else [*cluster.proxies, *cluster.nodes]
    running = {each: pid for each in names if (pid := pid_of(cluster, each)) is not None}
    if not running:
        what = name if name is not None else "nothing of this cluster"
        console.print(f"{what} runs on this machine" if name is None else f"{what} does not run")
        return
    for each, pid in running.items():
        console.print(f"stopping {each} (process {pid})")
        _send_stop(pid)
    left = _wait(cluster, running)
    if left:
        console.print(f"still running after {WAIT_S:.0f} s: {', '.join(left)}")
        raise typer.Exit(exit_codes.FAILED)
    console.print("stopped")


def _send_stop(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGTERM)
        os.kill(pid, signal.SIGCONT)
    except ProcessLookupError:
        return


def _wait(cluster: ClusterConfig, running: dict[str, int]) -> list[str]:
    deadline = time.monotonic() + WAIT_S
    left = list(running)
    while left and time.monotonic() < deadline:
        time.sleep(_LOOK_S)
        left = [each for each in left if pid_of(cluster, each) == running[each]]
    return left
