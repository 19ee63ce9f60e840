"""Whole replicas in memory whose state is a list of what was applied: one call is one event.

Content can be changed behind a replica's back. Messages travel as their wire bytes.
"""

from __future__ import annotations

import hashlib
import random
from zlib import crc32

from raftzmq.errors import StorageDamaged
from raftzmq.raft.raft import Raft
from raftzmq.raft.state import RaftConfig
from raftzmq.raft.types import (
    Configuration,
    Entry,
    EntryKind,
    LogPosition,
    NodeId,
    Role,
    Standing,
)
from raftzmq.replica.admission import Admission
from raftzmq.replica.judge import NOT_HASHED
from raftzmq.replica.replica import Replica
from raftzmq.replica.transfer import Transfers
from raftzmq.storage.contract import Memory
from raftzmq.storage.memory_log import MemoryLogStore
from raftzmq.storage.quarantine import QuarantineMark
from raftzmq.wire.transfer import SnapshotOffer

SEPARATOR = b"\n"
DEFAULT_TICKS = 40


class File:
    """A snapshot of the content, at the sender."""

    def __init__(self, index: int, term: int, content: list[bytes]) -> None:
        self.index, self.term = index, term
        self._bytes = SEPARATOR.join(content)
        self.size = len(self._bytes)
        self.digest = hashlib.blake2b(self._bytes, digest_size=32).digest()
        self.removed = False

    def read(self, offset: int, count: int) -> bytes:
        assert not self.removed
        return self._bytes[offset : offset + count]

    def remove(self) -> None:
        self.removed = True


class Part:
    """A snapshot at the receiver."""

    def __init__(self) -> None:
        self.content = b""

    @property
    def received_bytes(self) -> int:
        return len(self.content)

    def append(self, offset: int, data: bytes, checksum: int) -> None:
        if crc32(data) != checksum or offset != len(self.content):
            raise StorageDamaged("chunk")
        self.content += data

    def close(self) -> None:
        pass

    def discard(self) -> None:
        pass


class Node:
    """One replica, its state machine and its disk."""

    def __init__(self, world: World, name: NodeId) -> None:
        self.world = world
        self.name = name
        self.store = MemoryLogStore()
        self.content: list[bytes] = []
        self.applied = LogPosition(0, 0)
        self.mark: QuarantineMark | None = None
        self.doubt: str | None = None
        self.boot = 0
        self.snapshots_taken = 0
        self.skips_hashes = False
        self.damaged = False
        self.served_wrong = False
        self.up = False

    def start(self) -> None:
        """Boot from what is on disk: log, content, mark."""
        self.boot += 1
        self.jobs: list[object] = []
        stored = self.store.load()
        raft = Raft(
            RaftConfig(node=self.name, configuration=self.world.configuration),
            hard_state=stored.hard_state,
            base=stored.base,
            entries=stored.entries,
            applied_index=self.applied.index,
            rng=random.Random(f"{self.name}/{self.boot}/{self.world.seed}"),
            standing=Standing.RECOVERING if stored.recovering else Standing.UNKNOWN,
            read_back=self.store.read,
        )
        self.transfers = Transfers(self)
        self.replica = Replica(
            raft=raft,
            store=self.store,
            cluster="test",
            send=self._send,
            transfers=self.transfers,
            applied_index=self.applied.index,
            admission=Admission(
                raft=raft,
                store=self.store,
                identities=dict(stored.identities),
                incarnation=len(self.name),
                boot=self.boot << 32,
                empty=stored.hard_state.term == 0,
                forgot=stored.memory is not Memory.WHOLE,
                lives=(),
                next_boot=self._never,
                rng=random.Random(self.boot),
            ),
        )
        self.replica.equality.attend(self, interval_ticks=self.world.interval_ticks, mark=self.mark)
        self.up = True

    @staticmethod
    def _never(known: int) -> int:
        raise AssertionError("no disk is lost here")

    def crash(self) -> None:
        """The process is gone; what was flushed, applied and marked stays."""
        self.up = False
        self.store.close()

    # SnapshotHost and EqualityHost

    def take(self) -> None:
        self.jobs.append("take")

    def open_partial(self, offer: SnapshotOffer) -> Part:
        return Part()

    def install(self, offer: SnapshotOffer, partial: object, *, rebuild: bool = False) -> None:
        assert isinstance(partial, Part)
        self.jobs.append((offer, partial, rebuild))

    def quarantined(self, mark: QuarantineMark | None) -> None:
        self.mark = mark

    def doubted(self, why: str | None) -> None:
        self.doubt = why

    # the loop of a host

    def round(self) -> None:
        """Flush, apply, and do what takes a thread in a real node."""
        for entry in self.replica.flush().committed:
            self._apply(entry)
        jobs, self.jobs = self.jobs, []
        for job in jobs:
            if job == "take":
                self.snapshots_taken += 1
                file = File(self.applied.index, self.applied.term, self.content)
                self.replica.snapshot_taken(file)
            elif isinstance(job, tuple):
                self._install(*job)

    def _apply(self, entry: Entry) -> None:
        if entry.index <= self.applied.index:
            return
        if self.damaged:
            self.replica.damaged("the file is malformed")
            return
        assert entry.index == self.applied.index + 1, "no gap is applied"
        self.applied = LogPosition(entry.index, entry.term)
        self.replica.applied_index = entry.index
        if entry.kind is EntryKind.COMMAND:
            self.content.append(entry.data)
        elif entry.kind is EntryKind.CHECKSUM:
            digest = NOT_HASHED if self.skips_hashes else self.digest()
            self.replica.hashed(self.applied, digest)

    def _install(self, offer: SnapshotOffer, part: Part, rebuild: bool) -> None:
        swapped = rebuild or self.applied.index < offer.index
        if swapped:
            self.damaged = False
            self.content = part.content.split(SEPARATOR) if part.content else []
            self.applied = LogPosition(offer.index, offer.snapshot_term)
        self.replica.installed(offer.snapshot(), offer.sender, offer.term, None, swapped=swapped)

    def digest(self) -> bytes:
        return hashlib.blake2b(SEPARATOR.join(self.content), digest_size=32).digest()

    @property
    def serves(self) -> bool:
        return self.mark is None

    def _send(self, peer: NodeId, data: bytes) -> None:
        self.world.network.append((self.name, peer, data))


