"""A file system of a few megabytes, for tests that fill it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from raftzmq.chaos.disks import Ballast, mount, unmount
from raftzmq.chaos.trouble import ChaosError

__all__ = ["Ballast", "small_disk"]


@contextmanager
def small_disk(path: Path, *, megabytes: int) -> Iterator[Path]:
    """Mount a tmpfs at ``path``; the test is skipped where mounting is not permitted."""
    try:
        mount(path, megabytes=megabytes)
    except ChaosError as error:
        pytest.skip(str(error))
    try:
        yield path
    finally:
        unmount(path)
