"""When a node is quarantined, nothing more is answered from its state, begun or not."""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from typing import Any, cast

import msgpack
import pytest

from raftzmq.errors import OutcomeUnknown, StorageFailed, Unavailable
from raftzmq.node import equality
from raftzmq.node.conditions import Conditions
from raftzmq.node.equality import NodeEquality
from raftzmq.node.queries import Queries
from raftzmq.node.service import ClientService
from raftzmq.node.workers import WorkerPool
from raftzmq.raft.types import LogPosition, ReadState
from raftzmq.replica.replica import Replica
from raftzmq.statemachine.bounds import ApplyLimits
from raftzmq.statemachine.machine import EntryResult
from raftzmq.statemachine.reply import Reply
from raftzmq.storage.quarantine import QuarantineMark, read_mark
from raftzmq.transport.clock import monotonic_ms
from raftzmq.transport.sockets import Socket
from raftzmq.wire.client import Flags, Kind, Level, decode_batch, decode_reply, encode_batch
from raftzmq.wire.client import encode_request as request

MARK = QuarantineMark(index=5, own="aa", right="bb")


class Core:
    """A leader that takes every proposal."""

    node, leader, commit_index, leader_contact_ticks = "n1", "n1", 0, 0

    def __init__(self) -> None:
        self.proposed = 0

    def propose(self, data: bytes) -> LogPosition:
        self.proposed += 1
        return LogPosition(self.proposed, 1)

    def read_index(self, context: int) -> None:
        self.context = context


class Leader:
    """The replica of a leader."""

    is_leader = True
    applied_index = 100

    def __init__(self) -> None:
        self.raft = Core()


class Router:
    """Takes the jobs of workers, which the test answers."""

    def __init__(self) -> None:
        self.sent: list[list[bytes]] = []

    def send_multipart(self, frames: list[bytes]) -> None:
        self.sent.append(frames)


class Desk:
    """A service with one fast and one slow worker, and its NodeEquality."""

    def __init__(self, folder: Path) -> None:
        self.router = Router()
        numbers = itertools.count(1)
        router = cast(Socket, self.router)
        self.slow = WorkerPool([b"slow"], router, {}, {}, numbers)
        self.fast = WorkerPool([b"fast"], router, {}, {}, numbers, self.slow)
        self.replica = Leader()
        self.replies: list[tuple[bytes, int]] = []
        self.conditions = Conditions()
        self.lines: list[str] = []
        self.seen_index = 0
        self.service = ClientService(
            replica=cast(Replica, self.replica),
            conditions=self.conditions,
            fast=self.fast,
            slow=self.slow,
            queries=Queries(
                node="n1",
                boot=1,
                pools=(self.fast, self.slow),
                doing=lambda: None,
                snapshot=lambda: False,
                log=self.lines.append,
            ),
            send=self._send,
            client_addresses={},
            status=lambda: b"",
            observe=lambda envelope: None,
            pending_max=1_000,
            apply_limits=ApplyLimits(),
            rng=random.Random(0),
            seen_index=lambda: self.seen_index,
        )
        self.equality = NodeEquality(folder, self.conditions, self.lines.append)
        self.equality.ended_service = self.service.end_service

    def ask(self, name: bytes, *blobs: bytes) -> None:
        self.service.receive([name], encode_batch(blobs), 0, monotonic_ms())

    def codes(self) -> dict[bytes, int]:
        return dict(self.replies)

    def _send(self, envelope: list[bytes], frame: bytes) -> None:
        for blob in decode_batch(frame):
            self.replies.append((envelope[0], decode_reply(blob).code))


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def read(**options: Any) -> bytes:
    return request(Kind.READ, b"client", 1, timeout_ms=60_000, payload=b"q", **options)


def write() -> bytes:
    return request(Kind.WRITE, b"client", 1, timeout_ms=60_000, payload=b"w")


