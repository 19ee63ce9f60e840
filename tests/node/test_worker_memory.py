"""What a worker holds on to when it has nothing to do."""

from __future__ import annotations

import time
import tracemalloc
from pathlib import Path

import msgpack

from raftzmq.config import LimitsConfig
from raftzmq.node.gate import StateGate
from raftzmq.node.workers import ADDRESS, RUN_SLOW, Workers
from raftzmq.statemachine.machine import Machine
from raftzmq.transport.sockets import Purpose, open_context, open_socket
from raftzmq.wire.payload import encode_statements

LARGE = 8 << 20


def test_neither_a_large_payload_nor_its_rows_stay_behind(tmp_path: Path) -> None:
    gate = StateGate(tmp_path / "state.db")
    Machine(gate.path).close()
    context = open_context()
    with open_socket(context, Purpose.WORKER_ROUTER) as router:
        router.bind(ADDRESS)
        workers = Workers(context, gate, LimitsConfig(), lambda error: None)
        workers.start([b"slow-0"])
        tracemalloc.start()
        try:
            payload = encode_statements([("SELECT ?, zeroblob(?)", [bytes(LARGE), LARGE // 2])])
            job = msgpack.packb([RUN_SLOW, 1, 10_000, [payload], 0])
            router.send_multipart([b"slow-0", b"", job])
            del payload, job
            _, _, answer = router.recv_multipart()
            assert msgpack.unpackb(answer)[1] == [[0, None]]
            assert len(workers.bodies.pop(b"slow-0")) > LARGE
            deadline = time.monotonic() + 10
            while tracemalloc.get_traced_memory()[0] > LARGE // 4:
                assert time.monotonic() < deadline, "the worker holds on to what it has answered"
                time.sleep(0.001)
        finally:
            tracemalloc.stop()
    gate.interrupt_all()
    context.term()
    workers.join()
