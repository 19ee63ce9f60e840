"""The log, from just after the base (the newest snapshot) to its end.

::

    base ──── on disk only ──── front ──── in memory ──── last_index

Invariants: indexes are contiguous, terms never fall, and ``base`` is known by index and term.
No call costs more than the entries it moves: sizes are kept as running sums and terms, being
sorted, are searched by bisection. The older part is shed: what is known of it here are its terms,
and who asks for its entries waits for the disk. What else is on disk is not known here;
``state.py`` keeps that.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from operator import attrgetter, itemgetter
from typing import Final, TypeAlias

from raftzmq.invariants import InvariantBroken, check
from raftzmq.raft.types import Entry, LogPosition

ENTRY_OVERHEAD_BYTES: Final = 32
"""What an entry costs beside its data, roughly; so that empty entries are not free."""
ENTRY_MEMORY_BYTES: Final = 256
"""What one takes in memory at least, in all: five objects of Python."""
READ_BACK_BYTES: Final = 1 << 20
"""So much of what was shed is read at a time."""

ReadBack: TypeAlias = Callable[[int, int, int], Sequence[Entry]]
"""(first, last, bytes_max) -> entries from ``first`` on, contiguous and none after ``last``, as
many as fit into ``bytes_max`` of data, but at least one; see ``storage.contract.LogStore.read``."""

_term_of = attrgetter("term")


def _nothing_shed(first: int, last: int, bytes_max: int) -> Sequence[Entry]:
    raise InvariantBroken(f"only what was shed is read back, not entry {first}")


class Log:
    """Entries after ``base``, contiguous.

    Args:
        base: the last position that is no longer held as an entry; (0, 0) when none was cut.
        entries: from ``base.index + 1`` on, contiguous, with terms that never fall.
        read_back: reads entries that were shed.

    Raises:
        InvariantBroken: the entries do not follow the base, or each other.
    """

    __slots__ = ("_base", "_ends", "_entries", "_front", "_front_end", "_read_back", "_runs")

    def __init__(
        self, base: LogPosition, entries: Sequence[Entry], read_back: ReadBack = _nothing_shed
    ) -> None:
        self._read_back = read_back
        self._base = base
        # What was shed: each term of (base, front] with the first index that has it.
        self._runs: list[tuple[int, int]] = []
        self._front = base
        self._entries: list[Entry] = []
        # _ends[i]: bytes of all entries up to and including _entries[i], _front_end subtracted.
        self._ends: list[int] = []
        self._front_end = 0
        self.append(entries)

    @property
    def base(self) -> LogPosition:
        """Position just before the first entry of the log."""
        return self._base

    @property
    def front(self) -> LogPosition:
        """Position just before the first entry in memory; the base, unless entries were shed."""
        return self._front

    @property
    def last_index(self) -> int:
        """Index of the last entry, or of the base when there is none."""
        return self._front.index + len(self._entries)

    @property
    def last_position(self) -> LogPosition:
        """Index and term of the end of the log."""
        if not self._entries:
            return self._front
        last = self._entries[-1]
        return LogPosition(last.index, last.term)

    @property
    def size_bytes(self) -> int:
        """Bytes of all entries in memory, overhead included."""
        return self._end(self.last_index) - self._front_end

    def term_at(self, index: int) -> int | None:
        """Term of the entry at ``index`` (or of the base); None outside of what is known."""
        offset = index - self._front.index
        if offset == 0:
            return self._front.term
        if 0 < offset <= len(self._entries):
            return self._entries[offset - 1].term
        if self._base.index < index < self._front.index:
            return self._runs[bisect_right(self._runs, index, key=itemgetter(0)) - 1][1]
        return self._base.term if index == self._base.index else None

    def bytes_between(self, after: int, until: int) -> int:
        """Bytes of the entries with ``after < index <= until``; both within front..last."""
        check(self._front.index <= after, "the size of what was shed is not known", after=after)
        return self._end(until) - self._end(after)

    def between(self, after: int, until: int) -> tuple[Entry, ...]:
        """The entries with ``after < index <= until``; both within base..last."""
        check(self._base.index <= after, "entries asked for are still held", after=after)
        start = self._front.index
        if after >= start:
            return tuple(self._entries[after - start : until - start])
        found: list[Entry] = []
        last = min(until, start)
        while after < last:
            found += self._read_back(after + 1, last, READ_BACK_BYTES)
            after = found[-1].index
        return (*found, *self._entries[: max(0, until - start)])

    def chunk(self, first: int, bytes_max: int) -> tuple[Entry, ...]:
        """Entries from ``first`` on, as many as fit into ``bytes_max``, but at least one.

        Fewer where memory begins.
        """
        check(self._base.index < first, "entries asked for are still held", first=first)
        offset = first - self._front.index - 1
        if offset < 0:
            return tuple(self._read_back(first, self._front.index, bytes_max))
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
        """Remove the entries from ``first`` on, none of which was shed."""
        offset = first - self._front.index - 1
        check(offset >= 0, "nothing before the front is removed", first=first, front=self._front)
        del self._entries[offset:]
        del self._ends[offset:]

    def compact(self, index: int) -> None:
        """Forget the entries up to and including ``index``, which becomes the base."""
        if index <= self._base.index:
            return
        if index >= self._front.index:
            self._forget(index)
            self._base = self._front
            self._runs.clear()
            return
        place = bisect_right(self._runs, index, key=itemgetter(0)) - 1
        term = self._runs[place][1]
        self._base = LogPosition(index, term)
        # The run that goes on after the base begins there; one that ended with it is gone.
        self._runs[: place + 1] = [(index + 1, term)]
        if len(self._runs) > 1 and self._runs[1][0] == index + 1:
            del self._runs[0]

    def shed(self, index: int) -> None:
        """Keep the entries up to and including ``index`` on disk only."""
        if index <= self._front.index:
            return
        runs, term = self._runs, self._runs[-1][1] if self._runs else None
        for entry in self._entries[: index - self._front.index]:
            if entry.term != term:
                term = entry.term
                runs.append((entry.index, term))
        self._forget(index)

    def surplus(self, bytes_max: int) -> int:
        """Up to which entry to shed so that memory holds ``bytes_max``; 0 where it hardly helps.

        Small entries count as what they take, so there may be fewer bytes of data.
        """
        entries_max = bytes_max // ENTRY_MEMORY_BYTES
        held = len(self._entries)
        # A quarter more is let stand: each time, all that stays is moved.
        if self.size_bytes <= bytes_max + bytes_max // 4 and held <= entries_max + entries_max // 4:
            return 0
        surplus = max(0, held - entries_max)
        if self.size_bytes > bytes_max:
            fitting = self._end(self.last_index) - bytes_max
            surplus = max(surplus, bisect_left(self._ends, fitting) + 1)
        return self._front.index + surplus

    def reset(self, base: LogPosition) -> None:
        """Drop every entry and start again after ``base`` (a snapshot was installed)."""
        self._base = self._front = base
        self._runs.clear()
        self._front_end = 0
        self._entries.clear()
        self._ends.clear()

    def last_at_most(self, index: int, term: int) -> int | None:
        """Largest index <= ``index`` whose entry has a term <= ``term``; None: before the base.

        Two logs can agree at ``index`` at the latest there, so a leader and a follower skip a
        whole divergent term per exchange (thesis 3.5).
        """
        front = self._front
        until = min(index, self.last_index)
        if until < self._base.index:
            return None
        if until > front.index:
            found = bisect_right(self._entries, term, hi=until - front.index, key=_term_of)
            if found > 0:
                return front.index + found
            until = front.index
        place = bisect_right(self._runs, term, key=itemgetter(1))
        if place < len(self._runs):
            until = min(until, self._runs[place][0] - 1)
        if until == self._base.index and self._base.term > term:
            return None
        return until

    def _forget(self, index: int) -> None:
        count = index - self._front.index
        check(count <= len(self._entries), "compaction stays inside of the log", index=index)
        if count == 0:
            return
        last = self._entries[count - 1]
        self._front_end = self._ends[count - 1]
        self._front = LogPosition(last.index, last.term)
        del self._entries[:count]
        del self._ends[:count]

    def _end(self, index: int) -> int:
        offset = index - self._front.index
        return self._ends[offset - 1] if offset > 0 else self._front_end
