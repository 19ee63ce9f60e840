"""Which row of a ledger may hold a name: ten bytes of memory per name at most, whoever chose it.

Names are hashed in blocks of sixteen successive numbers of a client, which mostly come together. A
word of 64 bits holds a part of the hash, the number of the row and which of the sixteen are in it.
Words lie sorted in many short arrays, so that finding one and adding one are a bisection and a
short move. What is found is a hint, to be verified in the row itself: hashes collide, numbers of
rows begin again at 0 after ``ROW_MASK``, and words of rows that are gone stay until their array is
swept.

Strangers choose names, so the hash must be one that they cannot predict: Python's of bytes is
keyed for each process, that of a tuple of an integer can be steered.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

_SHARD_BITS: Final = 12
_SHARDS: Final = 1 << _SHARD_BITS
_SHARD_MASK: Final = _SHARDS - 1
_ROW_BITS: Final = 27
ROW_MASK: Final = (1 << _ROW_BITS) - 1
"""Rows are told apart by so many bits of their number: a ledger of 4 GiB has fewer."""
_BLOCK_BITS: Final = 4
_IN_BLOCK: Final = (1 << _BLOCK_BITS) - 1
_MASK_BITS: Final = 1 << _BLOCK_BITS
_HASH_SHIFT: Final = _ROW_BITS + _MASK_BITS
_HASH_MASK: Final = (1 << (64 - _HASH_SHIFT)) - 1
_UNDER_HASH: Final = (1 << _HASH_SHIFT) - 1
_NOBODY: Final = b""
_STALE_SHARE: Final = 4
"""Words of rows that are gone may be a quarter of the others ..."""
_STALE_FREE: Final = 4_096
"""... and so many more, before arrays are swept."""
_SWEPT_AT_ONCE: Final = 16
"""Arrays; some 20 microseconds each with a million names."""


class NameIndex:
    """Name -> numbers of the rows that may hold it.

    Attributes:
        held: words in memory, of eight bytes each and an eighth for growth; not more than names.
    """

    def __init__(self) -> None:
        self._shards = [array("Q") for _ in range(_SHARDS)]
        self._next_swept = 0
        # Successive requests mostly ask for the same block.
        self._asked_client = _NOBODY
        self._asked_block = 0
        self._asked_words: Sequence[int] = ()
        self.held = 0

    def add(self, names: Iterable[tuple[bytes, int]], row: int) -> None:
        """The row ``row`` holds these names."""
        for shard, word in self._words(names, row):
            insort(shard, word)

    def add_unsorted(self, names: Iterable[tuple[bytes, int]], row: int) -> None:
        """The same where many rows follow each other; at the end comes ``sort``."""
        for shard, word in self._words(names, row):
            shard.append(word)

    def sort(self) -> None:
        """After ``add_unsorted``."""
        self._shards = [array("Q", sorted(shard)) for shard in self._shards]

    def rows(self, client: bytes, number: int) -> Sequence[int]:
        """Numbers, in the bits of ROW_MASK, of the rows that may hold this name."""
        block = number >> _BLOCK_BITS
        if block != self._asked_block or client != self._asked_client:
            self._asked_client, self._asked_block = client, block
            self._asked_words = self._find(client, block)
        words = self._asked_words
        if not words:
            return ()
        bit = 1 << (number & _IN_BLOCK)
        return [word >> _MASK_BITS & ROW_MASK for word in words if word & bit]

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
            kept = array(
                "Q",
                [word for word in shard if ((word >> _MASK_BITS) - first_row) & ROW_MASK < rows],
            )
            self.held -= len(shard) - len(kept)
            self._shards[at] = kept

    def _find(self, client: bytes, block: int) -> Sequence[int]:
        code = hash(client + b"%d" % block)
        shard = self._shards[code & _SHARD_MASK]
        word = ((code >> _SHARD_BITS) & _HASH_MASK) << _HASH_SHIFT
        at = bisect_left(shard, word)
        last = word | _UNDER_HASH
        if at == len(shard) or shard[at] > last:
            return ()
        found = []
        while at < len(shard) and shard[at] <= last:
            found.append(shard[at])
            at += 1
        return found

    def _words(
        self, names: Iterable[tuple[bytes, int]], row: int
    ) -> Iterator[tuple[array[int], int]]:
        """A word per block, and where it belongs; blocks that come in pieces have several."""
        self._asked_client = _NOBODY
        row = (row & ROW_MASK) << _MASK_BITS
        owner, block, mask = _NOBODY, 0, 0
        for client, number in names:
            if number >> _BLOCK_BITS != block or client != owner:
                if mask:
                    yield self._place(owner, block, row | mask)
                owner, block, mask = client, number >> _BLOCK_BITS, 0
            mask |= 1 << (number & _IN_BLOCK)
        if mask:
            yield self._place(owner, block, row | mask)

    def _place(self, client: bytes, block: int, word: int) -> tuple[array[int], int]:
        self.held += 1
        code = hash(client + b"%d" % block)
        word |= ((code >> _SHARD_BITS) & _HASH_MASK) << _HASH_SHIFT
        return self._shards[code & _SHARD_MASK], word