class World:
    """All nodes and the messages between them.

    Args:
        size: voters.
        interval_ticks: between two checks of the leader.
        seed: of timeouts, and of what ``storm`` does.
    """

    def __init__(self, size: int = 3, *, interval_ticks: int = 0, seed: int = 0) -> None:
        names = [f"n{number}" for number in range(1, size + 1)]
        self.configuration = Configuration(voters=frozenset(names))
        self.interval_ticks = interval_ticks
        self.seed = seed
        self.network: list[tuple[NodeId, NodeId, bytes]] = []
        self.cut: set[NodeId] = set()
        self.nodes = {name: Node(self, name) for name in names}
        for node in self.nodes.values():
            node.start()

    def live(self) -> list[Node]:
        return [node for node in self.nodes.values() if node.up]

    def settle(self) -> None:
        """Rounds and deliveries until nothing is left to do at this moment."""
        for _ in range(500):
            for node in self.live():
                node.round()
            if not self.network and not any(node.jobs for node in self.live()):
                return
            batch, self.network = self.network, []
            for sender, receiver, data in batch:
                node = self.nodes[receiver]
                if node.up and not {sender, receiver} & self.cut:
                    node.replica.receive(data)
        raise AssertionError("the world does not come to rest")

    def tick(self, count: int = 1) -> None:
        for _ in range(count):
            for node in self.live():
                node.replica.tick()
            self.settle()

    def leader(self) -> Node:
        """Tick until one leads and a command commits."""
        for _ in range(1_000):
            leaders = [
                node
                for node in self.live()
                if node.replica.raft.role is Role.LEADER and node.name not in self.cut
            ]
            if leaders:
                return max(leaders, key=lambda node: node.replica.raft.term)
            self.tick()
        raise AssertionError("nobody leads")

    def follower(self) -> Node:
        leader = self.leader()
        return next(node for node in self.live() if node is not leader)

    def write(self, *commands: bytes) -> None:
        for command in commands:
            for _ in range(1_000):
                if self.leader().replica.raft.propose(command) is not None:
                    break
                self.tick()
        self.tick(2)

    def check(self) -> LogPosition:
        """Propose a CHECKSUM entry, and let it come to its end."""
        position = self.leader().replica.equality.propose()
        assert position is not None
        self.tick(2)
        return position
