"""Snapshots between nodes: offered by the leader, pulled by the follower, chunk by chunk.

The follower asks for what it lacks, so a transfer is never faster than its disk, survives
lost messages (it asks again), and after a crash of either side goes on where the file ends
if the same snapshot is offered (same digest). Nothing here blocks, waits or knows the time
but by ``tick``.

Taking a snapshot and swapping it in are the host's: see ``SnapshotHost``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol
from zlib import crc32

from raftzmq import limits
from raftzmq.errors import NoRoom, StorageDamaged
from raftzmq.raft.raft import Raft
from raftzmq.raft.types import NodeId, Role
from raftzmq.replica.retention import Retention
from raftzmq.wire.transfer import (
    SnapshotChunk,
    SnapshotDone,
    SnapshotOffer,
    SnapshotPull,
    TransferMessage,
)

REPEAT_TICKS = 50
"""Without progress for so long, the offer or the pull is sent again."""
GIVE_UP_TICKS = 1000
"""Without progress for so long, the leader gives the transfer up and probes the peer anew."""
_PULLS_PER_WINDOW = 4
KEEP_TICKS = 1000
"""An outgoing file that nobody wants any more is kept so long, for a peer that restarts."""


class Source(Protocol):
    """A finished snapshot file of this node."""

    index: int
    term: int
    size: int
    digest: bytes

    def read(self, offset: int, count: int) -> bytes:
        """Bytes of the file."""

    def remove(self) -> None:
        """Close and delete the file."""


class Partial(Protocol):
    """A snapshot file on its way in."""

    @property
    def received_bytes(self) -> int:
        """How far the file reaches without a gap."""

    def append(self, offset: int, data: bytes, checksum: int) -> None:
        """Add a chunk; raises StorageDamaged when the checksum is wrong, NoRoom when it is full."""

    def close(self) -> None:
        """Leave the file for a later ``open_partial`` to continue."""

    def discard(self) -> None:
        """Remove the file, if it is still there."""


class SnapshotHost(Protocol):
    """What the node does for transfers, off the raft thread."""

    def take(self) -> None:
        """Start taking a snapshot of state.db; answered by ``Transfers.taken``."""

    def open_partial(self, offer: SnapshotOffer) -> Partial:
        """The file for this offer: a part of it that is already here, or a new one.

        Raises:
            NoRoom: it would not fit; the host tells people why.
        """

    def install(self, offer: SnapshotOffer, partial: Partial, *, rebuild: bool = False) -> None:
        """Verify the whole file and swap it in; answered by ``Replica.installed``.

        Args:
            rebuild: the state here is wrong: replace it also where it is ahead of the snapshot.
        """


@dataclass(slots=True)
class _Outgoing:
    """The leader's view of one peer that needs a snapshot."""

    idle_ticks: int = 0
    least_index: int = 0
    """An older snapshot does not help it."""


@dataclass(slots=True)
class _Incoming:
    """The follower's view of the snapshot it receives."""

    offer: SnapshotOffer
    partial: Partial
    asked_bytes: int = 0
    idle_ticks: int = 0
    installing: bool = False


