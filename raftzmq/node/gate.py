"""Who may have state.db open: many readers, or one install of a snapshot.

SQLite removes ``state.db-wal`` *by path* when the last connection closes. A reader that closed
after an install would therefore remove the new file's WAL, and with it committed rows. So an
install first waits until no reader runs, closes them all, and lets them open again afterwards.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol


class Closable(Protocol):
    """What a lent reader must offer."""

    def interrupt(self) -> None:
        """Make the running statement fail soon; callable from any thread."""

    def close(self) -> None:
        """Close its connection."""


class StateGate:
    """Guards one state.db.

    Args:
        path: state.db.

    Attributes:
        seen_index: the applied index of some snapshot that a reader had of this very file; 0 when
            nobody looked yet. Readers see a commit before its applier can tell of it, and on a busy
            machine long before.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seen_index = 0
        self._condition = threading.Condition()
        self._open: list[Closable] = []
        self._running = 0
        self._exclusive = False
        self._ending = False
        self._generation = 0

    @contextmanager
    def reading(self) -> Iterator[int]:
        """Hold off installs while a statement runs; yields the generation of state.db."""
        with self._condition:
            self._condition.wait_for(lambda: not self._exclusive)
            self._running += 1
            generation = self._generation
        try:
            yield generation
        finally:
            self._has_read()

    @contextmanager
    def reading_now(self) -> Iterator[int | None]:
        """As ``reading``, for whoever must not wait; yields None while an install goes on."""
        with self._condition:
            generation = None if self._exclusive else self._generation
            if generation is not None:
                self._running += 1
        try:
            yield generation
        finally:
            if generation is not None:
                self._has_read()

    def _has_read(self) -> None:
        with self._condition:
            self._running -= 1
            self._condition.notify_all()

    def saw(self, index: int) -> None:
        """A snapshot stands at ``index``; called inside ``reading``.

        Two that call it at once may leave the lower index, which is as true as the higher one.
        """
        if index > self.seen_index:
            self.seen_index = index

    def register(self, reader: Closable) -> None:
        """Remember an open reader, to be closed by the next install or ``close_all``."""
        with self._condition:
            self._open.append(reader)
            if self._exclusive or self._ending:
                # It was being opened while the others were interrupted.
                reader.interrupt()

    def forget(self, reader: Closable) -> None:
        """An open reader is about to be closed by its owner."""
        with self._condition:
            if reader in self._open:
                self._open.remove(reader)

    def interrupt_all(self) -> None:
        """Stop what runs and what will, for a shutdown."""
        with self._condition:
            self._ending = True
            for reader in self._open:
                reader.interrupt()

    @contextmanager
    def installing(self) -> Iterator[None]:
        """Close every reader and keep them out until the block ends."""
        with self._condition:
            self._exclusive = True
            for reader in self._open:
                reader.interrupt()
            self._condition.wait_for(lambda: self._running == 0)
            for reader in self._open:
                reader.close()
            self._open.clear()
            self._generation += 1
            self.seen_index = 0
        try:
            yield
        finally:
            with self._condition:
                self._exclusive = False
                self._condition.notify_all()


class LentReader:
    """One worker's reader, opened on first use and again after each install."""

    def __init__(self, gate: StateGate, open_reader: Callable[[Path], Closable]) -> None:
        self._gate = gate
        self._open_reader = open_reader
        self._reader: Closable | None = None
        self._generation = -1

    def current(self, generation: int) -> Closable:
        """The reader for ``generation``; call it inside ``StateGate.reading``."""
        if self._reader is None or generation != self._generation:
            self._reader = self._open_reader(self._gate.path)
            self._generation = generation
            self._gate.register(self._reader)
        return self._reader

    def close(self) -> None:
        """Close the reader, if one is open; its owner runs nothing any more."""
        if self._reader is not None:
            self._gate.forget(self._reader)
            self._reader.close()
            self._reader = None
