"""The messages that carry a snapshot from a leader to a follower that fell behind its log.

The receiver pulls: it names the offset it has reached and how many chunks may be under way, so
a lost message, a restart of either side and a slow disk all end in the same place, one more
``SnapshotPull``. ``transfer`` names one attempt; messages of another one are ignored.

    leader    SnapshotOffer  ->  follower
    leader    <-  SnapshotPull   follower     (repeated until all is there)
    leader    SnapshotChunk  ->  follower
    leader    <-  SnapshotDone   follower
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

from raftzmq.raft.types import Configuration, NodeId, Snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotOffer:
    """There is a snapshot of ``size`` bytes whose blake2b digest is ``digest``."""

    sender: NodeId
    receiver: NodeId
    term: int
    transfer: int
    index: int
    snapshot_term: int
    size: int
    digest: bytes
    voters: tuple[NodeId, ...]
    outgoing: tuple[NodeId, ...]
    learners: tuple[NodeId, ...]

    def snapshot(self) -> Snapshot:
        """The offered snapshot in the words of Raft."""
        return Snapshot(
            index=self.index,
            term=self.snapshot_term,
            configuration=Configuration(
                voters=frozenset(self.voters),
                outgoing=frozenset(self.outgoing),
                learners=frozenset(self.learners),
            ),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotPull:
    """Send ``chunks`` chunks from byte ``offset`` on."""

    sender: NodeId
    receiver: NodeId
    term: int
    transfer: int
    offset: int
    chunks: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotChunk:
    """The bytes at ``offset``; ``crc32`` is theirs, and the receiver verifies it."""

    sender: NodeId
    receiver: NodeId
    term: int
    transfer: int
    offset: int
    data: bytes
    crc32: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotDone:
    """The transfer is over; ``installed`` says whether the state now holds what it brings."""

    sender: NodeId
    receiver: NodeId
    term: int
    transfer: int
    installed: bool


TransferMessage: TypeAlias = SnapshotOffer | SnapshotPull | SnapshotChunk | SnapshotDone

TRANSFER_CODES: Final[dict[type[TransferMessage], int]] = {
    SnapshotOffer: 32,
    SnapshotPull: 33,
    SnapshotChunk: 34,
    SnapshotDone: 35,
}
"""Codes on the wire, in one number space with ``raft.messages.MESSAGE_TABLE``; never reused."""