class Transfers:
    """All snapshot transfers of one replica.

    Args:
        host: takes snapshots and installs them.
        chunk_bytes: a snapshot travels in pieces of this size.

    Attributes:
        retention: what of the log is kept for those who get one.
        rebuild_from: this replica is to be rebuilt: it takes a snapshot of this index or later
            although its log is in order. None: it is not.
    """

    def __init__(self, host: SnapshotHost, chunk_bytes: int = limits.SNAPSHOT_CHUNK_BYTES) -> None:
        self._host = host
        self._chunk_bytes = chunk_bytes
        self._outgoing: dict[NodeId, _Outgoing] = {}
        self._source: Source | None = None
        self._source_idle_ticks = 0
        self._taking = False
        self._incoming: _Incoming | None = None
        self._transfer = 0
        self._trusted = True
        self.retention = Retention()
        self.rebuild_from: int | None = None

    @property
    def receiving(self) -> bool:
        """Whether a snapshot is on its way in."""
        return self._incoming is not None

    def distrust(self, raft: Raft) -> None:
        """The content of this replica is wrong: no snapshot of it goes out, also none taken
        before."""
        self._trusted = False
        for peer in self._outgoing:
            raft.snapshot_finished(peer, installed=False)
            self.retention.end(peer)
        self._outgoing.clear()
        if self._source is not None:
            self._source.remove()
            self._source = None

    def trust(self) -> None:
        """The content of this replica is right again."""
        self._trusted = True

    def requested(self, peer: NodeId, index: int, raft: Raft) -> list[TransferMessage]:
        """``peer`` is to be rebuilt and asks for a snapshot of ``index`` or later."""
        outgoing = self._outgoing.get(peer)
        if not self._trusted or (outgoing is not None and outgoing.least_index >= index):
            return []
        self._outgoing[peer] = _Outgoing(least_index=index)
        return self._offer(peer, raft)

    def wanted(self, peer: NodeId, raft: Raft) -> list[TransferMessage]:
        """Raft found that ``peer`` is behind the log; offer it a snapshot."""
        if not self._trusted:
            raft.snapshot_finished(peer, installed=False)
            return []
        self._outgoing[peer] = _Outgoing()
        return self._offer(peer, raft)

    def taken(self, source: Source, raft: Raft) -> list[TransferMessage]:
        """The host finished a snapshot."""
        self._taking = False
        if not self._trusted:
            source.remove()
            return []
        self._source = source
        self._source_idle_ticks = 0
        offers: list[TransferMessage] = []
        for peer in self._outgoing:
            offers.extend(self._offer(peer, raft))
        return offers

    def not_taken(self) -> None:
        """The host could not take a snapshot now; the next repetition of an offer asks again."""
        self._taking = False

    def receive(self, message: TransferMessage, raft: Raft) -> list[TransferMessage]:
        """Take a message of a peer. A stale term ends it (thesis 3.3 for all messages)."""
        if message.term < raft.term:
            return []
        if isinstance(message, SnapshotOffer):
            return self._on_offer(message, raft)
        if isinstance(message, SnapshotPull):
            return self._on_pull(message, raft)
        if isinstance(message, SnapshotChunk):
            return self._on_chunk(message, raft)
        if self._outgoing.pop(message.sender, None) is not None:
            if message.installed:
                self.retention.sent(message.sender)
            else:
                self.retention.end(message.sender)
            raft.snapshot_finished(message.sender, installed=message.installed)
        return []

    def installed(self, raft: Raft, sender: NodeId, *, ok: bool) -> list[TransferMessage]:
        """The host swapped the received file in, or found it damaged."""
        if self._incoming is None:
            return []
        transfer = self._incoming.offer.transfer
        self._incoming.partial.discard()  # swapped in by now, or of no use
        self._incoming = None
        return [
            SnapshotDone(
                sender=raft.node,
                receiver=sender,
                term=raft.term,
                transfer=transfer,
                installed=ok,
            )
        ]

    def tick(self, raft: Raft) -> list[TransferMessage]:
        """One unit of time: repeat what got no answer, give up what is hopeless."""
        messages: list[TransferMessage] = []
        if raft.role is not Role.LEADER:
            self._outgoing.clear()
            self.retention.clear()
        self.retention.tick(raft)
        for peer, outgoing in list(self._outgoing.items()):
            outgoing.idle_ticks += 1
            if outgoing.idle_ticks >= GIVE_UP_TICKS:
                del self._outgoing[peer]
                self.retention.end(peer)
                raft.snapshot_finished(peer, installed=False)
            elif outgoing.idle_ticks % REPEAT_TICKS == 0:
                messages.extend(self._offer(peer, raft))
        if self._source is not None and not self._outgoing:
            self._source_idle_ticks += 1
            if self._source_idle_ticks >= KEEP_TICKS:
                self._source.remove()
                self._source = None
        incoming = self._incoming
        if incoming is not None and not incoming.installing:
            incoming.idle_ticks += 1
            if incoming.idle_ticks % REPEAT_TICKS == 0:
                incoming.asked_bytes = incoming.partial.received_bytes
                messages.extend(self._pull(incoming, raft))
            if incoming.idle_ticks >= GIVE_UP_TICKS:
                incoming.partial.close()
                self._incoming = None
        return messages

    def outrun(self, raft: Raft) -> list[TransferMessage]:
        """The log was compacted beyond what is being sent: go on with a newer snapshot at once."""
        offers: list[TransferMessage] = []
        if self._source is not None and self._source.index < raft.base.index:
            for peer in self._outgoing:
                offers.extend(self._offer(peer, raft))
        return offers

    def _offer(self, peer: NodeId, raft: Raft) -> list[TransferMessage]:
        source = self._source
        least_index = max(raft.base.index, self._outgoing[peer].least_index)
        if source is not None and source.index < least_index:
            source.remove()  # the log no longer follows on it
            self._source = source = None
        if source is None:
            if not self._taking:
                self._taking = True
                self._transfer += 1
                self._host.take()
            # The copy will be of what is applied by now, or of later; the base is before both.
            self.retention.sends(peer, raft.base.index)
            return []
        self.retention.sends(peer, source.index)
        configuration = raft.configuration
        return [
            SnapshotOffer(
                sender=raft.node,
                receiver=peer,
                term=raft.term,
                transfer=self._transfer,
                index=source.index,
                snapshot_term=source.term,
                size=source.size,
                digest=source.digest,
                voters=tuple(sorted(configuration.voters)),
                outgoing=tuple(sorted(configuration.outgoing)),
                learners=tuple(sorted(configuration.learners)),
            )
        ]

    def _on_offer(self, offer: SnapshotOffer, raft: Raft) -> list[TransferMessage]:
        incoming = self._incoming
        if incoming is not None and incoming.installing:
            return []
        if offer.index <= raft.commit_index and not self._rebuilds(offer, raft):
            # What it holds is here (R57). Said to be a success, or a leader that never heard of
            # the first one, its answers lost, would go on from where it knows this log to
            # match, which may lie before its own, and so offer the same for ever. Not by one that
            # is to be rebuilt: it asked for a later one.
            return [
                SnapshotDone(
                    sender=raft.node,
                    receiver=offer.sender,
                    term=raft.term,
                    transfer=offer.transfer,
                    installed=self.rebuild_from is None,
                )
            ]
        if incoming is None or incoming.offer.digest != offer.digest:
            if incoming is not None:
                # An open file keeps its room on the disk also when its name is removed.
                incoming.partial.discard()
                self._incoming = None
            try:
                partial = self._host.open_partial(offer)
            except NoRoom:
                # Without an answer the leader offers it again and again: a retry, for nothing.
                return []
            incoming = _Incoming(offer=offer, partial=partial)
            self._incoming = incoming
        incoming.offer = offer
        incoming.asked_bytes = incoming.partial.received_bytes
        return self._pull(incoming, raft)

    def _rebuilds(self, offer: SnapshotOffer, raft: Raft) -> bool:
        """Whether the offer serves a rebuild, and the log still holds what follows it."""
        least = self.rebuild_from
        return least is not None and offer.index >= max(least, raft.base.index)

    def _pull(self, incoming: _Incoming, raft: Raft) -> list[TransferMessage]:
        """Ask for chunks until a window is under way."""
        offer = incoming.offer
        received = incoming.partial.received_bytes
        if received >= offer.size:
            if not incoming.installing:
                incoming.installing = True
                rebuild = self._rebuilds(offer, raft)
                self._host.install(offer, incoming.partial, rebuild=rebuild)
            return []
        window_end = received + limits.SNAPSHOT_CHUNKS_IN_FLIGHT * self._chunk_bytes
        missing = window_end - incoming.asked_bytes
        # Not for each chunk: a pull costs both sides as much as a chunk does.
        least = limits.SNAPSHOT_CHUNKS_IN_FLIGHT // _PULLS_PER_WINDOW * self._chunk_bytes
        if missing < least or incoming.asked_bytes >= offer.size:
            return []
        chunks = -(-missing // self._chunk_bytes)
        pull = SnapshotPull(
            sender=raft.node,
            receiver=offer.sender,
            term=raft.term,
            transfer=offer.transfer,
            offset=incoming.asked_bytes,
            chunks=chunks,
        )
        incoming.asked_bytes += chunks * self._chunk_bytes
        return [pull]

    def _on_pull(self, pull: SnapshotPull, raft: Raft) -> list[TransferMessage]:
        source, outgoing = self._source, self._outgoing.get(pull.sender)
        if source is None or outgoing is None or pull.transfer != self._transfer:
            return []
        outgoing.idle_ticks = 0
        messages: list[TransferMessage] = []
        offset = pull.offset
        for _ in range(min(pull.chunks, limits.SNAPSHOT_CHUNKS_IN_FLIGHT)):
            data = source.read(offset, self._chunk_bytes)
            if not data:
                break
            messages.append(
                SnapshotChunk(
                    sender=raft.node,
                    receiver=pull.sender,
                    term=raft.term,
                    transfer=pull.transfer,
                    offset=offset,
                    data=data,
                    crc32=crc32(data),
                )
            )
            offset += len(data)
        return messages

    def _on_chunk(self, chunk: SnapshotChunk, raft: Raft) -> list[TransferMessage]:
        incoming = self._incoming
        if incoming is None or incoming.installing or chunk.transfer != incoming.offer.transfer:
            return []
        if chunk.offset != incoming.partial.received_bytes:
            return []  # a duplicate, or a gap that the next pull fills
        try:
            incoming.partial.append(chunk.offset, chunk.data, chunk.crc32)
        except StorageDamaged:
            return []  # asked for again when the pull is repeated
        except NoRoom:
            # Others need the room more than the first part of a file that does not fit.
            incoming.partial.discard()
            self._incoming = None
            return []
        incoming.idle_ticks = 0
        return self._pull(incoming, raft)
