"""A log store in memory, for tests of the layers above and for the simulator."""

from __future__ import annotations

from collections.abc import Sequence

from raftzmq.errors import StorageFailed
from raftzmq.invariants import check
from raftzmq.raft.types import Entry, HardState, LogPosition, NodeId
from raftzmq.storage.contract import (
    EMPTY_BASE,
    Identity,
    Memory,
    StoredLog,
    check_append,
    check_hard_state,
    memory_after,
)


class MemoryLogStore:
    """Keeps what it was given for as long as the object lives.

    A simulated crash keeps the store, closes it, and loads it again: ``save`` is atomic, so
    there is no state between two calls. ``fail_next`` makes the next write fail as a disk does.
    """

    def __init__(self) -> None:
        self._hard_state = HardState()
        self._base = EMPTY_BASE
        self._entries: list[Entry] = []
        self._memory = Memory.WHOLE
        self._identities: dict[NodeId, Identity] = {}
        self._failure_ahead: str | None = None
        self._failure: str | None = None
        self._open = True

    def fail_next(self, why: str) -> None:
        """Let the next write raise StorageFailed; the store is dead from then on."""
        self._failure_ahead = why

    def load(self) -> StoredLog:
        """See ``LogStore.load``. Opens a closed or dead store again, like a restart."""
        self._failure = None
        self._open = True
        return StoredLog(
            self._hard_state,
            self._base,
            list(self._entries),
            self._memory,
            tuple(sorted(self._identities.items())),
        )

    def save(self, hard_state: HardState | None, entries: Sequence[Entry]) -> None:
        """See ``LogStore.save``."""
        self._may_write()
        if entries:
            keep = entries[0].index - self._base.index - 1
            before = self._entries[keep - 1].term if 0 < keep <= len(self._entries) else None
            check_append(
                self._base,
                self._base.index + len(self._entries),
                self._base.term if before is None else before,
                entries,
            )
        if hard_state is not None:
            check_hard_state(self._hard_state, hard_state)
            self._hard_state = hard_state
        if entries:
            del self._entries[keep:]
            self._entries.extend(entries)

    def read(self, first: int, last: int, bytes_max: int) -> list[Entry]:
        """See ``LogStore.read``."""
        start = first - self._base.index - 1
        stop = last - self._base.index
        check(0 <= start < stop <= len(self._entries), "what is read is stored", first=first)
        found: list[Entry] = []
        for entry in self._entries[start:stop]:
            bytes_max -= len(entry.data)
            if found and bytes_max < 0:
                break
            found.append(entry)
        return found

    def compact(self, base: LogPosition) -> None:
        """See ``LogStore.compact``."""
        self._may_write()
        drop = base.index - self._base.index
        if drop <= 0:
            return
        held = self._entries[drop - 1].term if drop <= len(self._entries) else None
        check(held == base.term, "compaction ends at an entry of the log", base=base, held=held)
        del self._entries[:drop]
        self._base = base

    def reset(self, base: LogPosition) -> None:
        """See ``LogStore.reset``."""
        self._may_write()
        check(base.index >= self._base.index, "the base never moves back", old=self._base, new=base)
        self._entries.clear()
        self._base = base

    def set_recovering(self, recovering: bool) -> None:
        """See ``LogStore.set_recovering``."""
        self._may_write()
        self._memory = memory_after(self._memory, recovering=recovering)

    def remember(self, peer: NodeId, identity: Identity) -> None:
        """See ``LogStore.remember``."""
        self._may_write()
        self._identities[peer] = identity

    def close(self) -> None:
        """See ``LogStore.close``."""
        self._open = False

    def _may_write(self) -> None:
        if self._failure_ahead is not None:
            self._failure, self._failure_ahead = self._failure_ahead, None
        if self._failure is not None:
            raise StorageFailed(f"memory log: {self._failure}")
        check(self._open, "a closed store is not written to")
