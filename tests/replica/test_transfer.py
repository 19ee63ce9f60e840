"""Snapshot transfers: lost, doubled and damaged messages, resumed files, hopeless peers."""

from __future__ import annotations

import random
from dataclasses import replace
from zlib import crc32

import pytest

from raftzmq import limits
from raftzmq.errors import NoRoom, StorageDamaged
from raftzmq.raft.messages import AppendResponse, HeartbeatRequest
from raftzmq.raft.raft import Raft
from raftzmq.raft.state import RaftConfig
from raftzmq.raft.types import Configuration, HardState, LogPosition
from raftzmq.replica import transfer
from raftzmq.replica.transfer import Transfers
from raftzmq.wire.peer import decode_peer
from raftzmq.wire.transfer import (
    SnapshotChunk,
    SnapshotDone,
    SnapshotOffer,
    SnapshotPull,
    TransferMessage,
)
from tests.replica.equality_world import World

CHUNK = limits.SNAPSHOT_CHUNK_BYTES
CONTENT = random.Random(1).randbytes(CHUNK * 80 + 17)


class File:
    """A snapshot file at the sender."""

    index, term, size, digest = 9, 1, len(CONTENT), b"digest"

    def __init__(self) -> None:
        self.removed = False

    def read(self, offset: int, count: int) -> bytes:
        return CONTENT[offset : offset + count]

    def remove(self) -> None:
        self.removed = True


class Part:
    """The file at the receiver."""

    def __init__(self) -> None:
        self.content = b""
        self.room_bytes = 1 << 40
        self.discarded = 0
        self.closed = 0

    @property
    def received_bytes(self) -> int:
        return len(self.content)

    def append(self, offset: int, data: bytes, checksum: int) -> None:
        if crc32(data) != checksum:
            raise StorageDamaged("chunk")
        assert offset == len(self.content)
        if len(self.content) + len(data) > self.room_bytes:
            raise NoRoom("full")
        self.content += data

    def close(self) -> None:
        self.closed += 1

    def discard(self) -> None:
        self.content = b""
        self.discarded += 1


class Host:
    """Takes snapshots at once and keeps parts over restarts, as a folder does."""

    def __init__(self) -> None:
        self.taking = 0
        self.parts: dict[bytes, Part] = {}
        self.whole: list[bytes] = []
        self.full = False

    def take(self) -> None:
        self.taking += 1

    def open_partial(self, offer: SnapshotOffer) -> Part:
        if self.full:
            raise NoRoom("full")
        return self.parts.setdefault(offer.digest, Part())

    def install(self, offer: SnapshotOffer, partial: object, *, rebuild: bool = False) -> None:
        assert isinstance(partial, Part)
        self.whole.append(partial.content)


def raft(node: str) -> Raft:
    core = Raft(
        RaftConfig(node=node, configuration=Configuration(voters=frozenset({"n1", "n2", "n3"}))),
        hard_state=HardState(1, "n1"),
        base=LogPosition(0, 0),
        entries=[],
        applied_index=0,
        rng=random.Random(0),
    )
    if node != "n1":
        core.step(HeartbeatRequest(sender="n1", receiver=node, term=1, commit_index=0, round=0))
    return core


class Pair:
    """Leader n1 and follower n2 with a network that a test may bend."""

    def __init__(self) -> None:
        self.hosts = Host(), Host()
        self.rafts = raft("n1"), raft("n2")
        self.sides = Transfers(self.hosts[0]), Transfers(self.hosts[1])
        self.file = File()
        self.delivered: list[TransferMessage] = []

    def begin(self) -> list[TransferMessage]:
        assert self.sides[0].wanted("n2", self.rafts[0]) == []
        assert self.hosts[0].taking == 1
        return self.sides[0].taken(self.file, self.rafts[0])

    def deliver(self, message: TransferMessage) -> list[TransferMessage]:
        self.delivered.append(message)
        side = 1 if message.receiver == "n2" else 0
        return self.sides[side].receive(message, self.rafts[side])

    def run(self, messages: list[TransferMessage], most: int = 10_000) -> None:
        while messages and most:
            messages = [*messages[1:], *self.deliver(messages[0])]
            most -= 1


