"""A host of snapshot transfers that keeps nothing but lengths."""

from __future__ import annotations

from zlib import crc32

from raftzmq.errors import StorageDamaged
from raftzmq.replica.transfer import Partial
from raftzmq.wire.transfer import SnapshotOffer


class MemoryPartial:
    """A snapshot on its way in; knows how much came and that it came whole."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._received = 0

    @property
    def received_bytes(self) -> int:
        return self._received

    def append(self, offset: int, data: bytes, checksum: int) -> None:
        if crc32(data) != checksum:
            raise StorageDamaged("the checksum is wrong")
        if offset != self._received or offset + len(data) > self._size:
            raise StorageDamaged("the chunk does not continue the file")
        self._received += len(data)

    def close(self) -> None:
        pass

    def discard(self) -> None:
        self._received = 0


class MemorySnapshots:
    """The part of a node that takes and installs snapshots."""

    def __init__(self) -> None:
        self.asked = 0
        self.installs: list[SnapshotOffer] = []

    def take(self) -> None:
        self.asked += 1

    def open_partial(self, offer: SnapshotOffer) -> Partial:
        return MemoryPartial(offer.size)

    def install(self, offer: SnapshotOffer, partial: Partial, *, rebuild: bool = False) -> None:
        self.installs.append(offer)
