"""What the processes of a cluster spend between two moments: processor time and fsyncs."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from raftzmq.observe.cost import cpu_seconds
from raftzmq.wire.status import NodeStatus

THIS = "client"


@dataclass(frozen=True, slots=True)
class Reading:
    """The counters at one moment.

    Attributes:
        cpu_s: process -> processor seconds since its start, of those on this machine.
        statuses: node -> status.
    """

    cpu_s: dict[str, float]
    statuses: dict[str, NodeStatus]


def read_meters(pids: Mapping[str, int], statuses: dict[str, NodeStatus]) -> Reading:
    """Take a reading of the processes ``pids`` and of this one."""
    found = {name: cpu_seconds(pid) for name, pid in pids.items()}
    cpu_s = {name: seconds for name, seconds in found.items() if seconds is not None}
    return Reading({**cpu_s, THIS: time.process_time()}, statuses)


def local_pids(statuses: Mapping[str, NodeStatus]) -> dict[str, int]:
    """Of nodes that say their pid, those that really run on this machine."""
    return {name: status.pid for name, status in statuses.items() if _is_raftzmq(status.pid)}


def _is_raftzmq(pid: int) -> bool:
    if pid == os.getpid():
        return False
    try:
        return b"raftzmq" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
