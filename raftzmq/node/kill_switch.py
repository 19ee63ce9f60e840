"""Stopping the job that a worker runs, and never the next one.

``sqlite3_interrupt`` stops whatever runs on a connection at the moment of the call. The one who
wants to stop a job decided that a moment earlier, in another thread; meanwhile the worker may
have finished that job and begun another. So both sides meet under a lock: a job is the running
one from ``begin`` to ``end``, and an interrupt is sent only while it is. What SQLite does when
no statement runs in between, it ignores the interrupt, the reader makes good by its own flag.
A kill that comes before ``begin`` waits for its job; one that comes after ``end`` waits for a
number that is never given again.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from raftzmq.errors import RequestError


class Cancellable(Protocol):
    """What a worker must offer: ``statemachine.readers.Reader``."""

    def cancel(self, why: RequestError) -> None:
        """Make what runs end with ``why``; callable from any thread."""

    def resume(self) -> None:
        """Serve again."""


class KillSwitch:
    """One per worker. The worker calls ``running``, any thread may call ``kill``."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: tuple[int, Cancellable] | None = None
        self._wanted: tuple[int, RequestError] | None = None

    @contextmanager
    def running(self, number: int, reader: Cancellable) -> Iterator[None]:
        """Within the block, job ``number`` is what a kill of that number stops.

        No statement of the host may run within it, a COMMIT for instance: it would be stopped.
        """
        with self._lock:
            self._running = number, reader
            if self._wanted is not None and self._wanted[0] == number:
                reader.cancel(self._wanted[1])
        try:
            yield
        finally:
            with self._lock:
                self._running = None
                reader.resume()

    def kill(self, number: int, why: RequestError) -> None:
        """Stop job ``number`` now, or when it begins; nothing happens if it has ended."""
        with self._lock:
            self._wanted = number, why
            if self._running is not None and self._running[0] == number:
                self._running[1].cancel(why)
