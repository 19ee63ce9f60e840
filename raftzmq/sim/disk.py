"""The disk of a node as Raft sees it: a log store that forgets at a power cut what was not synced.

The model of raft.db: each ``save`` is one transaction that is durable after its fsync, which takes
time. A crash before that loses the whole transaction or nothing of it, for the frames of its
write-ahead log carry checksums; so "torn" and "lost" are the same at this height. What bit rot
does to the file is noticed by the checksums of the entries when it is opened (``load``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from raftzmq.errors import NoRoom, StorageDamaged
from raftzmq.raft.types import Entry, HardState, LogPosition, NodeId
from raftzmq.sim.chance import Chance
from raftzmq.storage.contract import Identity, Memory, StoredLog
from raftzmq.storage.memory_log import MemoryLogStore

PLENTY_BYTES: Final = 1 << 40


@dataclass(slots=True)
class SimFolder:
    """The data folder; what ``storage.folder.DataFolder`` keeps in small files.

    Attributes:
        path: where state.db really is.
        incarnation: of this folder.
        boots: starts so far.
        lives: boot ids of all of them, the latest first.
        free: bytes that may still be written.
    """

    path: Path
    incarnation: int
    chance: Chance
    boots: int = 0
    lives: tuple[int, ...] = ()
    free: int = PLENTY_BYTES

    def free_bytes(self) -> int:
        """See ``DataFolder.free_bytes``."""
        return self.free

    def next_boot(self, known: int = 0) -> int:
        """A boot id with more starts than before, and than ``known`` has; durable at once."""
        self.boots = max(self.boots, known >> 32) + 1
        boot = self.boots << 32 | self.chance.bits(32)
        self.lives = (boot, *((known,) if known else ()), *self.lives)
        return boot


class _Image(NamedTuple):
    """What the file held before a transaction."""

    began: int
    durable_at: int
    stored: StoredLog


@dataclass(slots=True)
class DiskHabits:
    """How a disk behaves now; changed by faults.

    Attributes:
        sync_us: one fsync takes so long.
        fail: the next write fails for good.
        before: called before a write has any effect, ``after`` when it is durable; either may
            raise, which is how a crash comes between two effects.
    """

    sync_us: int = 100
    fail: bool = False
    before: Callable[[], None] = field(default=lambda: None)
    after: Callable[[], None] = field(default=lambda: None)


class SimLogStore(MemoryLogStore):
    """A log store on a disk that takes time, fills up, fails, rots, and loses power.

    Args:
        folder: shares its room.
        habits: of the disk.
        take_time: told how many microseconds a call took; returns the time at its end.
    """

    def __init__(
        self, folder: SimFolder, habits: DiskHabits, take_time: Callable[[int], int]
    ) -> None:
        super().__init__()
        self._folder = folder
        self._habits = habits
        self._take_time = take_time
        self._images: list[_Image] = []
        self._rotten = ""
        self.boots = 0
        """Of a saved copy: the starts that its folder had counted."""
        self.lives: tuple[int, ...] = ()
        """Of a saved copy: the lives that its folder had had."""
        self.fsyncs = 0

    def load(self) -> StoredLog:
        """See ``LogStore.load``."""
        if self._rotten:
            raise StorageDamaged(self._rotten)
        return super().load()

    def save(self, hard_state: HardState | None, entries: Sequence[Entry]) -> None:
        """See ``LogStore.save``."""
        self._begin(sum(len(entry.data) for entry in entries) + 100)
        super().save(hard_state, entries)
        self._end()

    def compact(self, base: LogPosition) -> None:
        """See ``LogStore.compact``."""
        self._begin(0)
        super().compact(base)
        self._end()

    def reset(self, base: LogPosition) -> None:
        """See ``LogStore.reset``."""
        self._begin(0)
        super().reset(base)
        self._end()

    def set_recovering(self, recovering: bool) -> None:
        """See ``LogStore.set_recovering``."""
        self._begin(0)
        super().set_recovering(recovering)
        self._end()

    def remember(self, peer: NodeId, identity: Identity) -> None:
        """See ``LogStore.remember``."""
        self._begin(100)
        super().remember(peer, identity)
        self._end()

    def crash(self, now: int, chance: Chance, *, power: bool) -> int:
        """The process, or the machine, stops; returns how many transactions were lost.

        A process that is killed inside of fsync has written already: the kernel goes on. Only
        a power cut loses, and mostly all that was not synced.
        """
        # A round takes place in one event and takes time: what lies ahead never happened.
        gone = [image for image in self._images if image.began > now]
        if power:
            unsynced = [image for image in self._images if image.began <= now < image.durable_at]
            keep = chance.below(len(unsynced) + 1) if chance.hit(300) else 0
            gone = unsynced[keep:] + gone
        if gone:
            self._restore(gone[0].stored)
        self._images.clear()
        self.close()
        return len(gone)

    def rot(self, why: str) -> None:
        """A bit of the file flipped; what every later ``load`` says."""
        self._rotten = why

    def holds(self, index: int, term: int) -> bool:
        """Whether the entry (index, term) is stored, or compacted away."""
        if index <= self._base.index:
            return True
        place = index - self._base.index - 1
        return place < len(self._entries) and self._entries[place].term == term

    @property
    def hard_state(self) -> HardState:
        """Term and vote as stored."""
        return self._hard_state

    @property
    def last_index(self) -> int:
        """Index of the last stored entry, or of the base."""
        return self._base.index + len(self._entries)

    def starts_met(self, peer: NodeId) -> int:
        """How many starts of a peer are stored."""
        identity = self._identities.get(peer)
        return 0 if identity is None else identity.boot >> 32

    @property
    def recovering(self) -> bool:
        """The stored mark."""
        return self._memory is Memory.LOST

    @property
    def is_written(self) -> bool:
        """Whether anything was ever stored."""
        return bool(self._entries or self._base.index or self._hard_state.term)

    def copy_of(self, other: SimLogStore) -> None:
        """Hold what ``other`` holds now, as of a backup that is put back."""
        self._restore(MemoryLogStore.load(other))

    def _begin(self, needs_bytes: int) -> None:
        habits = self._habits
        habits.before()
        if habits.fail:
            habits.fail = False
            self.fail_next("an fsync failed")
        if needs_bytes and self._folder.free < needs_bytes:
            raise NoRoom("the simulated disk is full")
        self._images.append(_Image(self._take_time(0), 1 << 62, self._stored()))

    def _end(self) -> None:
        done = self._take_time(self._habits.sync_us)
        self.fsyncs += 1
        images = self._images
        images[-1] = images[-1]._replace(durable_at=done)
        if len(images) > 8:
            del images[:-8]
        self._habits.after()

    def _stored(self) -> StoredLog:
        return StoredLog(
            self._hard_state,
            self._base,
            list(self._entries),
            self._memory,
            tuple(sorted(self._identities.items())),
        )

    def _restore(self, stored: StoredLog) -> None:
        self._hard_state = stored.hard_state
        self._base = stored.base
        self._entries = list(stored.entries)
        self._memory = stored.memory
        self._identities = dict(stored.identities)
