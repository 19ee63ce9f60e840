"""What a worker holds on to when it has nothing to do."""

from __future__ import annotations

import time
import tracemalloc
from pathlib import Path

import msgpack

from raftzmq.wire.payload import encode_statements
from tests.node.lone_worker import lone_worker, send_slow_read

LARGE = 8 << 20


def test_neither_a_large_payload_nor_its_rows_stay_behind(tmp_path: Path) -> None:
    with lone_worker(tmp_path, b"slow-0") as (router, workers):
        tracemalloc.start()
        try:
            payload = encode_statements([("SELECT ?, zeroblob(?)", [bytes(LARGE), LARGE // 2])])
            send_slow_read(router, b"slow-0", payload)
            del payload
            _, _, answer = router.recv_multipart()
            assert msgpack.unpackb(answer)[1] == [[0, None]]
            assert len(workers.bodies.pop(b"slow-0")) > LARGE
            deadline = time.monotonic() + 10
            while tracemalloc.get_traced_memory()[0] > LARGE // 4:
                assert time.monotonic() < deadline, "the worker holds on to what it has answered"
                time.sleep(0.001)
        finally:
            tracemalloc.stop()
