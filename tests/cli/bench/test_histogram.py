"""Percentiles against a sorted list, and what storing a histogram may change."""

from __future__ import annotations

import math
import random

import pytest

from raftzmq.bench.histogram import OF, PERCENTILES, Histogram

PARTS = list(PERCENTILES.values())


def filled(*times_s: float) -> Histogram:
    histogram = Histogram()
    histogram.add(times_s)
    return histogram


@pytest.mark.parametrize("count", [1, 2, 99, 100, 101, 9_999, 10_000, 10_001, 30_000])
def test_percentiles_are_nearest_rank(count: int) -> None:
    rng = random.Random(count)
    times = sorted(rng.randint(50, 5_000_000) for _ in range(count))
    wanted = [times[-(-count * part // OF) - 1] / 1000 for part in PARTS]
    assert filled(*(us / 1e6 for us in times)).at_ms(PARTS) == wanted


def test_one_stall_in_ten_thousand_is_beyond_p99_99_and_two_are_not() -> None:
    assert filled(*[0.001] * 9_999, 2.0).at_ms([9_999]) == [1.0]
    assert filled(*[0.001] * 9_998, 2.0, 2.0).at_ms([9_999]) == [2000.0]


def test_mean_max_and_nothing() -> None:
    histogram = filled(0.001, 0.002, 0.006)
    assert (histogram.count, histogram.mean_ms, histogram.max_ms) == (3, 3.0, 6.0)
    assert (Histogram().count, Histogram().mean_ms, Histogram().max_ms) == (0, 0.0, 0.0)
    assert Histogram().buckets() == []


def test_what_is_stored_is_at_most_one_part_in_128_too_long_and_never_too_short() -> None:
    rng = random.Random(1)
    times = [math.exp(rng.uniform(0, 18)) for _ in range(5_000)]
    exact = filled(*(us / 1e6 for us in times))
    stored = Histogram.of_buckets(exact.buckets())
    assert stored.count == 5_000
    assert len(exact.buckets()) < 3_000
    every = list(range(1, OF, 7))
    for before, after in zip(exact.at_ms(every), stored.at_ms(every), strict=True):
        assert before <= after <= before * (1 + 1 / 128) + 0.001


def test_up_to_a_quarter_of_a_millisecond_nothing_is_rounded() -> None:
    assert filled(*(us / 1e6 for us in range(256))).buckets() == [[us, 1] for us in range(256)]


def test_merging_counts_both() -> None:
    both = filled(0.001)
    both.merge(filled(0.001, 0.003))
    assert both.buckets() == [[1003, 2], [3007, 1]]
