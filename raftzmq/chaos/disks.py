"""A small disk of a node's own, which can be filled."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Final

from raftzmq.chaos.trouble import ChaosError

_MEMORY: Final = Path("/proc/meminfo")
_LEFT_MB: Final = 512


class Ballast:
    """A file that eats the room on a disk, and gives it back."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "ballast"

    def fill(self, *, leave_bytes: int = 0) -> None:
        """Grow until only ``leave_bytes`` are free."""
        with self._path.open("ab", buffering=0) as file:
            while True:
                room = free_bytes(self._path.parent) - leave_bytes
                if room <= 0:
                    return
                try:
                    file.write(bytes(min(room, 1 << 20)))
                except OSError:
                    return  # others took the rest

    def remove(self) -> None:
        """Give the room back."""
        self._path.unlink(missing_ok=True)


def free_bytes(folder: Path) -> int:
    """Room on the disk of a folder."""
    facts = os.statvfs(folder)
    return facts.f_bavail * facts.f_frsize


def check_memory(megabytes: int) -> None:
    """Disks are in memory: one that is filled where there is none left ends other programs.

    Raises:
        ChaosError: that many megabytes do not fit.
    """
    lines = _MEMORY.read_text().splitlines()
    (kilobytes,) = [int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    if kilobytes // 1024 < megabytes + _LEFT_MB:
        raise ChaosError(
            f"the disks of the nodes take up to {megabytes} MB of memory, and "
            f"{kilobytes // 1024} MB are available, of which {_LEFT_MB} MB are left alone: "
            f"fewer --minutes, --nodes or --clients, or --loopback"
        )


def mount(path: Path, *, megabytes: int) -> None:
    """Make a disk in memory at ``path``.

    Raises:
        ChaosError: that is not permitted here.
    """
    path.mkdir(parents=True, exist_ok=True)
    try:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=700", "raftzmq-disk", path],
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError as error:
        raise ChaosError(f"no mount(8): {error}") from error
    if done.returncode:
        raise ChaosError(f"mounting a small disk is not permitted: {done.stderr.strip()}")


def unmount(path: Path) -> None:
    """Lazily: a process that is still being reaped must not keep the mount for ever."""
    if os.path.ismount(path):
        subprocess.run(["umount", "--lazy", path], capture_output=True, check=False)
