"""How many reads leave in one batch: fewer where a node takes long over many.

A batch is answered as a whole, and one connection may fill it: whoever has one read in it waits
for a thousand of somebody else. At a node that is fast that costs nothing, and a large batch is
cheaper for all. At one that is flooded it took ten seconds. No clock.
"""

from __future__ import annotations

from typing import Final

from raftzmq import limits

LONG_MS: Final = 500
"""A batch that took longer was too large. Above what a distant node needs for the smallest."""
FIRST_READS: Final = 128
"""One job of a worker. Three full batches later it is eight times as much."""
LEAST_READS: Final = 32
"""Cheaper per read than smaller ones, by far."""


class BatchSizes:
    """Of the batches of one lane of one node.

    Attributes:
        most: reads that the next one may hold.
    """

    __slots__ = ("most",)

    def __init__(self) -> None:
        self.most = FIRST_READS

    def answered(self, reads: int, took_ms: int) -> None:
        """A batch came back, or was given up, after ``took_ms``.

        What takes long although it is small waits for something else.
        """
        if took_ms > LONG_MS:
            if reads > LEAST_READS:
                self.most = max(LEAST_READS, min(self.most, reads // 2))
        elif reads >= self.most:
            self.most = min(limits.BATCH_REQUESTS_MAX, 2 * self.most)
