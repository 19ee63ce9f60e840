"""What ``apply_short`` takes on is applied as ``apply`` does it, and what could last is left."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from raftzmq.errors import ConstraintFailed
from raftzmq.statemachine import machine as machine_module
from raftzmq.statemachine.bounds import ApplyLimits
from raftzmq.statemachine.command import CommandFlags, Request
from raftzmq.statemachine.machine import LogEntry
from raftzmq.statemachine.short_work import SHORT_BYTES_MAX, SHORT_REQUESTS_MAX
from tests.statemachine.world import CLOCK_MS, World, anonymous, entry, opened, payload

ONE = ("INSERT INTO t VALUES(?)", [7])
INSERT = anonymous(ONE)
ANN = b"ann-0123"
LAST = (1 << 63) - 1


@pytest.fixture
def known(world: World) -> World:
    """A world with a table ``t`` in which ``ONE`` ran before."""
    world.ok("CREATE TABLE t(a)")
    world.ok(ONE)
    return world


def is_taken_on(world: World, *entries: LogEntry) -> bool:
    before = world.machine.applied, world.digest()
    taken = world.machine.apply_short(entries) is not None
    if not taken:
        assert (world.machine.applied, world.digest()) == before
        world.machine.apply(entries)
    assert world.machine.applied[0] == entries[-1].index
    return taken


def test_an_insert_seen_before_is_short(known: World) -> None:
    first = known.next_index
    assert is_taken_on(known, entry(first, INSERT), LogEntry(first + 1, 1, b""))
    assert known.rows("SELECT count(*) FROM t") == [[2]]


@pytest.mark.parametrize(
    "request_",
    [
        anonymous(("INSERT INTO t VALUES(?) ", [7])),
        anonymous(ONE, ONE),
        anonymous(("UPDATE t SET a = ?", [1])),
        anonymous("DELETE FROM t"),
        anonymous("CREATE TABLE u(a)"),
        anonymous("SELECT randomblob(100000000)"),
        Request(b"", 0, 0, b"no payload"),
    ],
)
def test_anything_else_is_not(known: World, request_: Request) -> None:
    known.ok(("UPDATE t SET a = ?", [1]))
    assert not is_taken_on(known, entry(known.next_index, request_))


def test_neither_is_much(known: World) -> None:
    index = known.next_index
    assert is_taken_on(known, entry(index, *[INSERT] * SHORT_REQUESTS_MAX))
    assert not is_taken_on(known, entry(index + 1, *[INSERT] * (SHORT_REQUESTS_MAX + 1)))
    half = [INSERT] * (SHORT_REQUESTS_MAX // 2 + 1)
    assert not is_taken_on(known, entry(index + 2, *half), entry(index + 3, *half))
    large = anonymous((ONE[0], [bytes(SHORT_BYTES_MAX)]))
    assert not is_taken_on(known, entry(index + 4, large))


def test_nor_what_needs_another_connection(known: World) -> None:
    index = known.next_index
    flags = int(CommandFlags.NO_FOREIGN_KEYS)
    assert not is_taken_on(known, entry(index, INSERT, flags=flags))
    assert not is_taken_on(known, entry(index + 1, INSERT, limits=ApplyLimits(parameters_max=9)))


def test_nor_what_has_consequences(known: World) -> None:
    known.ok("CREATE TRIGGER t1 AFTER INSERT ON t BEGIN SELECT 1; END")
    known.ok(ONE)
    assert not is_taken_on(known, entry(known.next_index, INSERT))


def test_nor_what_comes_when_the_wal_is_to_be_copied(
    known: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine_module, "WAL_PAGES_MAX", machine_module._SHORT_WAL_PAGES)
    assert not is_taken_on(known, entry(known.next_index, INSERT))


@pytest.mark.parametrize("keyed", [False, True])
def test_nor_what_makes_a_ledger_forget_much(
    make_world: Callable[[ApplyLimits], World], keyed: bool
) -> None:
    """A minute of silence after a busy one: as many rows go at once as came in a minute."""
    limits = ApplyLimits(**{"key_ledger_ms" if keyed else "ledger_ms": 1_000})
    flags = int(CommandFlags.KEYED) if keyed else 0
    world = make_world(limits)
    world.ok("CREATE TABLE t(a)")
    for sequence in range(1, 21):
        request = Request(b"%d" % sequence, sequence, 0, payload(ONE))
        world.entry(request, clock_ms=CLOCK_MS, flags=flags)
    taken_on = []
    for index, passed_ms in enumerate((900, 5_000, 6_000), world.next_index):
        later = entry(index, INSERT, limits=limits, clock_ms=CLOCK_MS + passed_ms)
        taken_on.append(is_taken_on(world, later))
    assert taken_on == [True, False, True]


def test_a_few_rows_too_many_are_forgotten_at_once(
    make_world: Callable[[ApplyLimits], World],
) -> None:
    """The steady state of a ledger that is full: each entry drives out one."""
    world = make_world(ApplyLimits(ledger_bytes_max=2_000))
    world.ok("CREATE TABLE t(a)")
    for sequence in range(1, 101):
        world.entry(Request(ANN, sequence, 1_000, payload(ONE)))
    one = Request(ANN, 101, 1_000, payload(ONE))
    assert is_taken_on(world, entry(world.next_index, one, limits=world.limits))
    assert world.machine._once.low_indexes[0] > 0


def test_it_gives_the_same_as_the_long_way(make_world: Callable[[], World]) -> None:
    """Failures included; the row at the last rowid needs the long way, and gets it."""
    short, long = make_world(), make_world()
    text = "INSERT INTO t VALUES(?)"
    for world in (short, long):
        world.ok("CREATE TABLE t(a INTEGER PRIMARY KEY)")
        world.ok((text, [1]))
    codes = []
    # The long way is a connection of its own, after which the text has to run once more.
    for sequence, (value, is_short) in enumerate(
        ((2, True), (2, True), (3, True), (LAST, False), (4, False), (2, True)), 1
    ):
        one = Request(ANN, sequence, 1_000, payload((text, [value])))
        made = entry(short.next_index, one)
        results = short.machine.apply_short([made])
        assert (results is not None) is is_short
        if results is None:
            results = short.machine.apply([made])
        assert results == long.machine.apply([made])
        codes.append(opened(results[0].replies[0])[0])
    assert codes[:3] == [0, ConstraintFailed.code, 0]
    assert short.digest() == long.digest()
    retried = entry(short.next_index, Request(ANN, 1, 1_000, payload((text, [2]))))
    assert short.machine.apply_short([retried]) == long.machine.apply([retried])
