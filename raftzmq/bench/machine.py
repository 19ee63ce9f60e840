"""Where a benchmark ran: what must be alike for two results to be comparable."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import apsw
import zmq

from raftzmq import __version__

_MEMORY_ONLY: Final = frozenset({"tmpfs", "ramfs"})


def machine(folder: Path | None) -> dict[str, Any]:
    """Processors, versions, and the file system of ``folder``; None: the data is elsewhere."""
    found: dict[str, Any] = {
        "cores": _cores(),
        "processor": _processor(),
        "memory_mb": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20,
        "system": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "raftzmq": __version__,
        "libzmq": zmq.zmq_version(),
        "sqlite": apsw.sqlite_lib_version(),
    }
    for name in ("pyzmq", "apsw", "msgpack"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "unknown"
    if folder is not None:
        found["file_system"] = file_system(folder)
    return found


def in_memory_only(kind: str) -> bool:
    """Whether fsync costs nothing on a file system of this kind."""
    return kind in _MEMORY_ONLY


def file_system(folder: Path, mounts: Path = Path("/proc/self/mounts")) -> str:
    """The kind of the file system ``folder`` is on, for instance ``ext4``."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return "unknown"
    place = folder.resolve()
    best, kind = -1, "unknown"
    for line in lines:
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        at = Path(fields[1].replace("\\040", " "))
        # Of two at one place the later one covers the earlier.
        if place.is_relative_to(at) and len(at.parts) >= best:
            best, kind = len(at.parts), fields[2]
    return kind


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(": ")[2] for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
