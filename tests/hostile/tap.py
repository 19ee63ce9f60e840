"""Sits between one node and its peer's port, passes everything on, and remembers it."""

from __future__ import annotations

import threading
from pathlib import Path

import zmq

from raftzmq.transport.free_ports import free_ports


class Tap:
    """A recording link.

    Args:
        to: peer address that is really meant.
    """

    def __init__(self, to: str) -> None:
        self.address = f"tcp://127.0.0.1:{free_ports(1)[0]}"
        self.recorded: list[bytes] = []
        self._to = to
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._relay)
        self._thread.start()

    def config(self, original: Path) -> Path:
        """A copy of nodes.toml in which the peer is found at the tap."""
        copy = original.with_name("tapped.toml")
        copy.write_text(original.read_text().replace(self._to, self.address))
        return copy

    def close(self) -> None:
        """End the thread."""
        self._stop.set()
        self._thread.join()

    def _relay(self) -> None:
        with (
            zmq.Context() as context,
            context.socket(zmq.ROUTER) as inbound,
            context.socket(zmq.DEALER) as outbound,
        ):
            inbound.bind(self.address)
            outbound.setsockopt(zmq.LINGER, 0)
            outbound.connect(self._to)
            while not self._stop.is_set():
                if inbound.poll(50):
                    _, frame = inbound.recv_multipart()
                    self.recorded.append(frame)
                    outbound.send(frame)
