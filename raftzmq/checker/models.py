"""What operations mean: register, append-list, bank, counter.

| model    | operations                                                                   |
|----------|------------------------------------------------------------------------------|
| register | read: result; write: value; cas: expected, value, result false when refused  |
| append   | append: value; read: result is the whole list                                |
| counter  | add: value, a whole number; read: result is the sum of all that was added    |
| bank     | open: value {account: balance}; transfer: value {from, to, amount};          |
|          | read: result {account: balance} of all accounts. The key is the whole ledger |

A register holds null at the start, a list nothing, a counter 0. A ledger begins with one ``open``
that succeeded before anything else was asked. A transfer that was refused for want of money is
one that did not take effect (``ok`` false): accounts may become negative here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from raftzmq.checker.append_list import AppendProblem
from raftzmq.checker.history import HistoryUnreadable, Operation
from raftzmq.checker.register import RegisterProblem
from raftzmq.checker.search import Problem
from raftzmq.checker.sums import SumsProblem, Vector


def counter_problem(operations: Sequence[Operation]) -> SumsProblem:
    """Raises:
    HistoryUnreadable: something added is not a whole number.
    """
    return SumsProblem(
        operations,
        [(_whole(each, each.value),) if each.op == "add" else (0,) for each in operations],
        [
            (each.result,) if each.op == "read" and _is_whole(each.result) else None
            for each in operations
        ],
        (0,),
    )


def bank_problem(operations: Sequence[Operation]) -> SumsProblem:
    """Raises:
    HistoryUnreadable: there is not exactly one ``open`` before all else, or a transfer or
        its accounts make no sense.
    """
    opening = opening_of(operations)
    accounts = sorted(opening)
    place = {account: number for number, account in enumerate(accounts)}

    def effect(operation: Operation) -> Vector:
        parts = [0] * len(accounts)
        if operation.op == "transfer":
            source, target, amount = _transfer(operation, place)
            parts[source] -= amount
            parts[target] += amount
        return tuple(parts)

    def seen(operation: Operation) -> Vector | None:
        found = operation.result
        if operation.op != "read" or not isinstance(found, dict) or found.keys() != place.keys():
            return None
        if not all(_is_whole(balance) for balance in found.values()):
            return None
        return tuple(found[account] for account in accounts)

    rest = [each for each in operations if each.op != "open"]
    return SumsProblem(
        rest,
        [effect(each) for each in rest],
        [seen(each) for each in rest],
        tuple(opening[account] for account in accounts),
    )


def opening_of(operations: Sequence[Operation]) -> Mapping[str, int]:
    """The balances a ledger was opened with.

    Raises:
        HistoryUnreadable: there is not exactly one ``open`` before all else.
    """
    opens = [each for each in operations if each.op == "open"]
    if len(opens) != 1 or opens[0].ok is not True or opens[0].returned is None:
        raise HistoryUnreadable(
            f'ledger {operations[0].key!r}: a history of a ledger has one "open" that succeeded, '
            f"with the balances it begins with, and this one has {len(opens)}"
        )
    (first,) = opens
    opened = first.returned or 0
    if any(each.call <= opened for each in operations if each is not first):
        raise HistoryUnreadable(
            f'ledger {first.key!r}: something was asked before "open" had returned'
        )
    if not isinstance(first.value, dict) or not all(_is_whole(v) for v in first.value.values()):
        raise HistoryUnreadable(
            f"ledger {first.key!r} is opened with {first.value!r}; "
            "it should be {account: whole number}"
        )
    return first.value


def _transfer(operation: Operation, place: Mapping[str, int]) -> tuple[int, int, int]:
    asked = operation.value
    try:
        return (
            place[str(asked["from"])],
            place[str(asked["to"])],
            _whole(operation, asked["amount"]),
        )
    except (KeyError, TypeError) as error:
        raise HistoryUnreadable(
            f"ledger {operation.key!r}: transfer {asked!r} has no from, to and amount of "
            "accounts that were opened"
        ) from error


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _whole(operation: Operation, value: Any) -> int:
    if not _is_whole(value):
        raise HistoryUnreadable(f"{operation.op} of {value!r} to {operation.key!r}: not a number")
    return int(value)


PROBLEMS: Final[Mapping[str, Callable[[Sequence[Operation]], Problem[Any]]]] = {
    "register": RegisterProblem,
    "append": AppendProblem,
    "counter": counter_problem,
    "bank": bank_problem,
}
"""By model: the operations on one key, as the search wants them."""

OPERATIONS: Final[Mapping[str, frozenset[str]]] = {
    "register": frozenset({"read", "write", "cas"}),
    "append": frozenset({"read", "append"}),
    "counter": frozenset({"read", "add"}),
    "bank": frozenset({"read", "transfer", "open"}),
}
