"""The node as a process: signals, exit codes, messages for people and for systemd."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from raftzmq.config import ClusterConfig
from raftzmq.errors import REBUILD, ConfigError, StartError
from raftzmq.invariants import InvariantBroken
from raftzmq.node.loop import Node
from raftzmq.node.startup import open_folder
from raftzmq.observe.log_line import say
from raftzmq.observe.service_manager import notify
from raftzmq.transport.cycles import spare_the_old

EXIT_INVARIANT = 70  # EX_SOFTWARE of sysexits.h
THREAD_SWITCH_S = 0.0005
"""A thread that wakes up waits at most so long for the interpreter: the default of 5 ms would
be the latency of every hop between the threads of a node."""


def run_node(config: ClusterConfig, name: str) -> int:
    """Run node ``name`` in the foreground until SIGTERM or SIGINT.

    Returns:
        The exit code of the process: 0 after a graceful stop, else ``StartError.exit_code``.
    """
    os.environ["TZ"] = "UTC"  # 'localtime' in SQL must mean the same on every replica
    time.tzset()
    sys.setswitchinterval(THREAD_SWITCH_S)
    try:
        if name not in config.nodes:
            raise ConfigError(
                f"there is no node {name!r}; nodes.toml names {', '.join(config.nodes)}"
            )
        _serve(config, name)
    except StartError as error:
        say(name, f"error: {_with_command(error, config, name)}")
        return error.exit_code
    except InvariantBroken as error:
        say(name, f"error: broken invariant, please report it: {error}")
        return EXIT_INVARIANT
    return 0


def _serve(config: ClusterConfig, name: str) -> None:
    opened = open_folder(config, config.nodes[name])
    for note in (*opened.folder.notes, *opened.log.notes):
        say(name, note)

    def ready() -> None:
        notify("READY=1")
        say(name, "ready")

    try:
        node = Node(config, name, opened, lambda line: say(name, line), ready)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: node.stop())
        say(
            name,
            f"serving clients at {config.nodes[name].client}, peers at "
            f"{config.nodes[name].peer}, data in {Path(config.nodes[name].data)}",
        )
        spare_the_old()
        node.run()
        notify("STOPPING=1")
        say(name, "stopped")
    finally:
        opened.folder.close()


def _with_command(error: StartError, config: ClusterConfig, name: str) -> str:
    """The message; a command to rebuild "NODE" is made one that can be typed as it stands."""
    file = f" --config {config.source}" if config.source is not None else ""
    return str(error).replace(REBUILD, f"raftzmq rebuild {name}{file}")
