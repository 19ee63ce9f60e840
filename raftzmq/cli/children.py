"""Nodes and proxies as child processes that cannot outlive the one that started them."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from raftzmq.cli.running import run_folder
from raftzmq.config import ClusterConfig

PARENT_VARIABLE: Final = "RAFTZMQ_PARENT_PID"
STOP_S: Final = 8.0
"""After SIGTERM; a leader needs a moment to hand over. Then SIGKILL, which loses nothing."""
LOG_TAIL_LINES: Final = 12
_PR_SET_PDEATHSIG: Final = 1  # prctl(2), Linux


def die_with_parent() -> None:
    """Called by a child at its start: the kernel kills it when its parent is gone.

    The child asks for it itself, because running code between fork and exec is unsafe in a
    process with threads.
    """
    parent = os.environ.get(PARENT_VARIABLE)
    if parent is None or not parent.isdigit():
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != int(parent):
        sys.exit("the process that started this one is gone already")


class Child:
    """One node or proxy as a process of ours.

    Attributes:
        name: as in nodes.toml.
        log: the file that takes what it prints.
    """

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path, began: int) -> None:
        self.name = name
        self.log = log
        self._process = process
        self._log_began = began

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; the negative signal number when a signal ended it."""
        return self._process.poll()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens when the process has ended."""
        if self._process.poll() is None:
            self._process.send_signal(number)

    def wait(self, timeout_s: float) -> int | None:
        """Wait for the end; the exit code, or None when it still runs."""
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def log_tail(self) -> str:
        """The last lines it printed in this run."""
        try:
            with self.log.open("rb") as file:
                file.seek(0, os.SEEK_END)
                file.seek(max(self._log_began, file.tell() - 8192))
                text = file.read().decode(errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-LOG_TAIL_LINES:])

    def ending(self) -> str:
        """How it ended, for people."""
        code = self.exit_code
        if code is None:
            return "still runs"
        if code < 0:
            return f"ended by {signal.Signals(-code).name}"
        return f"ended with exit code {code}"


class Children:
    """All processes of one cluster that this process started; a context manager that ends them.

    Start children from the main thread only: the kernel takes the end of the *thread* that
    started a child for the end of its parent.
    """

    def __init__(self, config: ClusterConfig, config_file: Path | None) -> None:
        self._config = config
        self._config_file = config_file
        self._children: dict[str, Child] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def __getitem__(self, name: str) -> Child:
        return self._children[name]

    def __iter__(self) -> Iterator[Child]:
        return iter(self._children.values())

    def start(self, name: str) -> Child:
        """Start node or proxy ``name``, again if it ran before."""
        log = run_folder(self._config) / f"{name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "raftzmq.cli.main", "start", name]
        if self._config_file is not None:
            command += ["--config", str(self._config_file)]
        with log.open("ab") as output:
            began = output.tell()
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, PARENT_VARIABLE: str(os.getpid())},
                # Ctrl-C reaches the parent alone, which then stops them in order.
                process_group=0,
            )
        child = Child(name, process, log, began)
        self._children[name] = child
        return child

    def stop(self, timeout_s: float = STOP_S) -> list[Child]:
        """End all: SIGTERM, wait, SIGKILL. Proxies first, so that no request is cut off.

        Returns:
            Those that had to be killed.
        """
        proxies = [child for child in self._children.values() if child.name in self._config.proxies]
        nodes = [child for child in self._children.values() if child.name in self._config.nodes]
        return [killed for group in (proxies, nodes) for killed in _end(group, timeout_s)]


def _end(children: list[Child], timeout_s: float) -> list[Child]:
    running = [child for child in children if child.exit_code is None]
    for child in running:
        child.signal(signal.SIGTERM)
        child.signal(signal.SIGCONT)  # a stopped process sees no SIGTERM
    deadline = time.monotonic() + timeout_s
    killed = []
    for child in running:
        if child.wait(max(0.0, deadline - time.monotonic())) is None:
            killed.append(child)
            child.signal(signal.SIGKILL)
            child.wait(timeout_s)
    return killed
