"""Linearizability by trying every order: the twin that is too simple to be wrong."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from raftzmq.checker.history import Operation


def is_linearizable(model: str, operations: Sequence[Operation]) -> bool:
    """Try each order of what took effect, with each choice of what may have."""
    judged = [
        each for each in operations if each.ok is True or (each.ok is None and each.op != "read")
    ]
    start: Any = {"register": None, "append": [], "counter": 0, "bank": {}}[model]
    return _try(judged, start)


def _end(each: Operation) -> float:
    return math.inf if each.ok is None or each.returned is None else each.returned


def _try(left: list[Operation], state: Any) -> bool:
    if all(each.ok is None for each in left):
        return True
    for number, each in enumerate(left):
        if any(_end(other) < each.call for other in left):
            continue
        fits, after = _apply(each, state)
        if fits and _try(left[:number] + left[number + 1 :], after):
            return True
    return False


def _apply(each: Operation, state: Any) -> tuple[bool, Any]:
    if each.op == "read":
        seen = each.result
        if isinstance(state, list):
            seen = seen or []
        return seen == state, state
    if each.op == "write":
        return True, each.value
    if each.op == "cas":
        if each.ok is True and each.result is False:
            return state != each.expected, state
        return state == each.expected, each.value
    if each.op == "append":
        return True, [*state, each.value]
    if each.op == "add":
        return True, state + each.value
    if each.op == "open":
        return True, dict(each.value)
    after = dict(state)
    after[each.value["from"]] -= each.value["amount"]
    after[each.value["to"]] += each.value["amount"]
    return True, after
