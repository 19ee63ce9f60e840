"""Exactly once (P4): a named write is applied once, and a retry gets the first reply."""

from __future__ import annotations

import random
import tracemalloc
from typing import cast

import apsw
import pytest

from raftzmq import errors
from raftzmq.statemachine import schema
from raftzmq.statemachine.authorizer import OWN
from raftzmq.statemachine.bounds import ApplyLimits
from raftzmq.statemachine.command import CommandFlags, Request
from raftzmq.statemachine.ledger import Ledger
from raftzmq.statemachine.names import ROW_MASK
from raftzmq.statemachine.reply import APPLIED_BEFORE, RESULT_FORGOTTEN, Reply
from raftzmq.wire import client as wire
from tests.statemachine.conftest import MakeWorld
from tests.statemachine.world import CLOCK_MS, World, anonymous, entry, opened, payload

ANN = b"ann-0123"
BOB = b"bob-0123"
INSERT = payload("INSERT INTO t DEFAULT VALUES RETURNING a, b")
CREATE = "CREATE TABLE t(a INTEGER PRIMARY KEY, b DEFAULT (random()))"
EXPIRED = errors.LedgerExpired.code


def write(client: bytes, sequence: int, since: int = 1_000_000, what: bytes = INSERT) -> Request:
    return Request(client, sequence, since, what)


def raw(world: World, request: Request) -> Reply:
    """The reply with its index and flags."""
    made = entry(world.next_index, request, limits=world.limits)
    return world.machine.apply([made])[0].replies[0]


def rows(world: World) -> int:
    return cast(int, world.rows("SELECT count(*) FROM t")[0][0])


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
    assert cast(int, stored[0][0]) <= 400
    (newest,) = world.entry(write(ANN, 19, since=first + 18))
    (oldest,) = world.entry(write(ANN, 0, since=first - 1))
    assert (newest[0], oldest[0]) == (0, EXPIRED)
    assert rows(world) == 20


def test_a_large_result_drives_out_nobody_and_its_write_still_counts_as_applied(
    make_world: MakeWorld,
) -> None:
    world = make_world(ApplyLimits(ledger_bytes_max=16_000))
    world.ok(CREATE)
    at = world.next_index
    since = at - 1
    (other,) = world.entry(write(BOB, 1, since))
    big = payload("INSERT INTO t DEFAULT VALUES RETURNING zeroblob(4000)")
    for number in range(1, 21):
        (first,) = world.entry(write(ANN, number, since, big))
        assert len(first[1][0][3][0][0]) == 4_000
    world.reopen()
    again = raw(world, write(ANN, 1, since, big))
    assert (again.code, again.index, again.flags) == (0, at + 1, RESULT_FORGOTTEN)
    assert opened(again)[1] == [[1, 2, None, None]]
    assert world.entry(write(BOB, 1, since)) == [other]
    assert rows(world) == 21


def test_large_results_of_one_entry_share_its_part_of_the_ledger(make_world: MakeWorld) -> None:
    world = make_world(ApplyLimits(ledger_bytes_max=16_000))
    world.ok(CREATE)
    at = world.next_index
    big = payload("INSERT INTO t DEFAULT VALUES RETURNING zeroblob(400)")
    world.entry(*(write(ANN, number, at - 1, big) for number in range(40)))
    flags = [raw(world, write(ANN, number, at - 1, big)).flags for number in range(40)]
    assert flags == [0, 0] + [RESULT_FORGOTTEN] * 38
    many = payload(*["INSERT INTO t DEFAULT VALUES"] * 1_000)
    world.entry(write(BOB, 1, at - 1, many))
    forgotten = raw(world, write(BOB, 1, at - 1, many))
    assert (forgotten.flags, opened(forgotten)) == (RESULT_FORGOTTEN, (0, []))
    assert rows(world) == 1_040


def test_a_name_that_returns_with_another_write_gets_no_result(world: World) -> None:
    world.ok(CREATE)
    (first,) = world.entry(write(ANN, 1))
    (other,) = world.entry(write(ANN, 1, what=payload("INSERT INTO t(b) VALUES(7)")))
    assert other[0] == errors.NameReused.code
    assert world.entry(write(ANN, 1)) == [first]
    assert rows(world) == 1


def test_a_retry_is_told_where_it_was_applied_first(world: World) -> None:
    world.ok(CREATE)
    at = world.next_index
    assert raw(world, write(ANN, 1)).index == 0
    world.ok("SELECT 1")
    assert raw(world, write(ANN, 1)).index == at


KEY = b"nightly-2024-01-01"


