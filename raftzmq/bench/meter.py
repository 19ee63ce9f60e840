"""What the processes of a cluster spend between two moments: processor, fsyncs, disk."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from raftzmq.observe.cost import cpu_seconds, device_bytes, machine_busy_seconds
from raftzmq.wire.status import NodeStatus

THIS = "client"


@dataclass(frozen=True, slots=True)
class Reading:
    """The counters at one moment.

    Attributes:
        cpu_s: process -> processor seconds since its start, of those on this machine.
        statuses: node -> status.
        disk_bytes: written to the disk with the data, by everybody; None when unknown.
        busy_s: processor seconds of the whole machine since its start; None when unknown.
    """

    cpu_s: dict[str, float]
    statuses: dict[str, NodeStatus]
    disk_bytes: int | None = None
    busy_s: float | None = None


def read_meters(
    pids: Mapping[str, int], statuses: dict[str, NodeStatus], folder: Path | None = None
) -> Reading:
    """Take a reading of the processes ``pids``, of this one, and of the disk of ``folder``."""
    busy_s = machine_busy_seconds()
    cpu = {name: cpu_seconds(pid) for name, pid in pids.items()}
    return Reading(
        {
            **{name: seconds for name, seconds in cpu.items() if seconds is not None},
            THIS: time.process_time(),
        },
        statuses,
        None if folder is None else device_bytes(folder),
        busy_s,
    )


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
