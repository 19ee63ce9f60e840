"""Writers and readers that go on whatever happens, and remember what they were told."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Self

from raftzmq.client.connection import Connection
from raftzmq.errors import RequestError
from tests.e2e.cluster import Cluster, wait_for

TABLE = "CREATE TABLE load (id TEXT PRIMARY KEY, value BLOB)"
INSERT = "INSERT INTO load (id, value) VALUES (?, randomblob(?))"


class Load:
    """Threads that insert rows through the proxy and count them; a context manager.

    Args:
        cluster: runs already; the table is made here.
        writers: threads that insert one row after the other.
        value_bytes: of each row.
    """

    def __init__(self, cluster: Cluster, *, writers: int = 4, value_bytes: int = 2000) -> None:
        self._cluster = cluster
        self._value_bytes = value_bytes
        self._stopping = threading.Event()
        self.acked: list[str] = []
        self.write_errors: list[RequestError] = []
        self.read_errors: list[RequestError] = []
        self.reads = 0
        self._threads = [
            threading.Thread(target=self._write, args=(number,)) for number in range(writers)
        ]
        self._threads.append(threading.Thread(target=self._read))
        code, _, body = cluster.write(TABLE)
        assert code == 0, body

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
            thread.join()

    def wait_for_writes(self, count: int) -> None:
        """Wait until so many more are acknowledged."""
        wanted = len(self.acked) + count
        wait_for(lambda: len(self.acked) >= wanted, f"{count} more acknowledged writes")

    def wait_for_reads(self, count: int) -> None:
        """Wait until so many more are answered."""
        wanted = self.reads + count
        wait_for(lambda: self.reads >= wanted, f"{count} more reads")

    def check(self) -> None:
        """Every acknowledged row is there, once, on each node; all nodes are equal."""
        self._cluster.wait_caught_up()
        assert len(self._cluster.digests()) == 1
        there = {row[0] for row in self._cluster.read("SELECT id FROM load")}
        lost = set(self.acked) - there
        assert not lost, f"acknowledged and lost: {sorted(lost)[:5]}"
        assert len(self.acked) == len(set(self.acked))

    def _write(self, writer: int) -> None:
        with Connection([self._cluster.proxy]) as connection:
            number = 0
            while not self._stopping.is_set():
                number += 1
                row = f"{writer}-{number}"
                try:
                    connection.write(INSERT, [row, self._value_bytes])
                except RequestError as error:
                    self.write_errors.append(error)
                    time.sleep(0.02)
                    continue
                self.acked.append(row)

    def _read(self) -> None:
        with Connection([self._cluster.proxy]) as connection:
            while not self._stopping.is_set():
                try:
                    connection.read("SELECT count(*) FROM load")
                except RequestError as error:
                    self.read_errors.append(error)
                    time.sleep(0.02)
                    continue
                self.reads += 1
                time.sleep(0.005)