def keyed(world: World, *requests: Request) -> list[Reply]:
    made = entry(world.next_index, *requests, flags=CommandFlags.KEYED, limits=world.limits)
    return world.machine.apply([made])[0].replies


def test_a_key_is_used_once_whoever_sends_it(world: World) -> None:
    world.ok(CREATE)
    first, own_retry = keyed(world, write(KEY, 71), write(KEY, 71))
    world.reopen()
    (stranger,) = keyed(world, write(KEY, 72))
    assert first.body == own_retry.body == stranger.body
    assert (first.flags, own_retry.flags, stranger.flags) == (0, 0, APPLIED_BEFORE)
    (other,) = keyed(world, write(KEY, 73, what=payload("DELETE FROM t")))
    assert other.code == errors.NameReused.code
    # A client whose id happens to be the same bytes is somebody else.
    assert world.entry(write(KEY, 71))[0][0] == 0
    assert rows(world) == 2


def test_a_key_outlives_the_ledger_of_the_sessions(make_world: MakeWorld) -> None:
    world = make_world(ApplyLimits(ledger_ms=0, ledger_bytes_max=0, key_ledger_ms=100_000))
    world.ok(CREATE)
    at = world.next_index
    keyed(world, write(KEY, 1, at - 1))
    world.entry(write(ANN, 1, at - 1))
    world.entry(anonymous("SELECT 1"), clock_ms=CLOCK_MS + 50_000)
    assert world.entry(write(ANN, 1, at - 1))[0][0] == EXPIRED
    assert keyed(world, write(KEY, 2, at - 1))[0].flags == APPLIED_BEFORE
    for step in (1, 2):
        world.entry(anonymous("SELECT 1"), clock_ms=CLOCK_MS + 50_000 + step * 60_000)
    # Forgotten: an attempt from before is refused, a new one is new work.
    assert keyed(world, write(KEY, 1, at - 1))[0].code == EXPIRED
    assert rows(world) == 2
    assert keyed(world, write(KEY, 3))[0].flags == 0
    assert rows(world) == 3


def test_a_key_is_not_used_up_by_a_rejection(world: World) -> None:
    (rejected,) = keyed(world, write(KEY, 1))
    assert rejected.code == errors.SqlError.code
    world.ok(CREATE)
    # That attempt was told that it did not happen: delayed copies of it change nothing.
    assert keyed(world, write(KEY, 1))[0] == rejected._replace(index=1)
    assert rows(world) == 0
    assert keyed(world, write(KEY, 2))[0].code == 0
    (late,) = keyed(world, write(KEY, 1))
    assert (late.code, late.flags) == (0, APPLIED_BEFORE)
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
    assert len(world.machine._once.sessions) == 4
    assert rows(world) == 4


def test_rolled_back_takes_everything_back() -> None:
    """Random sealing and forgetting; a rollback restores what a fresh load would find."""
    rng = random.Random(4)
    connection = apsw.Connection(":memory:")
    connection.execute(
        "CREATE TABLE _raftzmq_ledger(log_index INTEGER PRIMARY KEY, elapsed_ms, outcomes)"
    )
    ledger = Ledger(schema.LEDGER)
    ledger.read_through(connection.cursor())
    index = sequence = 0
    for _ in range(300):
        before = _state(ledger, sequence)
        lost = rng.random() < 0.4
        started_at, begun_with = index, sequence
        for _ in range(rng.randrange(1, 12)):
            if ledger._entry:
                break  # what interrupts an entry ends the transaction
            index += 1
            # Each entry brings limits of its own.
            keep_ms, bytes_max = rng.choice(((40, 600), (20, 900), (60, 300)))
            ledger.begin(index, bytes_max)
            for _ in range(rng.randrange(3)):
                sequence += 1
                client = rng.choice((ANN, BOB))
                ledger.record(client, sequence, Reply(0, b"x" * rng.randrange(60)), sequence)
            if not lost or rng.random() < 0.9:
                ledger.seal(index * 3, keep_ms, bytes_max)
        if lost:
            ledger.rolled_back()
            index = started_at
            assert _state(ledger, sequence) == before + [None] * 2 * (sequence - begun_with)
        else:
            ledger.write(connection.cursor())
            ledger.committed()
            loaded = Ledger(schema.LEDGER)
            loaded.load(connection.cursor(), ledger.low_index)
            assert _state(loaded, sequence) == _state(ledger, sequence)


def _state(ledger: Ledger, sequence: int) -> list[object]:
    """Everything that decides an answer, and at the end what each name ever used is answered."""
    head = ledger._head
    columns = (ledger._indexes, ledger._elapsed, ledger._sizes, ledger._counts)
    rows = list(zip(*(column[head:] for column in columns), strict=True))
    known = [ledger.find(client, at) for at in range(1, sequence + 1) for client in (ANN, BOB)]
    return [rows, ledger._bytes, len(ledger), ledger.low_index, *known]


