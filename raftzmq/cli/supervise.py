"""Runs a whole cluster on this machine until Ctrl-C, and says what happens to it."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.live import Live

from raftzmq.cli import exit_codes
from raftzmq.cli.children import Child, Children
from raftzmq.cli.live import ClusterTable
from raftzmq.config import ClusterConfig
from raftzmq.observe.ask import Asker
from raftzmq.observe.survey import leader_of, look
from raftzmq.wire.status import NodeStatus

LOOK_S = 0.5


class _Stop(Exception):
    """A signal asked for the end."""


class Supervisor:
    """The processes of one cluster and what people are told about them."""

    def __init__(self, config: ClusterConfig, children: Children, console: Console) -> None:
        self._config = config
        self._children = children
        self._console = console
        self._reported: set[int] = set()
        self._leader: tuple[str, int] | None = None
        self._served = False

    def run(self, show: Callable[[dict[str, NodeStatus]], None] | None) -> int:
        """Look at the cluster twice a second until no child is left.

        Args:
            show: called with each look.

        Returns:
            The exit code: that of a node when no node ever served, else 0.
        """
        addresses = {name: node.client for name, node in self._config.nodes.items()}
        with Asker(addresses) as asker:
            while any(child.exit_code is None for child in self._children):
                began = time.monotonic()
                statuses = look(asker, timeout_ms=int(LOOK_S * 1000))
                self._report_ends()
                self._report_leader(statuses)
                if show is not None:
                    show(statuses)
                time.sleep(max(0.0, LOOK_S - (time.monotonic() - began)))
        self._report_ends()
        codes = [child.exit_code or 0 for child in self._children]
        if self._served:
            return 0
        return next((code for code in codes if code > 0), exit_codes.FAILED)

    def ends(self) -> dict[str, str]:
        """name -> how it ended, of the children that no longer run."""
        return {
            child.name: child.ending() for child in self._children if child.exit_code is not None
        }

    def _report_ends(self) -> None:
        for child in self._children:
            if child.exit_code is None or child.pid in self._reported:
                continue
            self._reported.add(child.pid)
            self._console.print(f"{child.name} {child.ending()}", soft_wrap=True)
            if child.exit_code != 0:
                self._console.print(_why(child), soft_wrap=True, markup=False)

    def _report_leader(self, statuses: dict[str, NodeStatus]) -> None:
        found = leader_of(statuses)
        if found is None or (found.node, found.term) == self._leader:
            return
        self._leader = (found.node, found.term)
        line = f"{found.node} leads in term {found.term}"
        if not self._served:
            self._served = True
            doors = [proxy.address for proxy in self._config.proxies.values()]
            line += f"; requests go to {' or '.join(doors or [found.leader_client_address])}"
        self._console.print(line, soft_wrap=True)


def supervise(config: ClusterConfig, config_file: Path | None, console: Console) -> int:
    """Start every node and proxy of ``config``, stay until Ctrl-C or until all have ended.

    Returns:
        The exit code for the command.
    """
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _raise_stop)
    with Children(config, config_file) as children:
        try:
            for name in (*config.nodes, *config.proxies):
                child = children.start(name)
                console.print(f"{name} is process {child.pid}, log in {child.log}", soft_wrap=True)
            supervisor = Supervisor(config, children, console)
            if not console.is_terminal:
                return supervisor.run(None)
            rows = ClusterTable(config, rates=True)
            with Live(console=console, auto_refresh=False) as live:
                return supervisor.run(
                    lambda statuses: live.update(
                        rows.table(statuses, notes=supervisor.ends()), refresh=True
                    )
                )
        except _Stop:
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            console.print("stopping all", soft_wrap=True)
            killed = children.stop()
            for child in killed:
                console.print(f"{child.name} did not stop in time and was killed", soft_wrap=True)
            console.print("stopped", soft_wrap=True)
            return exit_codes.FAILED if killed else 0


def _raise_stop(number: int, frame: object) -> None:
    raise _Stop


def _why(child: Child) -> str:
    lines = [f"  {line}" for line in child.log_tail().splitlines()]
    return "\n".join([*lines, f"  (log: {child.log}; again: raftzmq start {child.name})"])
