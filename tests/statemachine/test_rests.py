"""Long work rests now and then, and short work does not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from raftzmq.statemachine.readers import Reader
from tests.statemachine.world import World, anonymous, entry, payload

ROWS = 100_000
"""Of COUNT: over a million steps."""
COUNT = (
    f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS})"
    " SELECT max(i) FROM n"
)


class Resting(World):
    """A replica that counts its rests."""

    def __init__(self, folder: Path) -> None:
        self.rests = 0
        super().__init__(folder, rest=self.count_rest)
        self.ok("CREATE TABLE t(a)")

    def count_rest(self) -> None:
        self.rests += 1


@pytest.fixture
def resting(tmp_path: Path) -> Iterator[Resting]:
    made = Resting(tmp_path)
    yield made
    made.machine.close()


def test_a_long_write_rests(resting: Resting) -> None:
    resting.ok(f"INSERT INTO t {COUNT}")
    assert resting.rests > 50


def test_thousands_of_short_writes_do_not_rest(resting: Resting) -> None:
    """Though together they take as many steps, with a check now and then."""
    for _ in range(50):
        replies = resting.entry(*[anonymous("INSERT INTO t VALUES(1)")] * 1_000)
        assert all(code == 0 for code, _ in replies)
    assert resting.rests == 0


def test_work_that_is_short_for_all_we_know_does_not_rest(resting: Resting) -> None:
    """The raft thread does it, and has others to serve."""
    term = " + ".join(["abs(a)"] * 150)
    checks = ", ".join(f"CHECK({term} > {number})" for number in range(300))
    resting.ok(f"CREATE TABLE checked(a, {checks})")
    insert = "INSERT INTO checked VALUES(1000)"
    resting.ok(insert)
    assert resting.rests > 0
    resting.rests = 0
    short = entry(resting.next_index, anonymous(insert))
    assert resting.machine.apply_short([short]) is not None
    assert resting.rests == 0
    resting.ok(insert)
    assert resting.rests > 0


def test_a_long_read_rests_unless_it_must_be_fast(resting: Resting) -> None:
    reader = Reader(resting.path, rest=resting.count_rest)
    try:
        for fast_only, least, most in ((False, 50, ROWS), (True, 0, 0), (False, 50, ROWS)):
            resting.rests = 0
            reply = reader.run(
                payload(COUNT), timeout_ms=1_000, monotonic=lambda: 0.0, fast_only=fast_only
            )
            assert reply.code == 0
            assert least <= resting.rests <= most
    finally:
        reader.close()
