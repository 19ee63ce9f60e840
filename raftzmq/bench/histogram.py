"""How often which latency occurred: counts per microsecond, exact up to its resolution.

Recording is one update of a ``Counter`` for many samples, in C, because the load generator shares
the processors with what it measures. What is stored is coarser, as in HdrHistogram: bounds that
lie at most 1 part in 128 apart, so a histogram of microseconds to minutes stays small.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

PERCENTILES: Final = {
    "p50_ms": 5_000,
    "p90_ms": 9_000,
    "p99_ms": 9_900,
    "p99_9_ms": 9_990,
    "p99_99_ms": 9_999,
}
"""Name -> parts of ten thousand; whole numbers, so that no rank is lost to rounding."""
OF: Final = 10_000
_FINE_BITS: Final = 7


class Histogram:
    """Latencies of one kind of request."""

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()

    def add(self, times_s: Iterable[float]) -> None:
        """Count some latencies, in seconds."""
        self._counts.update([round(each * 1e6) for each in times_s])

    def merge(self, other: Histogram) -> None:
        """Count those of another one, too."""
        self._counts.update(other._counts)

    @property
    def count(self) -> int:
        """How many there are."""
        return self._counts.total()

    @property
    def mean_ms(self) -> float:
        """Their mean; 0 when there are none."""
        total = sum(us * count for us, count in self._counts.items())
        return total / max(1, self.count) / 1000

    @property
    def max_ms(self) -> float:
        """The longest; 0 when there are none."""
        return max(self._counts, default=0) / 1000

    def at_ms(self, parts: Sequence[int]) -> list[float]:
        """The latency that so many parts of ten thousand do not exceed (nearest rank).

        Args:
            parts: in rising order.
        """
        ranks = [-(-self.count * part // OF) for part in parts]
        found: list[float] = []
        passed = 0
        for us in sorted(self._counts):
            passed += self._counts[us]
            while len(found) < len(ranks) and passed >= ranks[len(found)]:
                found.append(us / 1000)
        return found

    def buckets(self) -> list[list[int]]:
        """[upper bound in microseconds, requests up to there and above the one before]."""
        grouped: Counter[int] = Counter()
        for us, count in self._counts.items():
            grouped[_upper(us)] += count
        return [[us, grouped[us]] for us in sorted(grouped)]

    @classmethod
    def of_buckets(cls, buckets: Iterable[Sequence[int]]) -> Histogram:
        """What ``buckets`` gave; each latency as its upper bound."""
        made = cls()
        for us, count in buckets:
            made._counts[us] += count
        return made


def _upper(us: int) -> int:
    shift = max(0, us.bit_length() - _FINE_BITS - 1)
    return (((us >> shift) + 1) << shift) - 1
