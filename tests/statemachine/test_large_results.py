"""Results of megabytes are the same bytes as all others, made in another way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftzmq.limits import LARGE_RESULT_BYTES
from raftzmq.statemachine import readers, reply
from raftzmq.statemachine.machine import Machine
from raftzmq.statemachine.reply import ResultPacker, pack_large

SIZES = st.sampled_from([0, 1, 40, 65_535, 65_536, 65_537, 200_000])
VALUES = (
    st.none()
    | st.integers(-(1 << 63), (1 << 63) - 1)
    | st.floats()
    | st.builds(bytes, SIZES)
    | st.builds(
        lambda size, letter: letter * size, SIZES, st.sampled_from(["a", "é", "\U0001f600"])
    )
)
ROWS = st.none() | st.lists(st.lists(VALUES, max_size=4).map(tuple), max_size=8)
RESULTS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.just(["a"]), ROWS))


@settings(max_examples=60, deadline=None)
@given(RESULTS, st.integers(0, 3_000))
def test_the_same_bytes(results: list[Any], more: int) -> None:
    results = [*results, (0, 0, ["n", "t"], [(number, "x" * 90) for number in range(more)])]
    assert pack_large(results) == ResultPacker()(results)


@pytest.mark.parametrize("rows", [1, 20_000])
def test_a_reader_makes_large_results_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    path = tmp_path / "state.db"
    Machine(path).close()
    made: list[int] = []

    def seen(results: Any) -> bytes:
        body = reply.pack_large(results)
        made.append(len(body))
        return body

    monkeypatch.setattr(readers, "pack_large", seen)
    reader = readers.Reader(path)
    sql = (
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT ?)"
        " SELECT i, zeroblob(?) FROM n"
    )
    for size in (LARGE_RESULT_BYTES // rows, LARGE_RESULT_BYTES // rows // 4):
        asked = msgpack.packb([[sql, [rows, size]]])
        found = reader.run(asked, timeout_ms=60_000, monotonic=float)
        [[_, _, _, there]] = msgpack.unpackb(found.body)
        assert there == [[number + 1, bytes(size)] for number in range(rows)]
    reader.close()
    [size] = made
    assert size >= LARGE_RESULT_BYTES
