"""Two results side by side: ratios, and whether they say anything."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from math import comb
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from raftzmq.bench.metrics import HIGHER, NEITHER, Metric
from raftzmq.bench.result import Result

REPEATS_MIN: Final = 3


class Verdict(StrEnum):
    """What the difference of one figure says."""

    BETTER = "better"
    WORSE = "worse"
    DIFFERS = "differs"
    NOISE = "within noise"
    TOO_FEW = "too few repeats"


@dataclass(frozen=True, slots=True)
class Difference:
    """One figure in both.

    Attributes:
        ratio: median of the second over median of the first; None when that is 0.
    """

    name: str
    first: Metric
    second: Metric
    ratio: float | None
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Comparison:
    """All of it.

    Attributes:
        unlike: what differs in machine or setup, in words: reasons to doubt the rest.
        only_in_one: figures that have no counterpart.
        chance: how likely ranges of so many repeats are to lie apart although nothing changed.
    """

    differences: list[Difference]
    unlike: list[str]
    only_in_one: list[str]
    chance: float

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def compare(first: Result, second: Result) -> Comparison:
    """Judge ``second`` against ``first``."""
    both = [name for name in first.metrics if name in second.metrics]
    counts = len(first.repeats), len(second.repeats)
    return Comparison(
        [_difference(name, first.metrics[name], second.metrics[name]) for name in both],
        [
            f"{about}, {name}: {a.get(name)} and {b.get(name)}"
            for about, a, b in (
                ("setup", first.setup, second.setup),
                ("machine", first.machine, second.machine),
            )
            for name in dict.fromkeys((*a, *b))
            if a.get(name) != b.get(name)
        ],
        sorted(first.metrics.keys() ^ second.metrics.keys()),
        2 / comb(sum(counts), counts[0]),
    )


def _difference(name: str, first: Metric, second: Metric) -> Difference:
    ratio = second.median / first.median if first.median else None
    return Difference(name, first, second, ratio, _verdict(first, second))


def _verdict(first: Metric, second: Metric) -> Verdict:
    """Ranges that overlap say nothing; how much ranges that do not say, depends on how many."""
    if len({*first.values, *second.values}) == 1:
        return Verdict.NOISE
    if min(len(first.values), len(second.values)) < REPEATS_MIN:
        return Verdict.TOO_FEW
    if first.least <= second.most and second.least <= first.most:
        return Verdict.NOISE
    if first.better == NEITHER:
        return Verdict.DIFFERS
    grew = second.least > first.most
    return Verdict.BETTER if grew == (first.better == HIGHER) else Verdict.WORSE


_STYLES: Final = {Verdict.BETTER: "green", Verdict.WORSE: "red", Verdict.NOISE: "dim"}


def show_comparison(comparison: Comparison, names: tuple[str, str]) -> RenderableType:
    """For people."""
    table = Table(title=f"B {names[1]} against A {names[0]}", title_justify="left")
    table.add_column("")
    for heading in ("A", "B", "B / A"):
        table.add_column(heading, justify="right")
    table.add_column("")
    for each in comparison.differences:
        style = _STYLES.get(each.verdict, "")
        table.add_row(
            each.name,
            _range(each.first),
            _range(each.second),
            "" if each.ratio is None else f"{each.ratio:.3f}",
            Text(each.verdict, style=style),
        )
    parts: list[RenderableType] = [table]
    enough = all(each.verdict is not Verdict.TOO_FEW for each in comparison.differences)
    parts.append(
        Text(
            "within noise: the ranges of the repeats overlap. Of two equal programs each figure "
            f"still lies apart by chance in {100 * comparison.chance:.2g} % of comparisons"
            if enough
            else f"too few repeats: it takes {REPEATS_MIN} of each (--repeats) to tell a "
            "difference from noise"
        )
    )
    parts += [Text(f"not alike: {line}", style="yellow") for line in comparison.unlike]
    if comparison.only_in_one:
        parts.append(Text(f"only in one of them: {', '.join(comparison.only_in_one)}"))
    return Group(*parts)


def _range(metric: Metric) -> str:
    shown = _short(metric.median)
    if len(metric.values) == 1:
        return shown
    return f"{shown} ({_short(metric.least)}..{_short(metric.most)})"


def _short(value: float) -> str:
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"
