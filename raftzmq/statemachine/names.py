"""Which row of a ledger may hold a name: ten bytes of memory per name, whoever chose the names.

A name is hashed; a word of 64 bits holds a part of the hash and the number of the row. Words lie
sorted in many short arrays, so that finding one and adding one are a bisection and a short move.
What is found is a hint, to be verified in the row itself: hashes collide, numbers of rows begin
again at 0 after ``ROW_MASK``, and words of rows that are gone stay until their array is swept.

Strangers choose names, so the hash must be one that they cannot predict: Python's of bytes is
keyed for each process, that of a tuple of an integer can be steered.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence
from typing import Final

_SHARD_BITS: Final = 12
_SHARDS: Final = 1 << _SHARD_BITS
_SHARD_MASK: Final = _SHARDS - 1
_ROW_BITS: Final = 30
ROW_MASK: Final = (1 << _ROW_BITS) - 1
"""Rows are told apart by so many bits of their number."""
_HASH_MASK: Final = (1 << (64 - _ROW_BITS)) - 1
_STALE_SHARE: Final = 4
"""Words of rows that are gone may be a quarter of the others ..."""
_STALE_FREE: Final = 4_096
"""... and so many more, before arrays are swept."""
_SWEPT_AT_ONCE: Final = 16
"""Arrays; some 20 microseconds each with a million names."""


class NameIndex:
    """Name -> numbers of the rows that may hold it.

    Attributes:
        held: words in memory, eight bytes each and a ninth for growth.
    """

    def __init__(self) -> None:
        self._shards = [array("Q") for _ in range(_SHARDS)]
        self._next_swept = 0
        self.held = 0

    def add(self, names: Iterable[tuple[bytes, int]], row: int) -> None:
        """The row ``row`` holds these names."""
        shards, row = self._shards, row & ROW_MASK
        for client, number in names:
            code = hash(client + b"%d" % number)
            word = ((code >> _SHARD_BITS) & _HASH_MASK) << _ROW_BITS | row
            insort(shards[code & _SHARD_MASK], word)
            self.held += 1

    def add_unsorted(self, client: bytes, number: int, row: int) -> None:
        """The same for many at once, to be followed by ``sort``."""
        code = hash(client + b"%d" % number)
        word = ((code >> _SHARD_BITS) & _HASH_MASK) << _ROW_BITS | row & ROW_MASK
        self._shards[code & _SHARD_MASK].append(word)
        self.held += 1

    def sort(self) -> None:
        """After ``add_unsorted``."""
        self._shards = [array("Q", sorted(shard)) for shard in self._shards]

    def rows(self, client: bytes, number: int) -> Sequence[int]:
        """Numbers, in the bits of ROW_MASK, of the rows that may hold this name."""
        code = hash(client + b"%d" % number)
        shard = self._shards[code & _SHARD_MASK]
        word = ((code >> _SHARD_BITS) & _HASH_MASK) << _ROW_BITS
        at = bisect_left(shard, word)
        if at == len(shard) or shard[at] > word | ROW_MASK:
            return ()
        found = []
        while at < len(shard) and shard[at] <= word | ROW_MASK:
            found.append(shard[at] & ROW_MASK)
            at += 1
        return found

    def sweep(self, first_row: int, rows: int, names: int) -> None:
        """Give up words of rows that are gone, a bounded number of arrays at a time.

        Args:
            first_row: number of the oldest row that is there.
            rows: how many there are, from that one on.
            names: how many these hold.
        """
        for _ in range(_SWEPT_AT_ONCE):
            if self.held <= names + names // _STALE_SHARE + _STALE_FREE:
                return
            at = self._next_swept
            self._next_swept = (at + 1) % _SHARDS
            shard = self._shards[at]
            kept = array("Q", [word for word in shard if (word - first_row) & ROW_MASK < rows])
            self.held -= len(shard) - len(kept)
            self._shards[at] = kept
