"""The smallest part of a history that no order explains.

What is left out is left out only where that cannot make a violation: each step has the property
that a linearizable history stays linearizable. So the window, judged by itself as a history that
begins with an empty database, is a violation, and it proves that the whole is one.

* What was called after the offending operation returned, and what only observed and returned
  later, comes after it.
* An operation that only observes may always be left out.
* register: a value with all that wrote, read or expected it (and what compare-and-sets made of
  it), as long as no refused compare-and-set is left, which sees values without naming them.
* append: a value, from its append and out of all lists that were read.
* counter, bank: what succeeded before any read that is left was called is added up into one
  operation (client "earlier"), what was called after the last of them returned is left out.

Nothing more can be left out of the result by one of these steps, with single operations or
values, unless the bound on work was reached first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from raftzmq.checker.history import Operation
from raftzmq.checker.models import PROBLEMS, opening_of
from raftzmq.checker.register import is_refused
from raftzmq.checker.search import search
from raftzmq.checker.values import Plain, plain

EARLIER: Final = "earlier"
WORK_MAX: Final = 500_000
"""Operations and configurations that all tries for one window may take: some ten seconds."""

Unit = Sequence[Operation]


@dataclass(frozen=True, slots=True)
class Window:
    """Operations that no order explains.

    Attributes:
        operations: by call; a history of its own.
        offending: index of the one for which no place is left, given the others.
        reason: what it saw that it cannot have seen, for people.
    """

    operations: tuple[Operation, ...]
    offending: int
    reason: str


def smallest_window(model: str, operations: Sequence[Operation], states_max: int) -> Window:
    """Shrink a violation on one key.

    Args:
        model: see `raftzmq.checker.models`.
        operations: all that took effect or may have; they are not linearizable.
        states_max: configurations that one try may visit.
    """
    shrinking = _Shrinking(model, states_max)
    left = shrinking.shortest_prefix(list(operations))
    size = len(left) + 1
    while len(left) < size:
        size = len(left)
        left = shrinking.without_observers(left)
        left = _WITHOUT_UPDATES[model](shrinking, left)
    left.sort(key=lambda each: (each.call, each.client))
    last = shrinking.offending(left)
    return Window(tuple(left), last, reason(model, left, left[last]))


class _Shrinking:
    def __init__(self, model: str, states_max: int) -> None:
        self._model = model
        self._states_max = states_max
        self._left = WORK_MAX

    def is_wrong(self, operations: Sequence[Operation]) -> bool:
        if self._left <= 0 or not operations:
            return False
        found = search(PROBLEMS[self._model](operations), self._states_max)
        self._left -= len(operations) + found.visited
        return found.holds is False

    def shortest_prefix(self, operations: list[Operation]) -> list[Operation]:
        """Up to the first return by which it is a violation: earlier ones only add to it."""
        ends = _ends(operations)
        low, high = 0, len(ends) - 1
        while low < high:
            middle = (low + high) // 2
            if self.is_wrong(_prefix(operations, ends[middle])):
                high = middle
            else:
                low = middle + 1
        left = _prefix(operations, ends[low])
        return left if self.is_wrong(left) else operations

    def offending(self, operations: Sequence[Operation]) -> int:
        """The operation whose return makes it a violation."""
        for end in _ends(operations):
            if self.is_wrong(_prefix(operations, end)):
                break
        found = [
            number for number, each in enumerate(operations) if each.ok and each.returned == end
        ]
        return max(found, key=lambda number: observes(operations[number]))

    def without_observers(self, operations: list[Operation]) -> list[Operation]:
        refusals = [each for each in operations if is_refused(each)]
        if refusals:
            others = [each for each in operations if not is_refused(each)]
            if self.is_wrong(others):
                operations = others
        units = [[each] for each in operations if observes(each)]
        return self.without(operations, units, _left_out)

    def without(
        self,
        operations: list[Operation],
        units: Sequence[Any],
        leave_out: Callable[[list[Operation], Sequence[Any]], list[Operation]],
    ) -> list[Operation]:
        """Leave out as many units as possible: first large runs of them, then single ones."""
        remaining = list(units)
        size = max(1, len(remaining))
        while remaining and size:
            at = 0
            while at < len(remaining):
                candidate = leave_out(operations, remaining[at : at + size])
                if len(candidate) < len(operations) and self.is_wrong(candidate):
                    operations = candidate
                    del remaining[at : at + size]
                else:
                    at += size
            size //= 2
        return operations


def _ends(operations: Sequence[Operation]) -> list[int]:
    return sorted(each.returned for each in operations if each.ok and each.returned is not None)


def _prefix(operations: Sequence[Operation], end: int) -> list[Operation]:
    left: list[Operation] = []
    for each in operations:
        later = not each.ok or each.returned is None or each.returned > end
        if each.call > end or (later and observes(each)):
            continue
        # It may owe its success to what came later; that it was asked is all that is known.
        weaker = later and each.op == "cas"
        left.append(replace(each, ok=None, returned=None) if weaker else each)
    return left


def observes(operation: Operation) -> bool:
    """It changes nothing."""
    return operation.op == "read" or is_refused(operation)


def _left_out(operations: list[Operation], units: Sequence[Unit]) -> list[Operation]:
    gone = {id(each) for unit in units for each in unit}
    return [each for each in operations if id(each) not in gone]


def _register_values(shrinking: _Shrinking, operations: list[Operation]) -> list[Operation]:
    if any(is_refused(each) for each in operations):
        return operations
    values = list(dict.fromkeys(_values(operations)))
    return shrinking.without(operations, values, _without_values)


def _values(operations: list[Operation]) -> Iterator[Plain]:
    for each in operations:
        yield from _named(each)


def _named(operation: Operation) -> tuple[Plain, ...]:
    if operation.op == "read":
        return (plain(operation.result),)
    if operation.op == "write":
        return (plain(operation.value),)
    return plain(operation.expected), plain(operation.value)


def _without_values(operations: list[Operation], values: Sequence[Plain]) -> list[Operation]:
    gone = set(values)
    grew = True
    while grew:
        made = {
            plain(each.value)
            for each in operations
            if each.op == "cas" and plain(each.expected) in gone
        }
        grew = not made <= gone
        gone |= made
    return [each for each in operations if gone.isdisjoint(_named(each))]


def _appended_values(shrinking: _Shrinking, operations: list[Operation]) -> list[Operation]:
    values = [plain(each.value) for each in operations if each.op == "append"]
    for each in operations:
        if each.op == "read":
            values += [plain(value) for value in each.result or []]
    return shrinking.without(operations, list(dict.fromkeys(values)), _projected)


def _projected(operations: list[Operation], values: Sequence[Plain]) -> list[Operation]:
    gone = set(values)
    left: list[Operation] = []
    for each in operations:
        if each.op == "append":
            if plain(each.value) not in gone:
                left.append(each)
        elif any(plain(value) in gone for value in each.result or []):
            shown = [value for value in each.result if plain(value) not in gone]
            left.append(replace(each, result=shown))
        else:
            left.append(each)
    # A shorter list is progress as much as an operation less; the caller counts operations.
    return left


def _added_up(shrinking: _Shrinking, operations: list[Operation]) -> list[Operation]:
    reads = [each for each in operations if each.op == "read"]
    first = min(each.call for each in reads)
    last = max(each.returned for each in reads if each.returned is not None)
    early: list[Operation] = []
    left: list[Operation] = []
    for each in operations:
        if each.op != "read" and each.returned is not None and each.returned < first and each.ok:
            early.append(each)
        elif each.call <= last:
            left.append(each)
    if len(early) > 1:
        early = [_sum_of(early)]
    candidate = early + left
    return candidate if shrinking.is_wrong(candidate) else operations


def _sum_of(operations: Sequence[Operation]) -> Operation:
    start = min(each.call for each in operations)
    end = max(each.returned for each in operations if each.returned is not None)
    if operations[0].op == "add":
        total: Any = sum(each.value for each in operations)
        return replace(operations[0], client=EARLIER, value=total, call=start, returned=end)
    balances = dict(opening_of(operations))
    for each in operations:
        if each.op == "transfer":
            balances[each.value["from"]] -= each.value["amount"]
            balances[each.value["to"]] += each.value["amount"]
    opening = next(each for each in operations if each.op == "open")
    return replace(opening, client=EARLIER, value=balances)


_WITHOUT_UPDATES: Final[dict[str, Callable[[_Shrinking, list[Operation]], list[Operation]]]] = {
    "register": _register_values,
    "append": _appended_values,
    "counter": _added_up,
    "bank": _added_up,
}


def reason(model: str, operations: Sequence[Operation], offending: Operation) -> str:
    """What ``offending`` saw that it cannot have seen."""
    if offending.op == "append":
        return (
            f"a list was read in which {offending.value!r} is missing, or stands behind something "
            "that was asked for only after it had been acknowledged"
        )
    found = _REASONS[model](operations, offending) if offending.op in ("read", "cas") else None
    return found or "no order of these operations explains what was seen"


def _register_reason(operations: Sequence[Operation], offending: Operation) -> str | None:
    wanted = offending.result if offending.op == "read" else offending.expected
    given = {plain(each.value) for each in operations if each.op != "read" and each.ok is not False}
    if is_refused(offending):
        return f"it was refused, and nothing but {wanted!r} can have been there"
    if wanted is not None and plain(wanted) not in given:
        return f"it saw {wanted!r}, which nothing that can have taken effect wrote"
    return f"{wanted!r} was not yet there, or no longer"


def _append_reason(operations: Sequence[Operation], offending: Operation) -> str | None:
    found = [plain(value) for value in offending.result or []]
    appended = Counter(plain(each.value) for each in operations if each.op == "append")
    for value, times in Counter(found).items():
        if times > appended[value]:
            return f"it saw {value[1]!r} {times} times, which was appended {appended[value]} times"
    lists = [
        [plain(value) for value in each.result or []] for each in operations if each.op == "read"
    ]
    if any(a != b for each in lists for a, b in zip(found, each, strict=False)):
        return "two reads saw different orders"
    lost = [
        each.value
        for each in operations
        if each.op == "append"
        and each.ok
        and each.returned is not None
        and each.returned < offending.call
        and plain(each.value) not in found
    ]
    if lost:
        return f"it did not see {lost[0]!r}, acknowledged before it was asked"
    return "what it saw was not yet there, or more was there already"


def _counter_reason(operations: Sequence[Operation], offending: Operation) -> str | None:
    adds = [each for each in operations if each.op == "add"]
    if not isinstance(offending.result, int) or any(each.value < 0 for each in adds):
        return None
    most = sum(each.value for each in adds)
    least = sum(
        each.value
        for each in adds
        if each.ok and each.returned is not None and each.returned < offending.call
    )
    if offending.result > most:
        return f"it saw {offending.result}; all that can have been added is {most}: applied twice"
    if offending.result < least:
        return f"it saw {offending.result}; {least} had been acknowledged before it was asked"
    return None


def _bank_reason(operations: Sequence[Operation], offending: Operation) -> str | None:
    opening = opening_of(operations)
    found = offending.result
    if not isinstance(found, dict) or found.keys() != opening.keys():
        return "it does not show the accounts that were opened"
    total = sum(opening.values())
    if sum(found.values()) != total:
        return f"it saw part of a transfer: the sum is {sum(found.values())} and not {total}"
    return "no set of transfers leads to these balances"


_REASONS: Final[dict[str, Callable[[Sequence[Operation], Operation], str | None]]] = {
    "register": _register_reason,
    "append": _append_reason,
    "counter": _counter_reason,
    "bank": _bank_reason,
}
