"""Figures from histories: what happened per second, when nothing went on, and by whose fault."""

from __future__ import annotations

import pytest

from raftzmq.chaos.figures import longest_by_kind, rate, samples, stalls
from raftzmq.chaos.record import Fault
from raftzmq.checker.history import Operation

ORIGIN = 5_000_000_000


def operation(
    op: str, call_s: float, returned_s: float | None, ok: bool | None = True
) -> Operation:
    return Operation(
        client="c1", op=op, key="k", value=None, expected=None, result=None,
        call=ORIGIN + int(call_s * 1e9),
        returned=None if returned_s is None else ORIGIN + int(returned_s * 1e9),
        ok=ok,
    )  # fmt: skip


def fault(kind: str, from_s: float, until_s: float) -> Fault:
    return Fault(kind=kind, target="n1", from_s=from_s, until_s=until_s, fired=True, detail="")


def test_operations_count_in_the_second_in_which_they_ended() -> None:
    first, second, third = samples(
        [
            operation("read", 0.1, 0.102),
            operation("write", 0.9, 1.1),
            operation("write", 1.2, 1.3),
            operation("add", 1.5, None, None),
            operation("add", 2.5, 2.6, False),
            operation("read", 3.5, 3.6),
        ],
        ORIGIN,
        3.0,
    )
    assert (first.reads, first.writes, first.unknown, first.refused) == (1, 0, 0, 0)
    assert first.read_p50_ms == pytest.approx(2.0)
    assert first.write_p50_ms is None
    assert (second.reads, second.writes, second.unknown, second.refused) == (0, 2, 1, 0)
    assert second.write_p50_ms == pytest.approx(150.0)
    assert (third.refused, third.read_p99_ms) == (1, None)


def test_gaps_between_acknowledged_writes_are_stalls_whatever_reads_do() -> None:
    found = stalls(
        [
            *(operation("write", at / 10, at / 10 + 0.01) for at in range(10)),
            operation("read", 1.5, 1.6),
            operation("write", 1.5, 1.7, False),
            operation("write", 3.0, 3.1),
        ],
        ORIGIN,
        3.2,
        [],
    )
    assert [(round(each.from_s, 2), round(each.until_s, 2)) for each in found] == [(0.91, 3.1)]


def test_a_run_without_any_write_is_one_stall() -> None:
    (found,) = stalls([], ORIGIN, 10.0, [])
    assert (found.from_s, found.until_s, found.fault) == (0.0, 10.0, None)


@pytest.mark.parametrize(
    ("faults", "blamed"),
    [
        ([], None),
        ([fault("on", 4.9, 9.0)], 0),
        ([fault("long before", 0.0, 0.9), fault("just over", 3.0, 4.0)], 1),
        ([fault("began at it", 5.01, 6.0), fault("came later", 7.0, 9.0)], 0),
        ([fault("on", 1.0, 6.0), fault("on too, later", 4.0, 5.5)], 1),
        ([fault("came while nothing went on", 7.0, 9.0)], 0),
        ([fault("long over", 0.0, 0.0)], None),
        ([fault("after all that", 11.0, 12.0)], None),
    ],
)
def test_who_is_blamed_for_a_stall(faults: list[Fault], blamed: int | None) -> None:
    writes = [
        *(operation("write", at / 10, at / 10) for at in range(51)),
        *(operation("write", at / 10, at / 10) for at in range(100, 130)),
    ]
    (found,) = stalls(writes, ORIGIN, 12.9, faults)
    assert (found.from_s, found.until_s) == (pytest.approx(5.0), pytest.approx(10.0))
    assert found.fault == blamed


def test_the_longest_stall_by_kind() -> None:
    faults = [fault("pause", 1.0, 2.0), fault("clock-jump", 20.0, 21.0)]
    writes = [operation("write", at / 10, at / 10) for at in range(300) if not 12 < at < 18]
    found = stalls(writes, ORIGIN, 29.9, faults)
    longest = longest_by_kind(faults, found)
    assert longest == {"pause": pytest.approx(0.6), "clock-jump": 0.0}


def test_rate() -> None:
    writes = [operation("write", at / 10, at / 10) for at in range(100)]
    assert rate(writes, ORIGIN, 0.0, 5.0) == pytest.approx(10.0)
    assert rate(writes, ORIGIN, 3.0, 3.0) == 0.0
