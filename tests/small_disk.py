"""A file system of a few megabytes, for tests that fill it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(path: Path, *, megabytes: int) -> Iterator[Path]:
    """Mount a tmpfs at ``path``; the test is skipped where mounting is not permitted."""
    path.mkdir(parents=True, exist_ok=True)
    try:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=700", "raftzmq-test", path],
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError as error:
        pytest.skip(f"no mount(8): {error}")
    if done.returncode:
        pytest.skip(f"mounting a small file system is not permitted: {done.stderr.strip()}")
    try:
        yield path
    finally:
        # Lazily: a process that is still being reaped must not keep the mount for ever.
        subprocess.run(["umount", "--lazy", path], check=True)


class Ballast:
    """A file that eats the room on a disk, and gives it back."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "ballast"

    def fill(self, *, leave_bytes: int = 0) -> None:
        """Grow until only ``leave_bytes`` are free."""
        with self._path.open("ab", buffering=0) as file:
            while True:
                facts = os.statvfs(self._path.parent)
                room = facts.f_bavail * facts.f_frsize - leave_bytes
                if room <= 0:
                    return
                try:
                    file.write(bytes(min(room, 1 << 20)))
                except OSError:
                    return  # others took the rest

    def remove(self) -> None:
        """Give the room back."""
        self._path.unlink(missing_ok=True)
