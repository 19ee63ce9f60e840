"""Processes of a peer under measurement: started here, and ended by their pid whatever happens."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from raftzmq.observe.cost import machine_busy_seconds
from raftzmq.transport.free_ports import free_ports

_PR_SET_PDEATHSIG = 1
STOP_S = 8.0
START_S = 30.0


class PeerFailed(Exception):
    """A peer did not start, or its load ended with an error."""


@dataclass(frozen=True)
class Figure:
    """One measurement of one system."""

    system: str
    operation: str
    in_flight: int
    per_s: float
    p50_ms: float | None
    p99_ms: float | None
    failed: int = 0
    busy_us: float | None = None
    """Processor time of the whole machine per request, load and all else included."""
    load_us: float | None = None
    """Of that, what the load generator took: the larger part of it, and it was the bottleneck."""


@dataclass(frozen=True)
class Plan:
    """What to measure of each system."""

    in_flight: tuple[int, ...]
    operations: tuple[str, ...]
    seconds: float
    warm_up_s: float
    value_size: int


def owner() -> tuple[int, int] | None:
    """For programs that refuse to run as root: user and group of postgres, or of nobody."""
    if os.geteuid() != 0:
        return None
    import pwd

    for name in ("postgres", "nobody"):
        try:
            found = pwd.getpwnam(name)
        except KeyError:
            continue
        return found.pw_uid, found.pw_gid
    raise PeerFailed("running as root, and there is neither a user postgres nor nobody")


class Stand:
    """A folder and the processes that use it; leaving ends them and removes it."""

    def __init__(self, where: Path) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="raftzmq-peer-", dir=where))
        # A program under another user must be able to pass through.
        self.folder.chmod(0o711)
        self._processes: list[tuple[subprocess.Popen[bytes], int]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for process, number in reversed(self._processes):
            if process.poll() is None:
                process.send_signal(number)
        end = time.monotonic() + STOP_S
        for process, _ in self._processes:
            try:
                process.wait(max(0.1, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(
        self,
        name: str,
        command: Sequence[object],
        *,
        stop_with: int = signal.SIGTERM,
        user: tuple[int, int] | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start one that stays; what it prints goes to a file."""
        with (self.folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                preexec_fn=_die_with_parent,
                **_as_user(user),
            )
        self._processes.append((process, stop_with))
        return process

    def run(self, command: Sequence[object], *, user: tuple[int, int] | None = None) -> str:
        """Run one that ends; what it prints.

        Raises:
            PeerFailed: it ended with an error.
        """
        found = subprocess.run(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            cwd=self.folder,
            preexec_fn=_die_with_parent,
            check=False,
            **_as_user(user),
        )
        if found.returncode:
            raise PeerFailed(f"{command[0]} ended with {found.returncode}: {found.stderr[-600:]}")
        return found.stdout

    def wait(self, what: str, reached: Callable[[], bool]) -> None:
        """Wait for a state.

        Raises:
            PeerFailed: it did not come about, or a process ended.
        """
        end = time.monotonic() + START_S
        while not reached():
            ended = [process for process, _ in self._processes if process.poll() is not None]
            if ended or time.monotonic() > end:
                tails = "\n".join(
                    f"{log.name}: {log.read_text(errors='replace')[-400:]}"
                    for log in sorted(self.folder.glob("*.log"))
                )
                raise PeerFailed(f"waited in vain for {what}\n{tails}")
            time.sleep(0.05)


def listens(port: int) -> bool:
    """Whether somebody takes connections there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def ports(count: int) -> list[int]:
    """Free ports of loopback."""
    return free_ports(count)


def metered(load: Callable[[], dict[str, Any]]) -> tuple[dict[str, Any], float | None, float]:
    """Run a load; what it found, seconds of the machine, and seconds of ended children."""
    before, used = machine_busy_seconds(), _children_s()
    found = load()
    after = machine_busy_seconds()
    busy_s = None if before is None or after is None else after - before
    return found, busy_s, _children_s() - used


def figure(
    system: str,
    operation: str,
    in_flight: int,
    plan: Plan,
    load: Callable[[], dict[str, Any]],
) -> Figure:
    """Measure with a load that runs as a child and says count, seconds, p50_ms, p99_ms, failed."""
    found, busy_s, load_s = metered(load)
    count = max(1, found["count"])
    # The warm-up is in the processor time and not in the count.
    share = found["seconds"] / (found["seconds"] + plan.warm_up_s)
    return Figure(
        system,
        operation,
        in_flight,
        found["count"] / found["seconds"],
        found.get("p50_ms"),
        found.get("p99_ms"),
        int(found.get("failed", 0)),
        None if busy_s is None else 1e6 * busy_s * share / count,
        1e6 * load_s * share / count,
    )


def last_json(text: str) -> dict[str, Any]:
    """The last line of what a load printed."""
    found: dict[str, Any] = json.loads(text.strip().splitlines()[-1])
    return found


def _children_s() -> float:
    times = os.times()
    return times.children_user + times.children_system


def _as_user(user: tuple[int, int] | None) -> dict[str, Any]:
    return {} if user is None else {"user": user[0], "group": user[1], "extra_groups": []}


def _die_with_parent() -> None:
    """In the child, after it has changed its user, which would undo it."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
