"""Exactly once (P4): a named write is applied once, and a retry gets the first reply."""

from __future__ import annotations

import random

import apsw
import pytest

from raftzmq import errors
from raftzmq.statemachine.bounds import ApplyLimits
from raftzmq.statemachine.command import Request
from raftzmq.statemachine.ledger import Ledger
from raftzmq.statemachine.reply import Reply
from tests.statemachine.conftest import MakeWorld
from tests.statemachine.world import CLOCK_MS, World, anonymous, entry, payload

ANN = b"ann-0123"
BOB = b"bob-0123"
INSERT = payload("INSERT INTO t DEFAULT VALUES RETURNING a, b")
CREATE = "CREATE TABLE t(a INTEGER PRIMARY KEY, b DEFAULT (random()))"
EXPIRED = errors.LedgerExpired.code


def write(client: bytes, sequence: int, since: int = 1_000_000, what: bytes = INSERT) -> Request:
    return Request(client, sequence, since, what)


def rows(world: World) -> int:
    return world.rows("SELECT count(*) FROM t")[0][0]


def test_a_duplicate_gets_the_first_reply_wherever_the_copies_sit(world: World) -> None:
    world.ok(CREATE)
    first = world.next_index
    (one, copy), (later,) = world.apply(
        [entry(first, write(ANN, 1), write(ANN, 1)), entry(first + 1, write(ANN, 1))]
    )
    (much_later,) = world.entry(write(ANN, 1))
    world.reopen()
    (after_restart,) = world.entry(write(ANN, 1))
    assert one[0] == 0
    assert one == copy == later == much_later == after_restart
    assert rows(world) == 1


def test_sequences_and_clients_are_told_apart(world: World) -> None:
    world.ok(CREATE)
    replies = world.entry(write(ANN, 1), write(ANN, 2), write(BOB, 1))
    assert [body[0][3][0][0] for _, body in replies] == [1, 2, 3]


def test_anonymous_writes_are_never_deduplicated(world: World) -> None:
    world.ok(CREATE)
    world.entry(write(b"", 1), write(b"", 1))
    assert rows(world) == 2


@pytest.mark.parametrize(
    "bad",
    [
        payload("INSERT INTO t(a) VALUES(1)"),
        payload("INSERT OR ROLLBACK INTO t(a) VALUES(1)"),
        payload("nonsense"),
        b"\xc1",
    ],
    ids=["constraint", "or-rollback", "syntax", "malformed"],
)
def test_rejections_are_remembered_as_well(world: World, bad: bytes) -> None:
    world.ok(CREATE, "INSERT INTO t(a) VALUES(1)")
    (first,) = world.entry(write(ANN, 1, what=bad))
    world.ok("DELETE FROM t")
    (again,) = world.entry(write(ANN, 1, what=bad))
    assert first[0] not in (0, EXPIRED)
    assert again == first


def test_outcomes_are_forgotten_by_replicated_time(make_world: MakeWorld) -> None:
    world = make_world(ApplyLimits(ledger_ms=1_000))
    world.ok(CREATE)
    old = world.next_index
    (first,) = world.entry(write(ANN, 1, since=old - 1), clock_ms=CLOCK_MS + 1_000)
    (kept,) = world.entry(write(ANN, 1, since=old - 1), clock_ms=CLOCK_MS + 2_000)
    world.entry(anonymous("SELECT 1"), clock_ms=CLOCK_MS + 2_001)
    (expired,) = world.entry(write(ANN, 1, since=old - 1), clock_ms=CLOCK_MS + 2_001)
    world.reopen()
    (expired_too,) = world.entry(write(ANN, 1, since=old - 1), clock_ms=CLOCK_MS + 2_001)
    (fresh,) = world.entry(write(ANN, 2, since=old), clock_ms=CLOCK_MS + 2_001)
    assert kept == first
    assert expired[0] == expired_too[0] == EXPIRED
    assert fresh[0] == 0
    assert rows(world) == 2


def test_outcomes_are_forgotten_by_bytes_oldest_first(make_world: MakeWorld) -> None:
    world = make_world(ApplyLimits(ledger_bytes_max=400))
    world.ok(CREATE)
    first = world.next_index
    for i in range(20):
        world.entry(write(ANN, i, since=first + i - 1))
    stored = world.machine._connection.execute(
        "SELECT sum(length(outcomes) + 32), min(log_index) FROM _raftzmq_ledger"
    ).fetchall()
    assert stored[0][0] <= 400
    (newest,) = world.entry(write(ANN, 19, since=first + 18))
    (oldest,) = world.entry(write(ANN, 0, since=first - 1))
    assert (newest[0], oldest[0]) == (0, EXPIRED)
    assert rows(world) == 20


def test_one_outcome_larger_than_the_ledger_is_forgotten_at_once(make_world: MakeWorld) -> None:
    world = make_world(ApplyLimits(ledger_bytes_max=100))
    world.ok(CREATE)
    big = payload("INSERT INTO t DEFAULT VALUES RETURNING zeroblob(200)")
    at = world.next_index
    (first,) = world.entry(write(ANN, 1, since=at - 1, what=big))
    (again,) = world.entry(write(ANN, 1, since=at - 1, what=big))
    assert (first[0], again[0]) == (0, EXPIRED)
    assert rows(world) == 1


def test_a_repeated_group_leaves_no_phantom_outcomes(world: World) -> None:
    world.ok(CREATE, "INSERT INTO t(a) VALUES(1)")
    bad = payload("INSERT OR ROLLBACK INTO t(a) VALUES(1)")
    first = world.next_index
    replies = world.apply(
        [
            entry(first, write(ANN, 1), write(BOB, 1, what=bad), write(ANN, 2)),
            entry(first + 1, write(ANN, 1), write(BOB, 1, what=bad), write(ANN, 3)),
        ]
    )
    codes = [[code for code, _ in of_entry] for of_entry in replies]
    assert codes == [[0, errors.ConstraintFailed.code, 0]] * 2
    assert replies[0][0] == replies[1][0]
    assert len(world.machine._ledger) == 4
    assert rows(world) == 4


def test_rolled_back_takes_everything_back() -> None:
    """Random sealing and forgetting; a rollback restores what a fresh load would find."""
    rng = random.Random(4)
    connection = apsw.Connection(":memory:")
    connection.execute(
        "CREATE TABLE _raftzmq_ledger(log_index INTEGER PRIMARY KEY, clock_ms, outcomes)"
    )
    ledger = Ledger(keep_ms=40, bytes_max=600)
    index = sequence = 0
    for _ in range(300):
        before = _state(ledger)
        lost = rng.random() < 0.4
        started_at = index
        for _ in range(rng.randrange(1, 12)):
            index += 1
            for _ in range(rng.randrange(3)):
                sequence += 1
                client = rng.choice((ANN, BOB))
                ledger.record(client, sequence, Reply(0, b"x" * rng.randrange(60)))
            if rng.random() < 0.9:
                ledger.seal(index, index * 3)
        if ledger._entry_keys and not lost:
            ledger.seal(index, index * 3)
        if lost:
            ledger.rolled_back()
            index = started_at
            assert _state(ledger) == before
        else:
            ledger.write(connection.cursor())
            ledger.committed()
            loaded = Ledger(keep_ms=40, bytes_max=600)
            loaded.load(connection, ledger.low_index)
            assert _state(loaded) == _state(ledger)


def _state(ledger: Ledger) -> object:
    outcomes = {client: dict(known) for client, known in ledger._outcomes.items()}
    return outcomes, list(ledger._rows), ledger._bytes, ledger.low_index
