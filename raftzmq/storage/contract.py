"""What the replica asks of a log store, and the rules that every store checks alike."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple, Protocol

from raftzmq.invariants import check
from raftzmq.raft.types import Entry, HardState, LogPosition, NodeId

EMPTY_BASE = LogPosition(index=0, term=0)
"""The base of a log from which nothing was compacted."""


class Identity(NamedTuple):
    """Which life of a node one has met.

    Attributes:
        incarnation: 64 random bits of its data folder; a wiped folder has others.
        boot: boot id of its latest start known; the upper 32 bits count the starts.
    """

    incarnation: int
    boot: int


class Memory(IntEnum):
    """What a store holds of the promises of its node; the numbers are on disk."""

    WHOLE = 0
    """All of them: this node has not forgotten any."""
    LOST = 1
    """The node has forgotten some and recovers."""
    REGAINED = 2
    """It had, and was proven since (raft/standing.py). Peers that knew an earlier folder and hear
    of this one late must not take it for news."""


def memory_after(memory: Memory, *, recovering: bool) -> Memory:
    """What ``LogStore.set_recovering`` makes of ``memory``."""
    if recovering:
        return Memory.LOST
    return Memory.WHOLE if memory is Memory.WHOLE else Memory.REGAINED


class StoredLog(NamedTuple):
    """What a store holds at start.

    Attributes:
        hard_state: term and vote.
        base: the position just before the first entry; (0, 0) when nothing was compacted.
        entries: from ``base.index + 1`` on, contiguous, terms never decreasing.
        memory: whether this node has forgotten promises.
        identities: (name, identity) of each peer that was met, in order of the names.
        notes: what an operator should know and what stopped nothing, one sentence each.
    """

    hard_state: HardState
    base: LogPosition
    entries: list[Entry]
    memory: Memory = Memory.WHOLE
    identities: tuple[tuple[NodeId, Identity], ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def recovering(self) -> bool:
        """This node has forgotten promises and is not done with earning them again."""
        return self.memory is Memory.LOST


class LogStore(Protocol):
    """Durable log entries and hard state; used by one thread at a time.

    Everything is durable when the method returns. After ``StorageFailed`` the store is dead:
    each later call raises it again and nothing is retried, because a second fsync after a
    failed one may report success for pages that the kernel has thrown away. The one exception
    is its subclass ``NoRoom``: nothing was stored, and the same call may be made again.
    """

    def load(self) -> StoredLog:
        """Read everything; called once, before the other methods.

        Raises:
            StorageDamaged: the file does not hold what was once made durable.
            StorageFailed: the file cannot be read.
        """

    def save(self, hard_state: HardState | None, entries: Sequence[Entry]) -> None:
        """Make a hard state and entries durable in one transaction with one fsync.

        Args:
            hard_state: None leaves it as it is.
            entries: contiguous; the first one's index truncates what is stored from there on.

        Raises:
            NoRoom: nothing was stored; the call may be repeated.
            StorageFailed: nothing is known about what the disk holds.
            InvariantBroken: a gap, a step back into the compacted part, or a changed vote.
        """

    def read(self, first: int, last: int, bytes_max: int) -> list[Entry]:
        """Read stored entries back: from ``first`` on, contiguous, none after ``last``.

        Args:
            first: after the base.
            last: ``first`` or later, at most the last stored.
            bytes_max: as many as fit into so much data, but at least one.

        Raises:
            StorageDamaged: they are not what was saved.
            StorageFailed: they cannot be read.
            InvariantBroken: some of them are not stored.
        """

    def compact(self, base: LogPosition) -> None:
        """Drop entries up to ``base.index``; a base at or before the current one is ignored.

        Raises:
            StorageFailed: as in ``save``.
            InvariantBroken: no entry of that index and term is stored.
        """

    def reset(self, base: LogPosition) -> None:
        """Drop all entries and continue after ``base``: a snapshot took their place.

        The hard state stays.

        Raises:
            StorageFailed: as in ``save``.
            InvariantBroken: ``base`` lies before the current base.
        """

    def set_recovering(self, recovering: bool) -> None:
        """Remember whether this node is recovering; it is not, in a new store.

        Its end leaves Memory.REGAINED, for good.

        Raises:
            StorageFailed: as in ``save``.
        """

    def remember(self, peer: NodeId, identity: Identity) -> None:
        """Remember which life of a peer was met last, in place of what was known.

        Raises:
            StorageFailed: as in ``save``.
        """

    def close(self) -> None:
        """Release the files; a second call does nothing."""


def check_append(
    base: LogPosition, last_index: int, term_before: int, entries: Sequence[Entry]
) -> None:
    """Stop unless ``entries`` continue the log without a gap (thesis 3.5, Log Matching).

    Args:
        base: base of the log.
        last_index: index of the last stored entry.
        term_before: term of the position just before the first of ``entries``.
        entries: not empty.

    Raises:
        InvariantBroken: the program asks for a log that Raft forbids.
    """
    expected = entries[0].index
    check(
        base.index < expected <= last_index + 1,
        "entries continue the log between its base and its end",
        first=expected,
        base=base.index,
        last=last_index,
    )
    term = term_before
    for entry in entries:
        if entry.index != expected or entry.term < term:
            check(
                False,
                "entries are contiguous and terms never decrease",
                index=entry.index,
                expected=expected,
                term=entry.term,
                term_before=term,
            )
        expected += 1
        term = entry.term


def check_hard_state(old: HardState, new: HardState) -> None:
    """Stop unless ``new`` may follow ``old``: no lower term, one vote a term (thesis 3.4).

    Raises:
        InvariantBroken: the node would vote twice in a term or forget a term.
    """
    check(new.term >= old.term, "the term never decreases", old=old, new=new)
    if new.term == old.term and old.voted_for is not None:
        check(new.voted_for == old.voted_for, "one vote in a term", old=old, new=new)
