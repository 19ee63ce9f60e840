"""Who makes the reply of a large result, and how many of them are made at a time."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any, cast

import msgpack
import pytest

from raftzmq.limits import LARGE_RESULT_BYTES
from raftzmq.node import workers as module
from raftzmq.node.workers import LARGE_AT_A_TIME, LARGE_MS, RUN_SLOW, Job, WorkerPool
from raftzmq.wire.client import decode_batch, decode_reply, encode_large_replies
from raftzmq.wire.payload import encode_statements
from tests.node.lone_worker import lone_worker
from tests.node.test_queries import World

LARGE = 2 * LARGE_RESULT_BYTES
SELECT = encode_statements([(f"SELECT zeroblob({LARGE})", [])])


def frame(size_bytes: int) -> bytes:
    return encode_large_replies([(b"c", 1, 0, 7, bytes(size_bytes), "n2", 0)])


def run(folder: Path, lone: tuple[bytes, int] | None) -> tuple[object, bytes]:
    """(what stands for the body, what the worker left)."""
    with lone_worker(folder, b"slow-0") as (router, workers):
        job = msgpack.packb([RUN_SLOW, 1, 10_000, [SELECT], 0, 50, lone])
        router.send_multipart([b"slow-0", b"", job])
        _, _, answer = router.recv_multipart()
        index, [[code, body]] = msgpack.unpackb(answer)
        assert (index, code) == (0, 0)
        return body, workers.bodies.pop(b"slow-0")


def test_the_reply_to_a_lone_request_is_made_by_the_worker(tmp_path: Path) -> None:
    body, left = run(tmp_path, (b"client", 7))
    assert body is True
    [blob] = decode_batch(left)
    reply = decode_reply(blob)
    assert (reply.client, reply.sequence, reply.code, reply.server) == (b"client", 7, 0, "n1")
    assert msgpack.unpackb(reply.body)[0][3] == [[bytes(LARGE)]]


def test_one_of_several_is_put_with_the_others_by_who_has_them(tmp_path: Path) -> None:
    body, left = run(tmp_path, None)
    assert body is None
    assert msgpack.unpackb(left)[0][3] == [[bytes(LARGE)]]


def test_what_fits_into_no_message_is_refused_by_who_makes_messages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REPLIES_BYTES_MAX", LARGE)
    body, left = run(tmp_path, (b"client", 7))
    assert body is None
    assert len(left) > LARGE


def test_after_a_large_result_few_run_at_a_time_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(monkeypatch)
    names = [b"slow-%d" % number for number in range(4)]
    bodies: dict[bytes, bytes] = {}
    pool = WorkerPool(names, cast(Any, world), world.switches, bodies, itertools.count(1))
    for number in range(20):
        pool.submit(Job(RUN_SLOW, [(world.batch(f"SELECT {number}"), 0)]))
    assert len(pool.running()) == 4
    bodies[b"slow-0"] = frame(LARGE_RESULT_BYTES)
    pool.finished(b"slow-0", msgpack.packb([7, [(0, True)]]))
    assert len(pool.running()) == 3, "what runs goes on"
    for name in names[1:3]:
        pool.finished(name, msgpack.packb([7, [(0, b"")]]))
    assert len(pool.running()) == LARGE_AT_A_TIME
    world.now_ms += LARGE_MS
    pool.stop_late(world.now_ms)
    assert len(pool.running()) == 4, "also when nothing comes, and nothing ends"


def test_a_small_result_slows_nobody_down(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    bodies = {b"slow-0": frame(LARGE_RESULT_BYTES - 1_000)}
    names = [b"slow-0", b"slow-1", b"slow-2"]
    pool = WorkerPool(names, cast(Any, world), world.switches, bodies, itertools.count(1))
    for number in range(6):
        pool.submit(Job(RUN_SLOW, [(world.batch(f"SELECT {number}"), 0)]))
    pool.finished(b"slow-0", msgpack.packb([7, [(0, True)]]))
    assert len(pool.running()) == 3
