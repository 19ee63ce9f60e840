"""Which of a cluster's processes run on this machine, by the locks they hold.

A node locks the file ``lock`` in its data folder; a proxy, which has no data, locks
``NAME.lock`` beside the data folders. A lock ends with its process, so a stale pid is never
mistaken for a running one.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from raftzmq.config import ClusterConfig
from raftzmq.errors import DataFolderLocked
from raftzmq.storage.folder import LOCK_NAME


def run_folder(config: ClusterConfig) -> Path:
    """Where logs and the locks of proxies go: beside the data of the first node."""
    return next(iter(config.nodes.values())).data.parent


def lock_file(config: ClusterConfig, name: str) -> Path:
    """The file that the running process of this name has locked."""
    if name in config.nodes:
        return config.nodes[name].data / LOCK_NAME
    return run_folder(config) / f"{name}.lock"


def pid_of(config: ClusterConfig, name: str) -> int | None:
    """The process that runs node or proxy ``name`` on this machine, or None."""
    try:
        descriptor = os.open(lock_file(config, name), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.pread(descriptor, 32, 0).strip()
        return int(text) if text.isdigit() else None
    finally:
        os.close(descriptor)
    return None


@contextmanager
def proxy_lock(config: ClusterConfig, name: str) -> Iterator[None]:
    """Hold the lock of proxy ``name`` while the block runs.

    Raises:
        DataFolderLocked: it runs already.
    """
    path = lock_file(config, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataFolderLocked(
                f"proxy {name} already runs here as process {pid_of(config, name)} ({path} is "
                f"locked); stop it with `raftzmq stop {name}`"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)