def _filled(ledger: Ledger, first: int, last: int, keep: int) -> None:
    """Entries first..last of ten names each, of which the latest ``keep`` are remembered."""
    for index in range(first, last + 1):
        ledger.begin(index, 1 << 20)
        for number in range(10):
            ledger.record(b"%08d/%d" % (index, number), 1, Reply(0, b"reply"), 7)
        ledger.seal(index, keep - 1, 1 << 30)
        ledger.committed()


def test_what_is_remembered_takes_few_bytes_of_memory_and_what_is_forgotten_none() -> None:
    ledger = Ledger(schema.LEDGER)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        _filled(ledger, 1, 20_000, 8_000)
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert len(ledger) == 80_000
    # Eight a name, what was not swept yet, four columns of the rows, 4,096 arrays and their room.
    assert ledger._names.held <= 80_000 * 5 // 4 + 4_096 + 10, "what is forgotten is swept"
    assert taken < 80_000 * 30, "a dictionary of outcomes takes 300 for each"


def test_numbers_that_follow_each_other_share_their_place() -> None:
    ledger = Ledger(schema.LEDGER)
    ledger.begin(1, 1 << 20)
    for number in range(1_600, 3_200):
        ledger.record(ANN, number, Reply(0, b"reply"), number)
    ledger.seal(1, 9, 1 << 30)
    assert (len(ledger), ledger._names.held) == (1_600, 100)
    assert [ledger.find(ANN, number) is not None for number in (1_599, 1_600, 3_199, 3_200)] == [
        False, True, True, False,
    ]  # fmt: skip


def test_a_hint_that_leads_to_a_row_without_the_name_is_no_outcome(world: World) -> None:
    world.ok(CREATE)
    (first,) = world.entry(write(ANN, 1))
    ledger = world.machine._once.sessions
    row = ledger._gone + len(ledger._indexes) - 1
    for name in ((BOB, 2), (ANN, 1)):  # as after a collision of hashes, or a rollback
        ledger._names.add([name], row)
        ledger._names.add([name], row + 1)
    assert ledger.find(BOB, 2) is None
    assert world.entry(write(ANN, 1)) == [first]
    assert world.entry(write(BOB, 2))[0][0] == 0
    assert rows(world) == 2


def test_the_numbers_of_rows_may_begin_again() -> None:
    ledger = Ledger(schema.LEDGER)
    connection = apsw.Connection(":memory:")
    connection.execute(
        "CREATE TABLE _raftzmq_ledger(log_index INTEGER PRIMARY KEY, elapsed_ms, outcomes)"
    )
    ledger.read_through(connection.cursor())
    ledger._gone = ROW_MASK - 2
    for index in range(1, 7):
        ledger.begin(index, 1 << 20)
        ledger.record(ANN, index, Reply(0, b"%d" % index), index)
        ledger.seal(index, 3, 1 << 20)
        ledger.write(connection.cursor())
        ledger.committed()
    found = [ledger.find(ANN, number) for number in range(1, 8)]
    assert found == [None, None, *((0, b"%d" % at, at, at) for at in range(3, 7)), None]


def test_a_row_that_is_missing_is_damage_and_no_new_write(world: World) -> None:
    world.ok(CREATE)
    world.entry(write(ANN, 1))
    world.machine._connection.execute("DELETE FROM _raftzmq_ledger", prepare_flags=OWN)
    with pytest.raises(errors.StorageDamaged, match="is missing"):
        world.entry(write(ANN, 1))


def test_the_numbers_of_the_flags_are_those_of_the_wire() -> None:
    for flag in CommandFlags:
        assert wire.Flags[flag.name or ""] == flag
    assert (APPLIED_BEFORE, RESULT_FORGOTTEN) == (
        wire.ReplyFlags.APPLIED_BEFORE,
        wire.ReplyFlags.RESULT_FORGOTTEN,
    )


def test_of_a_write_without_result_it_is_remembered_that_it_was_applied(world: World) -> None:
    world.ok(CREATE)
    flags = CommandFlags.KEYED | CommandFlags.NO_RESULT
    (first,) = world.machine.apply([entry(world.next_index, write(KEY, 1), flags=flags)])[0].replies
    (again,) = keyed(world, write(KEY, 2))
    assert first.flags == 0
    assert opened(first)[1][0][3]
    assert (opened(again), again.flags) == ((0, []), APPLIED_BEFORE | RESULT_FORGOTTEN)
    assert rows(world) == 1
