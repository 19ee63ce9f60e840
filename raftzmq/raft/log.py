"""The log in memory, from just after the base (the newest snapshot) to its end.

Invariants: indexes are contiguous, terms never fall, and ``base`` is known by index and term.
No call costs more than the entries it moves: sizes are kept as running sums and terms, being
sorted, are searched by bisection. What is on disk is not known here; ``state.py`` keeps that.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from operator import attrgetter
from typing import Final

from raftzmq.invariants import check
from raftzmq.raft.types import Entry, LogPosition

ENTRY_OVERHEAD_BYTES: Final = 32
"""What an entry costs beside its data, roughly; so that empty entries are not free."""

_term_of = attrgetter("term")


class Log:
    """Entries after ``base``, contiguous.

    Args:
        base: the last position that is no longer held as an entry; (0, 0) when none was cut.
        entries: from ``base.index + 1`` on, contiguous, with terms that never fall.

    Raises:
        InvariantBroken: the entries do not follow the base, or each other.
    """

    __slots__ = ("_base", "_base_end", "_ends", "_entries")

    def __init__(self, base: LogPosition, entries: Sequence[Entry]) -> None:
        self._base = base
        self._entries: list[Entry] = []
        # _ends[i]: bytes of all entries up to and including _entries[i], _base_end subtracted.
        self._ends: list[int] = []
        self._base_end = 0
        self.append(entries)

    @property
    def base(self) -> LogPosition:
        """Position just before the first entry held."""
        return self._base

    @property
    def last_index(self) -> int:
        """Index of the last entry, or of the base when no entry is held."""
        return self._base.index + len(self._entries)

    @property
    def last_position(self) -> LogPosition:
        """Index and term of the end of the log."""
        if not self._entries:
            return self._base
        last = self._entries[-1]
        return LogPosition(last.index, last.term)

    @property
    def size_bytes(self) -> int:
        """Bytes of all entries held, overhead included."""
        return self._end(self.last_index) - self._base_end

    def term_at(self, index: int) -> int | None:
        """Term of the entry at ``index`` (or of the base); None outside of what is known."""
        offset = index - self._base.index
        if offset == 0:
            return self._base.term
        if 0 < offset <= len(self._entries):
            return self._entries[offset - 1].term
        return None

    def bytes_between(self, after: int, until: int) -> int:
        """Bytes of the entries with ``after < index <= until``; both within base..last."""
        return self._end(until) - self._end(after)

    def between(self, after: int, until: int) -> tuple[Entry, ...]:
        """The entries with ``after < index <= until``; both within base..last."""
        check(self._base.index <= after, "entries asked for are still held", after=after)
        start = self._base.index
        return tuple(self._entries[after - start : until - start])

    def chunk(self, first: int, bytes_max: int) -> tuple[Entry, ...]:
        """Entries from ``first`` on, as many as fit into ``bytes_max``, but at least one."""
        offset = first - self._base.index - 1
        check(offset >= 0, "entries asked for are still held", first=first)
        if offset >= len(self._entries):
            return ()
        limit = self._end(first - 1) + bytes_max
        until = bisect_right(self._ends, limit, lo=offset)
        return tuple(self._entries[offset : max(until, offset + 1)])

    def append(self, entries: Sequence[Entry]) -> None:
        """Add entries at the end.

        Raises:
            InvariantBroken: they do not follow the last one, or a term falls.
        """
        last = self.last_position
        index, term = last.index, last.term
        end = self._end(index)
        for entry in entries:
            index += 1
            if entry.index != index or entry.term < term:
                check(
                    False,
                    "entries follow each other and their terms never fall",
                    expected_index=index,
                    previous_term=term,
                    got=(entry.index, entry.term),
                )
            term = entry.term
            end += len(entry.data) + ENTRY_OVERHEAD_BYTES
            self._entries.append(entry)
            self._ends.append(end)

    def truncate(self, first: int) -> None:
        """Remove the entries from ``first`` on."""
        offset = first - self._base.index - 1
        check(offset >= 0, "nothing before the base is removed", first=first, base=self._base)
        del self._entries[offset:]
        del self._ends[offset:]

    def compact(self, index: int) -> None:
        """Forget the entries up to and including ``index``, which becomes the base."""
        count = index - self._base.index
        if count <= 0:
            return
        check(count <= len(self._entries), "compaction stays inside of the log", index=index)
        last = self._entries[count - 1]
        self._base_end = self._ends[count - 1]
        self._base = LogPosition(last.index, last.term)
        del self._entries[:count]
        del self._ends[:count]

    def reset(self, base: LogPosition) -> None:
        """Drop every entry and start again after ``base`` (a snapshot was installed)."""
        self._base = base
        self._base_end = 0
        self._entries.clear()
        self._ends.clear()

    def last_at_most(self, index: int, term: int) -> int | None:
        """Largest index <= ``index`` whose entry has a term <= ``term``; None: before the base.

        Two logs can agree at ``index`` at the latest there, so a leader and a follower skip a
        whole divergent term per exchange (thesis 3.5).
        """
        base = self._base
        until = min(index, self.last_index) - base.index
        if until < 0:
            return None
        found = bisect_right(self._entries, term, hi=until, key=_term_of)
        if found == 0 and base.term > term:
            return None
        return base.index + found

    def _end(self, index: int) -> int:
        offset = index - self._base.index
        return self._ends[offset - 1] if offset > 0 else self._base_end