def test_whole_file_arrives_in_order() -> None:
    pair = Pair()
    pair.run(pair.begin())
    assert pair.hosts[1].whole == [CONTENT]


def test_no_more_than_a_window_is_under_way() -> None:
    pair = Pair()
    (pull,) = pair.deliver(pair.begin()[0])
    assert len(pair.deliver(pull)) == limits.SNAPSHOT_CHUNKS_IN_FLIGHT


def test_pulls_are_a_quarter_of_a_window() -> None:
    pair = Pair()
    pair.run(pair.begin())
    pulls = [m for m in pair.delivered if isinstance(m, SnapshotPull)]
    assert len(pulls) <= 1 + -(-len(CONTENT) // CHUNK) // (limits.SNAPSHOT_CHUNKS_IN_FLIGHT // 4)
    under_way = most = 0
    for message in pair.delivered:
        if isinstance(message, SnapshotPull):
            under_way += message.chunks
        elif isinstance(message, SnapshotChunk):
            under_way -= 1
        most = max(most, under_way)
    assert most == limits.SNAPSHOT_CHUNKS_IN_FLIGHT


@pytest.mark.parametrize("seed", range(20))
def test_loss_duplication_and_reordering_end_in_the_same_file(seed: int) -> None:
    rng = random.Random(seed)
    pair = Pair()
    messages = pair.begin()
    for _ in range(20_000):
        if pair.hosts[1].whole:
            break
        if not messages:
            messages = leader_tick(pair) + pair.sides[1].tick(pair.rafts[1])
            continue
        message = messages.pop(rng.randrange(len(messages)))
        if rng.random() < 0.2:
            continue
        messages += pair.deliver(message)
        if rng.random() < 0.2:
            messages += pair.deliver(message)
    assert pair.hosts[1].whole == [CONTENT]


def test_damaged_chunk_is_not_written_and_asked_for_again() -> None:
    pair = Pair()
    (pull,) = pair.deliver(pair.begin()[0])
    chunk = pair.deliver(pull)[0]
    assert isinstance(chunk, SnapshotChunk)
    bad = SnapshotChunk(
        sender="n1",
        receiver="n2",
        term=chunk.term,
        transfer=chunk.transfer,
        offset=0,
        data=b"?" + chunk.data[1:],
        crc32=chunk.crc32,
    )
    assert pair.deliver(bad) == []
    assert pair.hosts[1].parts[File.digest].content == b""
    again = [m for _ in range(transfer.REPEAT_TICKS) for m in pair.sides[1].tick(pair.rafts[1])]
    pair.run(again)
    assert pair.hosts[1].whole == [CONTENT]


def test_restarted_receiver_goes_on_where_its_file_ends() -> None:
    pair = Pair()
    pair.run(pair.begin(), most=15)
    had = pair.hosts[1].parts[File.digest].received_bytes
    assert 0 < had < len(CONTENT)
    pair.sides = pair.sides[0], Transfers(pair.hosts[1])
    pair.delivered.clear()
    offers = [m for _ in range(transfer.REPEAT_TICKS) for m in leader_tick(pair)]
    pair.run(offers)
    chunks = [m for m in pair.delivered if isinstance(m, SnapshotChunk)]
    assert min(chunk.offset for chunk in chunks) == had
    assert pair.hosts[1].whole == [CONTENT]


def leader_tick(pair: Pair) -> list[TransferMessage]:
    """A tick of the sending side, whose core is not elected in this test."""
    outgoing = pair.sides[0]._outgoing["n2"]
    outgoing.idle_ticks += 1
    if outgoing.idle_ticks % transfer.REPEAT_TICKS == 0:
        return pair.sides[0]._offer("n2", pair.rafts[0])
    return []


def test_receiver_that_needs_it_no_more_says_so() -> None:
    pair = Pair()
    offer = pair.begin()[0]
    assert isinstance(offer, SnapshotOffer)
    pair.rafts = pair.rafts[0], ahead()
    (done,) = pair.deliver(offer)
    assert isinstance(done, SnapshotDone)
    assert done.installed, "what it brings is here, so the leader may go on from its base"


def test_a_leader_that_never_heard_of_an_install_goes_on_all_the_same() -> None:
    """All answers to the snapshot are lost: the leader knows no entry at which the logs match."""
    world = World()
    world.write(b"one", b"two")
    leader, sleeper = world.leader(), world.follower()
    sleeper.crash()
    world.write(b"three", b"four")
    leader.replica.compact(leader.applied.index, 0)
    sleeper.start()
    send = sleeper.replica._send
    lost: list[type] = []

    def lossy(peer: str, data: bytes) -> object:
        kind = type(decode_peer(data)[1])
        if kind is (SnapshotDone, AppendResponse, None)[len(lost)]:
            lost.append(kind)
            return None
        return send(peer, data)

    sleeper.replica._send = lossy
    world.tick(10 * transfer.REPEAT_TICKS)
    assert lost == [SnapshotDone, AppendResponse], "both answers to the first one"
    world.write(b"five")
    assert sleeper.content == [b"one", b"two", b"three", b"four", b"five"]


def ahead() -> Raft:
    return Raft(
        RaftConfig(node="n2", configuration=Configuration(voters=frozenset({"n1", "n2", "n3"}))),
        hard_state=HardState(1, "n1"),
        base=LogPosition(20, 1),
        entries=[],
        applied_index=20,
        rng=random.Random(0),
    )


def test_message_of_an_old_term_is_ignored() -> None:
    pair = Pair()
    offer = pair.begin()[0]
    later = Raft(
        RaftConfig(node="n2", configuration=Configuration(voters=frozenset({"n1", "n2", "n3"}))),
        hard_state=HardState(5, None),
        base=LogPosition(0, 0),
        entries=[],
        applied_index=0,
        rng=random.Random(0),
    )
    pair.rafts = pair.rafts[0], later
    assert pair.deliver(offer) == []


def test_a_snapshot_that_does_not_fit_is_not_begun_and_offered_again() -> None:
    pair = Pair()
    pair.hosts[1].full = True
    (offer,) = pair.begin()
    assert pair.deliver(offer) == []
    later = [m for _ in range(transfer.REPEAT_TICKS) for m in leader_tick(pair)]
    assert any(isinstance(message, SnapshotOffer) for message in later)
    pair.hosts[1].full = False
    pair.run(later)
    assert pair.hosts[1].whole == [CONTENT]


def test_a_snapshot_that_finds_no_room_half_way_gives_its_room_back() -> None:
    pair = Pair()
    part = pair.hosts[1].parts[File.digest] = Part()
    part.room_bytes = CHUNK * 5
    pair.run(pair.begin())
    assert (part.discarded, part.content) == (1, b"")
    part.room_bytes = 1 << 40
    pair.run([m for _ in range(transfer.REPEAT_TICKS) for m in leader_tick(pair)])
    assert pair.hosts[1].whole == [CONTENT]


def test_a_snapshot_that_could_not_be_taken_is_asked_for_again() -> None:
    pair = Pair()
    assert pair.sides[0].wanted("n2", pair.rafts[0]) == []
    for times in (1, 2, 3):
        assert pair.hosts[0].taking == times
        pair.sides[0].not_taken()
        for _ in range(transfer.REPEAT_TICKS):
            leader_tick(pair)


def test_no_file_that_is_given_up_stays_open() -> None:
    """It would keep its descriptor, and its room on the disk once its name is removed."""
    pair = Pair()
    (offer,) = pair.begin()
    assert isinstance(offer, SnapshotOffer)
    receiver, host = pair.sides[1], pair.hosts[1]
    (pull,) = pair.deliver(offer)
    pair.deliver(pair.deliver(pull)[0])
    other = replace(offer, digest=b"other")
    pair.deliver(other)
    assert (host.parts[offer.digest].discarded, host.parts[offer.digest].content) == (1, b"")
    for _ in range(transfer.GIVE_UP_TICKS):
        receiver.tick(pair.rafts[1])
    assert not receiver.receiving
    assert (host.parts[b"other"].closed, host.parts[b"other"].discarded) == (1, 0)
    pair.run([offer])
    assert host.whole == [CONTENT]
    receiver.installed(pair.rafts[1], "n1", ok=True)
    assert host.parts[offer.digest].discarded == 2
