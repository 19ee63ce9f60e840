"""Judges a history: could one database, doing one thing at a time, have shown it?

Keys are judged apart: a history is linearizable exactly when that of each object is (locality,
Herlihy and Wing 1990, theorem 1).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from raftzmq.checker.history import HistoryUnreadable, Operation
from raftzmq.checker.models import OPERATIONS, PROBLEMS
from raftzmq.checker.search import search
from raftzmq.checker.values import plain
from raftzmq.checker.window import Window, smallest_window

STATES_MAX: Final = 100_000
"""Configurations visited per key before it is given up, beyond eight per operation."""

_KEYS_MAX: Final = 10
"""So many keys may use all of that; then what is left is given up early, so that a history of a
thousand hard keys ends too."""

_WINDOWS_MAX: Final = 5
_TRY_STATES_MAX: Final = 20_000


@dataclass(frozen=True, slots=True)
class KeyVerdict:
    """One key, judged.

    Attributes:
        holds: None when it was given up.
        operations: judged; what did not take effect is not among them.
        unknown: how many of those have an unknown outcome.
        failed: how many took no effect.
        visited: configurations.
        window: for a violation; None when there are many violations and this is not one of the
            first.
        detail: why it could not be decided.
    """

    key: str
    holds: bool | None
    operations: int
    unknown: int
    failed: int
    visited: int
    window: Window | None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Judgement:
    """A history, judged.

    Attributes:
        holds: False when a key is violated; else None when a key was given up, or nothing was
            seen that could have been wrong; else True.
        observed: reads and compare-and-sets that were answered; without them nothing is proven.
    """

    model: str
    holds: bool | None
    keys: tuple[KeyVerdict, ...]
    observed: int

    @property
    def operations(self) -> int:
        """Judged, over all keys."""
        return sum(each.operations for each in self.keys)

    @property
    def unknown(self) -> int:
        """With unknown outcome, over all keys."""
        return sum(each.unknown for each in self.keys)

    @property
    def failed(self) -> int:
        """Without effect, over all keys."""
        return sum(each.failed for each in self.keys)

    @property
    def window(self) -> Window | None:
        """The smallest window of all violations."""
        windows = [each.window for each in self.keys if each.window]
        return min(windows, key=lambda each: len(each.operations), default=None)

    @property
    def summary(self) -> str:
        """One sentence with the figures."""
        counts = (
            f"{self.operations:,} operations on {len(self.keys):,} keys, "
            f"{self.unknown:,} of unknown outcome"
        )
        if not self.observed:
            return f"nothing to judge: nothing was read ({counts})"
        wrong = [each for each in self.keys if each.holds is False]
        if wrong:
            window = self.window
            why = f": {window.reason}" if window else ""
            return f"{len(wrong)} of {len(self.keys):,} keys violated{why} ({counts})"
        undecided = [each for each in self.keys if each.holds is None]
        if undecided:
            return f"{len(undecided)} of {len(self.keys):,} keys undecided ({counts})"
        return counts


def judge(model: str, operations: Iterable[Operation], states_max: int = STATES_MAX) -> Judgement:
    """Judge a history.

    Args:
        model: register, append, counter or bank; see `raftzmq.checker.models`.
        operations: in any order.
        states_max: how long to look, per key, in configurations; the same history always gets
            the same verdict.

    Raises:
        HistoryUnreadable: an operation makes no sense in the model.
    """
    by_key: dict[str, list[Operation]] = {}
    for each in operations:
        _check(model, each)
        by_key.setdefault(each.key, []).append(each)
    observed = sum(_is_evidence(each) for group in by_key.values() for each in group)
    verdicts: list[KeyVerdict] = []
    windows = 0
    left = _KEYS_MAX * states_max
    for key in sorted(by_key):
        verdict = _judge_key(model, key, by_key[key], min(states_max, left), windows < _WINDOWS_MAX)
        left -= min(left, max(0, verdict.visited - 8 * verdict.operations))
        windows += verdict.window is not None
        verdicts.append(verdict)
    holds: bool | None = True
    if any(each.holds is False for each in verdicts):
        holds = False
    elif not observed or any(each.holds is None for each in verdicts):
        holds = None
    return Judgement(model, holds, tuple(verdicts), observed)


def _judge_key(
    model: str, key: str, operations: list[Operation], states_max: int, draw: bool
) -> KeyVerdict:
    judged = [
        each for each in operations if each.ok is True or (each.ok is None and each.op != "read")
    ]
    failed = sum(each.ok is False for each in operations)
    unknown = sum(each.ok is None for each in judged)
    if not any(_is_evidence(each) for each in judged):
        # No order of updates that nobody saw is wrong.
        return KeyVerdict(key, True, len(judged), unknown, failed, 0, None)
    problem = PROBLEMS[model](judged)
    found = search(problem, states_max + 8 * len(judged))
    window = None
    if found.holds is False and draw:
        window = smallest_window(model, judged, _TRY_STATES_MAX)
        window = _with_failed(model, window, operations)
    detail = "" if found.holds is not None else f"given up after {found.visited:,} configurations"
    return KeyVerdict(key, found.holds, len(judged), unknown, failed, found.visited, window, detail)


def _with_failed(model: str, window: Window, operations: list[Operation]) -> Window:
    """Show also what failed, when its value is what was seen."""
    offending = window.operations[window.offending]
    if model not in ("register", "append") or offending.op != "read":
        return window
    seen = offending.result if model == "append" else [offending.result]
    values = {plain(value) for value in seen or []}
    values -= {plain(each.value) for each in window.operations if each.op != "read"}
    culprits = [each for each in operations if each.ok is False and plain(each.value) in values]
    if not culprits:
        return window
    shown = sorted((*window.operations, *culprits), key=lambda each: (each.call, each.client))
    reason = f"it saw {culprits[0].value!r}, whose write was answered with a definite no"
    return Window(tuple(shown), shown.index(offending), reason)


def _is_evidence(operation: Operation) -> bool:
    return operation.ok is True and operation.op in ("read", "cas")


def _check(model: str, operation: Operation) -> None:
    if model not in OPERATIONS:
        raise HistoryUnreadable(f"no model {model!r}; there are {', '.join(sorted(OPERATIONS))}")
    wrong = ""
    if operation.op not in OPERATIONS[model]:
        known = ", ".join(sorted(OPERATIONS[model]))
        wrong = f"is not an operation of the model {model}; it has {known}"
    elif operation.ok is True and operation.returned is None:
        wrong = "succeeded and never returned"
    elif operation.returned is not None and operation.returned < operation.call:
        wrong = "returned before its call"
    elif model == "append" and not isinstance(operation.result, list | None):
        wrong = f"returned {operation.result!r} and not a list"
    if wrong:
        raise HistoryUnreadable(
            f"{operation.op!r} of {operation.client} on {operation.key!r} {wrong}"
        )
