"""Which reads count as having met the UPDATE, and what breaks the promise."""

from __future__ import annotations

from dataclasses import replace

import pytest

from raftzmq.bench.isolation import LEVELS, Measured, Sample, Update, overlapping
from raftzmq.bench.isolation_report import IsolationReport, make_isolation_report
from raftzmq.wire.client import Level

UPDATE = Update(sent_s=10.0, answered_s=12.0, everywhere_s=12.5)


@pytest.mark.parametrize(
    ("sent_s", "done_s", "met"),
    [
        (9.0, 9.9, False),
        (9.0, 10.1, True),
        (11.0, 11.1, True),
        (12.1, 12.2, True),  # answered, but one node still applies it
        (12.6, 12.7, False),
        (9.0, 13.0, True),
    ],
)
def test_what_met_the_update(sent_s: float, done_s: float, met: bool) -> None:
    sample = Sample(sent_s, done_s)
    apart, during = overlapping([sample], [UPDATE, replace(UPDATE, sent_s=20.0, everywhere_s=21.0)])
    assert (apart, during) == (([], [sample]) if met else ([sample], []))


def measured(
    apart_ms: float = 2.0, during_ms: float = 2.0, linearizable_during_ms: float = 2_000.0
) -> Measured:
    def reads(first_s: float, ms: float) -> list[Sample]:
        return [Sample(first_s + n / 1000, first_s + (n + ms) / 1000) for n in range(200)]

    found = Measured(updates=[UPDATE], selects_s=[2.0])
    for level in LEVELS:
        found.quiet[level] = reads(0.0, 1.0)
        during = linearizable_during_ms if level is Level.LINEARIZABLE else during_ms
        found.loaded[level] = reads(5.0, apart_ms) + reads(10.5, during)
    return found


def report(found: Measured) -> IsolationReport:
    return make_isolation_report(found, rate=100.0, seconds=20.0)


def test_linearizable_reads_may_wait_for_the_update_and_no_others() -> None:
    kept = report(measured())
    assert kept.broken == []
    ratios = kept.as_dict()["ratios"]
    assert ratios["session"] == {"apart": pytest.approx(2.0), "during": pytest.approx(2.0)}
    assert len(report(measured(during_ms=6.0)).broken) == 2
    assert len(report(measured(apart_ms=6.0)).broken) == 3


def test_what_was_not_measured_is_no_success() -> None:
    found = measured()
    found.updates = []
    assert any("nothing was measured" in line for line in report(found).broken)
    assert any("too short" in line for line in report(found).broken)


def test_an_election_or_an_error_breaks_it() -> None:
    found = measured()
    found.elections = 1
    found.errors["OutcomeUnknown"] = 2
    assert report(found).broken == ["the term grew by 1", "errors: OutcomeUnknown: 2"]
