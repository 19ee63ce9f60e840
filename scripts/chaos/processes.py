"""What every program here that starts processes of its own needs: their end."""

from __future__ import annotations

import time

from raftzmq.chaos.stand import is_gone


def wait_until_gone(pid: int) -> None:
    """Wait until no such process runs, no thread of it either: locks are held until then."""
    while not is_gone(pid):
        time.sleep(0.001)
