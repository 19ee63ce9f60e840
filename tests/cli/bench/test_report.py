"""Figures of a benchmark, against samples counted by hand."""

from __future__ import annotations

from collections import Counter

import pytest

from raftzmq.bench.histogram import Histogram
from raftzmq.bench.meter import Reading
from raftzmq.bench.metrics import metrics
from raftzmq.bench.report import Report, latency, make_report
from raftzmq.bench.run import Samples, Tick
from raftzmq.wire.status import NodeStatus


def times(*seconds: float) -> Histogram:
    histogram = Histogram()
    histogram.add(seconds)
    return histogram


def status(node: str, role: str, fsyncs: int, boot: int = 1) -> NodeStatus:
    return NodeStatus(
        node=node,
        cluster="c",
        role=role,
        term=1,
        leader="n1",
        leader_client_address="",
        commit_index=0,
        applied_index=0,
        last_index=0,
        first_index=0,
        contact_age_ms=0,
        pid=1,
        boot=boot,
        version="",
        reads=0,
        writes=0,
        fsyncs=fsyncs,
    )


def test_percentiles_are_nearest_rank() -> None:
    found = latency(times(*(number / 1000 for number in range(100, 0, -1))), 2.0)
    assert found is not None
    assert (found.p50_ms, found.p99_ms, found.max_ms) == (50, 99, 100)
    assert (found.count, found.per_s) == (100, 50)
    one = latency(times(0.003), 1.0)
    assert one is not None
    assert one.p50_ms == one.p99_ms == one.p99_99_ms == one.max_ms == one.mean_ms == 3
    assert latency(Histogram(), 1.0) is None


def report() -> Report:
    samples = Samples(
        2.0,
        writes=times(*[0.001] * 10),
        reads=times(*[0.001] * 90),
        errors=Counter(Overloaded=1),
        ticks=[Tick(0.0, 2.0, 100, 1.0, 1)],
    )
    return make_report(
        samples,
        Reading(
            {"n1": 1.0, "p1": 1.0, "client": 0.0, "gone": 5.0},
            {
                "n1": status("n1", "leader", 10),
                "n2": status("n2", "follower", 10),
                "n3": status("n3", "follower", 10),
            },
            1_000,
            100.0,
        ),
        Reading(
            {"n1": 2.0, "p1": 1.5, "client": 0.2, "new": 1.0},
            {
                "n1": status("n1", "leader", 15),
                "n2": status("n2", "follower", 12),
                "n3": status("n3", "follower", 3, boot=2),
            },
            41_000,
            102.7,
        ),
    )


def test_cost_is_shared_among_what_was_answered() -> None:
    found = report()
    assert found.costs.keys() == {"n1", "p1", "client", "others"}
    assert found.costs["n1"].cpu_percent == 50
    assert found.costs["n1"].cpu_us_per_request == 10_000
    assert found.costs["others"].cpu_percent == pytest.approx(50)
    assert found.errors == {"Overloaded": 1}
    assert found.disk_bytes_per_write == 4_000
    assert found.leader == "n1"
    # n3 was restarted in between: its counter began anew.
    assert found.fsyncs_per_write == {"n1": 0.5, "n2": 0.2}


def test_metrics_are_by_role_because_who_leads_is_chance() -> None:
    found = metrics([report(), report()])
    assert found["writes per second"].values == (5.0, 5.0)
    assert found["CPU us per request, leader"].median == 10_000
    assert found["CPU us per request, proxy"].median == 5_000
    assert found["CPU us per request, client"].median == pytest.approx(2_000)
    # What others did is no cost of ours.
    assert found["CPU us per request, all"].median == pytest.approx(17_000)
    assert found["fsyncs per write, follower"].median == 0.2
    assert "CPU us per request, others" not in found
