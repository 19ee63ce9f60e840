"""One worker thread, and the socket that gives it work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgpack

from raftzmq.config import LimitsConfig
from raftzmq.node.gate import StateGate
from raftzmq.node.workers import ADDRESS, RUN_SLOW, Workers
from raftzmq.statemachine.machine import Machine
from raftzmq.transport.sockets import Purpose, Socket, open_context, open_socket


@contextmanager
def lone_worker(folder: Path, name: bytes) -> Iterator[tuple[Socket, Workers]]:
    """A worker of a new state.db in ``folder``, joined at the end."""
    gate = StateGate(folder / "state.db")
    Machine(gate.path).close()
    context = open_context()
    workers = Workers(context, gate, LimitsConfig(), lambda error: None, server="n1")
    try:
        with open_socket(context, Purpose.WORKER_ROUTER) as router:
            router.bind(ADDRESS)
            workers.start([name])
            yield router, workers
    finally:  # or a test that fails would never end
        gate.interrupt_all()
        context.term()
        workers.join()


def send_slow_read(router: Socket, name: bytes, payload: bytes) -> None:
    """Have the worker run it; the answer comes with the frames (name, empty, answer)."""
    router.send_multipart([name, b"", msgpack.packb([RUN_SLOW, 1, 10_000, [payload], 0, 50, None])])
