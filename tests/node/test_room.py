"""Who must give something up, and that nothing is given up that may have been executed."""

from __future__ import annotations

from raftzmq.errors import Overloaded
from raftzmq.node.batches import Batch
from raftzmq.node.room import Room
from raftzmq.wire.client import (
    Kind,
    Level,
    decode_batch,
    decode_reply,
    decode_request,
    encode_request,
)


class Hall:
    """A room of ten requests of each space, and what was answered from it: (holder, codes)."""

    def __init__(self) -> None:
        self.room = Room(10, 1 << 20)
        self.answers: list[tuple[bytes, list[int]]] = []
        self._numbers = 0

    def enter(self, holder: bytes, *kinds: Kind, level: Level = Level.LINEARIZABLE) -> Batch | None:
        self._numbers += 1
        number = self._numbers
        requests = [decode_request(encode_request(kind, level=level)) for kind in kinds]

        def send(envelope: list[bytes], frame: bytes, count: int) -> None:
            self.room.closed(number, envelope[0], count, 1)
            if not frame:
                return
            codes = [decode_reply(blob).code for blob in decode_batch(frame)]
            self.answers.append((envelope[0], codes))

        batch = Batch([holder], requests, send, "n1", 0)
        return batch if self.room.admit(number, batch, 1) else None

    def crowd(self, count: int) -> None:
        for number in range(count):
            assert self.enter(b"%d" % number, Kind.READ)


def test_reads_of_who_asks_most_are_given_up_for_who_asks_little() -> None:
    hall = Hall()
    for _ in range(5):
        assert hall.enter(b"greedy", Kind.READ)
    hall.crowd(5)
    assert hall.room.requests == 10
    assert hall.enter(b"honest", Kind.READ)
    assert hall.answers == [(b"greedy", [Overloaded.code])]
    assert (hall.room.requests, hall.room.given_up, hall.room.messages) == (10, 1, 10)


def test_nobody_drives_out_who_asks_as_much() -> None:
    hall = Hall()
    for holder in (b"a", b"b", b"c", b"d", b"e"):
        assert hall.enter(holder, Kind.READ, Kind.READ)
    assert hall.enter(b"f", Kind.READ) is None
    assert hall.answers == []


def test_reads_that_wait_keep_no_write_out_not_even_their_own_sender_s() -> None:
    hall = Hall()
    for _ in range(6):
        assert hall.enter(b"proxy", Kind.READ)
    assert hall.enter(b"proxy", Kind.READ) is None
    assert hall.enter(b"proxy", Kind.WRITE)
    assert hall.answers == []


def test_reads_that_wait_for_what_never_comes_keep_no_other_read_out() -> None:
    hall = Hall()
    for _ in range(6):
        assert hall.enter(b"proxy", Kind.READ, level=Level.SESSION)
    assert hall.enter(b"proxy", Kind.READ, level=Level.SESSION) is None
    assert hall.enter(b"proxy", Kind.READ)
    assert hall.answers == []


def test_a_write_that_waits_is_never_given_up_nor_what_came_with_it() -> None:
    hall = Hall()
    mixed = hall.enter(b"greedy", Kind.READ, Kind.WRITE, *[Kind.READ] * 4)
    assert mixed is not None
    assert hall.enter(b"greedy", *[Kind.WRITE] * 10)
    assert hall.enter(b"honest", Kind.WRITE) is None
    hall.crowd(4)
    assert hall.enter(b"honest", Kind.READ) is None
    assert hall.answers == []
    mixed.answer(1, 0, b"", 1)
    assert hall.enter(b"honest", Kind.READ)
    full = Overloaded.code
    assert hall.answers == [(b"greedy", [full, 0, full, full, full, full])]


def test_a_write_brings_no_reads_into_the_room_of_writes() -> None:
    """They may wait for what never comes, and no message of writes is given up."""
    hall = Hall()
    assert hall.enter(b"stranger", Kind.WRITE, *[Kind.READ] * 9, level=Level.SESSION)
    assert hall.enter(b"honest", *[Kind.WRITE] * 10)
    assert hall.enter(b"honest", *[Kind.READ] * 10)


def test_a_write_is_passed_over_where_reads_are_given_up() -> None:
    hall = Hall()
    for _ in range(6):
        assert hall.enter(b"greedy", Kind.READ)
    write = hall.enter(b"greedy", Kind.WRITE)
    hall.crowd(4)
    assert hall.enter(b"honest", Kind.READ)
    assert hall.answers == [(b"greedy", [Overloaded.code])]
    assert write is not None
    assert not write.done


def test_the_latest_reads_go_first_and_as_many_as_are_in_the_way() -> None:
    hall = Hall()
    first = hall.enter(b"greedy", Kind.READ, Kind.READ)
    for _ in range(4):
        assert hall.enter(b"greedy", Kind.READ)
    hall.crowd(4)
    assert hall.enter(b"honest", Kind.READ, Kind.READ)
    assert hall.answers == [(b"greedy", [Overloaded.code])] * 2
    assert first is not None
    assert not first.done


def test_what_is_answered_leaves_no_trace() -> None:
    hall = Hall()
    batch = hall.enter(b"a", Kind.READ, Kind.READ)
    assert batch is not None
    assert hall.room.of(b"a") == [batch]
    batch.answer(0, 0, b"", 1)
    assert hall.room.requests == 2
    batch.answer(1, 0, b"", 1)
    assert (hall.room.requests, hall.room.messages, hall.room.of(b"a")) == (0, 0, [])


def test_what_waits_for_who_left_is_let_go_but_for_writes() -> None:
    hall = Hall()
    assert hall.enter(b"gone", Kind.READ, Kind.READ)
    assert hall.enter(b"gone", Kind.READ, level=Level.SESSION)
    assert hall.enter(b"gone", Kind.WRITE)
    assert hall.enter(b"here", Kind.READ)
    hall.room.abandon(b"gone")
    assert hall.answers == []
    assert (hall.room.requests, hall.room.messages, hall.room.abandoned) == (2, 2, 2)
    hall.room.abandon(b"nobody")
    assert hall.room.messages == 2


def test_no_more_is_let_go_at_once_than_takes_a_moment() -> None:
    hall = Hall()
    hall.room = Room(1_000, 1 << 20)
    for _ in range(100):
        assert hall.enter(b"gone", Kind.READ)
    hall.room.abandon(b"gone")
    assert hall.room.messages == 36
    hall.room.abandon(b"gone")
    assert hall.room.messages == 0


def test_to_find_nothing_to_let_go_costs_little() -> None:
    """A message with a write among its last is looked through once, not sixty-four of them."""
    hall = Hall()
    hall.room = Room(100_000, 1 << 20)
    kinds = [*[Kind.READ] * 600, Kind.WRITE]
    batches = [hall.enter(b"gone", *kinds) for _ in range(10)]
    assert hall.enter(b"gone", Kind.READ)
    hall.room.abandon(b"gone")
    assert hall.room.messages == 11, "beyond what is looked at"
    for batch in batches:
        assert batch
        batch.answer(600, 0, b"", 1)
    for _ in range(11):
        hall.room.abandon(b"gone")
    assert hall.room.messages == 0