def test_reads_in_every_stage_are_refused(desk: Desk) -> None:
    desk.ask(b"running", read(level=Level.STALE, flags=Flags.SLOW))
    desk.ask(b"queued", read(level=Level.STALE, flags=Flags.SLOW))
    desk.ask(b"fast", read(level=Level.STALE, flags=Flags.FAST_ONLY))
    desk.ask(b"asks", read())
    desk.service.end_of_round(0)
    asked = desk.replica.raft.context
    desk.ask(b"gathered", read())
    desk.ask(b"applied later", read(level=Level.SESSION, min_index=1_000))
    assert desk.codes() == {}
    desk.equality.quarantined(MARK)
    assert desk.codes() == dict.fromkeys(
        (b"running", b"queued", b"fast", b"gathered", b"applied later"), Unavailable.code
    )
    # A damaged node applies nothing, so a read must not wait for it: another node has it.
    desk.service.read_states([ReadState(asked, 500)])
    desk.ask(b"new", read(level=Level.STALE))
    for name in (b"asks", b"new"):
        assert desk.codes()[name] == Unavailable.code
    # What the worker brings now goes to nobody.
    answer = msgpack.packb([100, [[0, b"tampered"]]])
    desk.slow.finished(b"slow", answer)
    desk.fast.finished(b"fast", answer)
    assert 0 not in desk.codes().values()


def test_writes_under_way_are_unknown_and_new_ones_are_refused(desk: Desk) -> None:
    desk.ask(b"proposed", write())
    desk.service.end_of_round(0)
    desk.ask(b"gathered", write())
    desk.equality.quarantined(MARK)
    desk.ask(b"new", write())
    desk.service.end_of_round(0)
    assert desk.codes() == {
        b"proposed": OutcomeUnknown.code,
        b"gathered": Unavailable.code,
        b"new": Unavailable.code,
    }
    assert desk.replica.raft.proposed == 1
    desk.service.applied([EntryResult(1, 1, [Reply(0, b"tampered")])])
    assert 0 not in desk.codes().values()


def test_the_end_of_a_quarantine_serves_again(desk: Desk, tmp_path: Path) -> None:
    desk.equality.quarantined(MARK)
    assert read_mark(tmp_path) == MARK
    assert list(desk.conditions.sentences()) == [equality.QUARANTINED]
    desk.equality.quarantined(None)
    assert read_mark(tmp_path) is None
    assert desk.conditions.sentences() == {}
    desk.ask(b"again", read(level=Level.STALE, flags=Flags.SLOW))
    desk.slow.finished(b"slow", msgpack.packb([100, [[0, b"right"]]]))
    assert desk.codes() == {b"again": 0}


def test_a_mark_found_at_start_is_in_effect_at_once(tmp_path: Path) -> None:
    Desk(tmp_path).equality.quarantined(MARK)
    desk = Desk(tmp_path)
    assert desk.equality.mark == MARK
    desk.equality.quarantined(desk.equality.mark)
    desk.ask(b"new", read(level=Level.STALE))
    assert desk.codes() == {b"new": Unavailable.code}


def test_a_mark_that_cannot_be_written_stops_the_node_and_nothing_is_served(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(folder: Path, mark: QuarantineMark | None) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(equality, "write_mark", fails)
    with pytest.raises(StorageFailed, match=r"quarantine\.json"):
        desk.equality.quarantined(MARK)
    desk.ask(b"new", read(level=Level.STALE))
    assert desk.codes() == {b"new": Unavailable.code}


def test_doubt_is_said_and_refuses_nothing(desk: Desk) -> None:
    desk.equality.doubted("n1 and n2 differ")
    assert desk.conditions.sentences() == {equality.DIFFER: "n1 and n2 differ"}
    assert desk.conditions.refusing_reads is None
    desk.equality.doubted(None)
    assert desk.conditions.sentences() == {}


def test_reads_of_a_client_that_left_are_let_go_in_every_stage(desk: Desk) -> None:
    desk.ask(b"gone", read(level=Level.STALE, flags=Flags.SLOW))
    desk.ask(b"gone", read(level=Level.STALE, flags=Flags.SLOW))
    desk.ask(b"gone", read(), read())
    desk.service.end_of_round(0)
    desk.ask(b"gone", read(level=Level.SESSION, min_index=1 << 40))
    desk.ask(b"here", read())
    desk.service.client_left(b"gone")
    assert desk.service.counters.dropped() == {"client left before its answer": 4}
    assert desk.replies == []
    desk.service.end_of_round(0)
    desk.service.read_states([ReadState(desk.replica.raft.context, 0)])
    sent = [msgpack.unpackb(frames[2]) for frames in desk.router.sent]
    assert [len(payloads) for _, _, _, payloads, *_ in sent] == [1, 1], "a slow one ran, and here"
    assert desk.service.busy, "for who stays"
