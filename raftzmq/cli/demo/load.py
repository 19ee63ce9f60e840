"""Writers and readers that keep a cluster busy and remember every promise it made them."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from raftzmq.client.connection import Connection
from raftzmq.errors import RequestError

TABLE: Final = "CREATE TABLE demo (id INTEGER PRIMARY KEY, key TEXT, at TEXT, dice INTEGER)"
INSERT: Final = "INSERT INTO demo (key, at, dice) VALUES (?, CURRENT_TIMESTAMP, random())"
COUNT: Final = "SELECT count(*) FROM demo"


@dataclass(frozen=True, slots=True)
class Acked:
    """A write that the cluster confirmed; times are seconds of time.monotonic."""

    key: str
    begun: float
    ended: float


class Load:
    """Threads that write and read through the proxies; a context manager that ends them.

    Args:
        doors: addresses of the proxies.
        writers: threads that insert one row after the other.
    """

    def __init__(self, doors: list[str], *, writers: int) -> None:
        self._doors = doors
        self._stopping = threading.Event()
        self._acked: list[list[Acked]] = [[] for _ in range(writers)]
        self._begun: list[float] = [0.0] * writers
        self._threads = [
            threading.Thread(target=self._write, args=(number,), daemon=True)
            for number in range(writers)
        ]
        self._threads.append(threading.Thread(target=self._read, daemon=True))
        self.reads = 0
        self.errors: list[str] = []
        self.stale_reads: list[str] = []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Let each thread finish its request."""
        self._stopping.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()

    @property
    def writes(self) -> int:
        """Confirmed so far."""
        return sum(map(len, self._acked))

    def keys(self) -> list[str]:
        """Of all confirmed writes."""
        return [acked.key for each in self._acked for acked in each]

    def confirmed_by_all_since(self, moment: float) -> bool:
        """Whether each writer got a confirmation for a write it began after ``moment``."""
        return all(each and each[-1].begun > moment for each in self._acked)

    def longest_wait_s(self, since: float) -> float:
        """Of a write that ended after ``since``, from its begin to its confirmation."""
        waits = [0.0]
        for each in self._acked:
            for acked in reversed(each):
                if acked.ended < since:
                    break
                waits.append(acked.ended - acked.begun)
        return max(waits)

    def _write(self, writer: int) -> None:
        acked = self._acked[writer]
        with Connection(self._doors) as connection:
            number = 0
            while not self._stopping.is_set():
                number += 1
                key = f"w{writer}-{number}"
                begun = time.monotonic()
                try:
                    connection.write(INSERT, [key])
                except RequestError as error:
                    self.errors.append(f"write {key}: {error.outcome.name}: {error.message}")
                    continue
                acked.append(Acked(key, begun, time.monotonic()))

    def _read(self) -> None:
        with Connection(self._doors) as connection:
            while not self._stopping.is_set():
                confirmed = self.writes
                try:
                    count = connection.read(COUNT).scalar()
                except RequestError as error:
                    self.errors.append(f"read: {error.outcome.name}: {error.message}")
                    continue
                self.reads += 1
                if not isinstance(count, int) or count < confirmed:
                    self.stale_reads.append(f"saw {count!r} rows when {confirmed} were confirmed")
