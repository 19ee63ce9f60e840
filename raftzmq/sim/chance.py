"""Chance that is the same on every Python: nothing but ``getrandbits`` of a seeded generator.

Each concern draws from a stream of its own, so that leaving out one fault does not change what
the clients ask for.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Chance:
    """One stream.

    Args:
        seed: of the run.
        stream: name of the concern.
    """

    __slots__ = ("_bits", "rng")

    def __init__(self, seed: int, stream: str) -> None:
        # A text seed goes through SHA-512, whatever PYTHONHASHSEED says.
        self.rng = random.Random(f"{seed}/{stream}")
        self._bits = self.rng.getrandbits

    def below(self, end: int) -> int:
        """A whole number from 0 to ``end - 1``."""
        return (self._bits(32) * end) >> 32

    def between(self, least: int, most: int) -> int:
        """A whole number from ``least`` to ``most``."""
        return least + self.below(most - least + 1)

    def hit(self, per_mille: int) -> bool:
        """True so many times in a thousand."""
        return self.below(1000) < per_mille

    def pick(self, items: Sequence[T]) -> T:
        """One of ``items``."""
        return items[self.below(len(items))]

    def weighted(self, items: Sequence[tuple[T, int]]) -> T:
        """One of (item, weight)."""
        place = self.below(sum(weight for _, weight in items))
        for item, weight in items:
            place -= weight
            if place < 0:
                return item
        raise AssertionError("the weights were summed up")

    def bits(self, count: int) -> int:
        """A whole number of so many random bits."""
        return self._bits(count)
