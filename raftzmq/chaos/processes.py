"""Nodes and proxies as processes of a run, each at its own seat; whoever ends unasked is noted."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from raftzmq.chaos import build
from raftzmq.chaos.stand import is_gone

_STOP_S: Final = 15.0
PARENT_VARIABLE: Final = "RAFTZMQ_PARENT_PID"
"""Of raftzmq.cli.children: the kernel kills a process that finds its parent's id there when that
parent dies, so that a run that is killed leaves nothing behind."""


@dataclass(frozen=True, slots=True)
class Ending:
    """A process ended though nobody wanted that."""

    name: str
    at_s: float
    code: int
    last_line: str


class OwnProcesses:
    """See `raftzmq.chaos.stand.Processes`.

    Args:
        folder: for logs, NAME.log.
        file: nodes.toml.
        before: name -> what to put before the command.
        environment: name -> what to add to it.
    """

    def __init__(
        self,
        folder: Path,
        file: Path,
        before: Mapping[str, tuple[str, ...]],
        environment: Mapping[str, Mapping[str, str]],
    ) -> None:
        self._folder = folder
        self._file = file
        self._before = before
        self._environment = environment
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._expected: set[str] = set()
        self._lock = threading.Lock()
        self.endings: list[Ending] = []

    def start(self, name: str) -> None:
        """Start it, unless it runs. To be called by the main thread alone: the kernel ends
        processes with the thread that started them."""
        with self._lock:
            self._expected.discard(name)
            old = self._running.get(name)
            if old is not None and old.poll() is None:
                if not is_gone(old.pid):
                    return
                old.wait(_STOP_S)  # dead and not yet collected
            with (self._folder / f"{name}.log").open("ab") as log:
                self._running[name] = subprocess.Popen(
                    (
                        *self._before.get(name, ()),
                        *(sys.executable, "-m", "raftzmq.cli.main", "start", name),
                        *("--config", str(self._file)),
                    ),
                    env={
                        **build.environment(),
                        **self._environment.get(name, {}),
                        PARENT_VARIABLE: str(os.getpid()),
                    },
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )

    def expect_end(self, name: str) -> None:
        """Its end, until it is started again, is nobody's fault."""
        with self._lock:
            self._expected.add(name)

    def pid(self, name: str) -> int | None:
        """Of the process that runs."""
        with self._lock:
            process = self._running.get(name)
            return process.pid if process is not None and process.poll() is None else None

    def note_ends(self, began_s: float) -> list[Ending]:
        """Take note of processes that ended unasked; returns the new ones.

        Args:
            began_s: of the run, on the monotonic clock.
        """
        found = []
        with self._lock:
            for name, process in self._running.items():
                if name in self._expected or process.poll() is None:
                    continue
                self._expected.add(name)
                code = process.returncode
                found.append(Ending(name, time.monotonic() - began_s, code, self._last_line(name)))
        self.endings += found
        return found

    def start_ended(self) -> list[str]:
        """Start again whoever has ended; returns the names."""
        ended = [name for name, process in self._running.items() if process.poll() is not None]
        for name in ended:
            self.start(name)
        return ended

    def stop(self) -> None:
        """SIGTERM to all, and SIGKILL to those that do not end."""
        with self._lock:
            for name, process in self._running.items():
                self._expected.add(name)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGCONT)
                process.terminate()
            deadline = time.monotonic() + _STOP_S
            for process in self._running.values():
                try:
                    process.wait(max(0.01, deadline - time.monotonic()))
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
                while not is_gone(process.pid):
                    time.sleep(0.002)
            self._running.clear()

    def _last_line(self, name: str) -> str:
        lines = (self._folder / f"{name}.log").read_text(errors="replace").splitlines()
        return lines[-1] if lines else ""
