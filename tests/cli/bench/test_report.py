"""Figures of a benchmark, against samples counted by hand."""

from __future__ import annotations

from collections import Counter

from raftzmq.bench.meter import Reading
from raftzmq.bench.report import latency, make_report
from raftzmq.bench.run import Samples


def test_percentiles_are_nearest_rank() -> None:
    found = latency([number / 1000 for number in range(100, 0, -1)], 2.0)
    assert found is not None
    assert (found.p50_ms, found.p99_ms, found.max_ms) == (50, 99, 100)
    assert (found.count, found.per_s) == (100, 50)
    one = latency([0.003], 1.0)
    assert one is not None
    assert one.p50_ms == one.p99_ms == one.max_ms == 3
    assert latency([], 1.0) is None


def test_cost_is_shared_among_what_was_answered() -> None:
    samples = Samples(2.0, write_s=[0.001] * 10, read_s=[0.001] * 90, errors=Counter(Overloaded=1))
    report = make_report(
        samples,
        Reading({"n1": 1.0, "gone": 5.0}, {}),
        Reading({"n1": 2.0, "new": 1.0}, {}),
        clients=4,
        value_size=100,
    )
    assert report.costs.keys() == {"n1"}
    assert report.costs["n1"].cpu_percent == 50
    assert report.costs["n1"].cpu_us_per_request == 10_000
    assert report.errors == {"Overloaded": 1}
