"""How long a fast worker stays with the reads of one connection."""

from __future__ import annotations

from pathlib import Path

import msgpack
import pytest

from raftzmq.errors import Deferred
from raftzmq.node.workers import RUN_FAST
from raftzmq.wire.payload import encode_statements
from tests.node.lone_worker import lone_worker


@pytest.mark.parametrize(("turn_ms", "answered"), [(0, 1), (3_600_000, 5)])
def test_it_stops_between_two_reads_when_its_turn_is_over(
    tmp_path: Path, turn_ms: int, answered: int
) -> None:
    """One read is run in any case, or nothing would ever be."""
    with lone_worker(tmp_path, b"fast-0") as (router, _):
        reads = [encode_statements([(f"SELECT {number}", [])]) for number in range(5)]
        router.send_multipart(
            [b"fast-0", b"", msgpack.packb([RUN_FAST, 1, 10_000, reads, 0, turn_ms, None])]
        )
        _, _, answer = router.recv_multipart()
        _, replies = msgpack.unpackb(answer)
        assert [code for code, _ in replies] == [0] * answered
        rows = [msgpack.unpackb(body)[0][3] for _, body in replies]
        assert rows == [[[number]] for number in range(answered)]


@pytest.mark.parametrize(("turns", "allowed_ms"), [(0, 20), (2, 5), (9, 1)])
def test_what_is_long_gets_less_with_each_turn(tmp_path: Path, turns: int, allowed_ms: int) -> None:
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
    reads = [encode_statements([(endless, [])])]
    with lone_worker(tmp_path, b"fast-0") as (router, _):
        router.send_multipart(
            [b"fast-0", b"", msgpack.packb([RUN_FAST, 1, 10_000, reads, turns, 50, None])]
        )
        _, _, answer = router.recv_multipart()
    [[code, body]] = msgpack.unpackb(answer)[1]
    assert code == Deferred.code
    assert msgpack.unpackb(body)[0] == f"the read takes more than {allowed_ms} ms"
