"""A cluster that somebody else started, as a stand for faults.

Whose process is whose is told by the locks on the data folders, which end with their holders: no
signal ever goes to a process that does not hold the lock of a node or proxy of nodes.toml here.
"""

# ruff: noqa: T201  (these are parts of programs that print)
from __future__ import annotations

import argparse
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from raftzmq.chaos.cluster import read_layout
from raftzmq.chaos.disks import Ballast
from raftzmq.chaos.network import OUTSIDE, Control
from raftzmq.chaos.shim import FaultFile
from raftzmq.chaos.stand import Stand
from raftzmq.chaos.switch import enter
from raftzmq.chaos.trouble import ChaosError
from raftzmq.cli.options import open_config
from raftzmq.cli.running import pid_of, run_folder
from raftzmq.config import ClusterConfig
from raftzmq.observe.ask import Asker

_LOOPBACK = re.compile(r"ipc://.*|tcp://(127\.[0-9.]+|localhost|\[::1\]):[0-9]+")
_BY_ITSELF_S = 3.0
_KEPT_S = 15.0


def find_cluster(path: Path | None) -> ClusterConfig:
    """The cluster that --config means; this process moves into its network if it has one.

    To be called before any thread or socket is made.

    Raises:
        ChaosError: its nodes are not on this machine.
        ConfigError: nodes.toml is missing or wrong.
    """
    config = open_config(path)
    layout = read_layout(config.source) if config.source is not None else None
    if layout is not None and layout["network"]:
        try:
            enter(layout["namespaces"][OUTSIDE])
        except OSError as error:
            raise ChaosError(
                f"the network of this cluster cannot be entered ({error}): use sudo, and is "
                f"scripts/chaos/cluster.sh still running?"
            ) from error
        return config
    for node in config.nodes.values():
        if not (_LOOPBACK.fullmatch(node.peer) and _LOOPBACK.fullmatch(node.client)):
            raise ChaosError(
                f"node {node.name} is not on loopback ({node.client}); this script harms only "
                f"clusters that live on this machine"
            )
    return config


def is_kept(config: ClusterConfig) -> bool:
    """Whether it was started by cluster.sh, which starts again whoever dies."""
    return config.source is not None and read_layout(config.source) is not None


def start_command(config: ClusterConfig, name: str) -> str:
    """What a person types to start a node or proxy again."""
    option = [] if config.source is None else ["--config", str(config.source)]
    return shlex.join(["raftzmq", "start", name, *option])


def seconds(text: str) -> float:
    """For argparse: how long a fault lasts."""
    value = float(text)
    if not 0.1 <= value <= 86_400:
        raise argparse.ArgumentTypeError("0.1 to 86400 seconds")
    return value


@contextmanager
def open_stand(config: ClusterConfig) -> Iterator[Stand]:
    """The cluster, with what it was started with."""
    layout = read_layout(config.source) if config.source is not None else None
    layout = layout or {"network": False, "shims": {}, "disks": {}}
    with Asker({name: node.client for name, node in config.nodes.items()}) as asker:
        folder = config.source.absolute().parent if config.source is not None else Path.cwd()
        yield Stand(
            config=config,
            processes=RunningProcesses(config, kept=is_kept(config)),
            asker=asker,
            control=Control(folder) if layout["network"] else None,
            shims={name: FaultFile(Path(file)) for name, file in layout["shims"].items()},
            disks={name: Ballast(Path(place)) for name, place in layout["disks"].items()},
        )


class RunningProcesses:
    """See raftzmq.chaos.stand.Processes.

    Args:
        kept: somebody starts them again who can put them where they belong.
    """

    def __init__(self, config: ClusterConfig, *, kept: bool) -> None:
        self._config = config
        self._kept = kept
        self._ended: dict[str, float] = {}

    def pid(self, name: str) -> int | None:
        """By the lock that it holds."""
        return pid_of(self._config, name)

    def expect_end(self, name: str) -> None:
        """From now on somebody else may start it again."""
        self._ended[name] = time.monotonic()

    def start(self, name: str) -> None:
        """Wait a moment for whoever keeps it; then start it in the background.

        Raises:
            ChaosError: who keeps it does not start it, or it does not start.
        """
        now = time.monotonic()
        deadline = now + _KEPT_S if self._kept else self._ended.get(name, now) + _BY_ITSELF_S
        while self.pid(name) is None and time.monotonic() < deadline:
            time.sleep(0.05)
        if self.pid(name) is not None:
            return
        if self._kept:
            raise ChaosError(
                f"{name} is not started again; does scripts/chaos/cluster.sh still run?"
            )
        log = run_folder(self._config) / f"{name}.log"
        option = [] if self._config.source is None else ["--config", str(self._config.source)]
        with log.open("ab") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "raftzmq.cli.main", "start", name, *option],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        # It has a lock when it runs: who comes next would take it for dead.
        deadline = time.monotonic() + _KEPT_S
        while self.pid(name) is None:
            if process.poll() is not None or time.monotonic() > deadline:
                raise ChaosError(f"{name} does not start; its log is {log}")
            time.sleep(0.05)
        stop = " ".join(["raftzmq stop", name, *option])
        print(f"{name} started again in the background, its log is {log}; to stop it: {stop}")
