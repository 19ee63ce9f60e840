"""A list that is only appended to; a read returns all of it.

The longest list that was read says in which order things were appended, and what is not in it
came later than every read. So nothing is left to choose: what can be placed next is known, and
the search takes one step per operation.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from raftzmq.checker.events import in_time, return_times
from raftzmq.checker.history import Operation
from raftzmq.checker.search import Move, Work
from raftzmq.checker.values import plain


class AppendProblem:
    """See `raftzmq.checker.search.Problem`; the state is the length of the list."""

    def __init__(self, operations: Sequence[Operation]) -> None:
        lists: list[list[Any]] = [each.result or [] for each in operations if each.op == "read"]
        self._raw: list[Any] = max(lists, key=len, default=[])
        self._longest = [plain(each) for each in self._raw]
        seen = set(self._longest)
        self.operations = [
            each
            for each in operations
            if each.op == "read" or each.ok is True or plain(each.value) in seen
        ]
        self.observer = [each.op == "read" for each in self.operations]
        # A read that is not the beginning of the longest one agrees with no state.
        self._length = [
            self._agreed_length(each.result or []) if each.op == "read" else 0
            for each in self.operations
        ]
        self._value = [plain(each.value) for each in self.operations]
        self.events = in_time(self.operations)
        self._returns = return_times(self.operations)
        self.initial = 0

    def _agreed_length(self, found: list[Any]) -> int:
        # Lists add up to millions of elements: they are compared as they came from JSON.
        if found != self._raw[: len(found)]:
            return -1
        return len(found)

    def agrees(self, number: int, state: int) -> bool:
        return self._length[number] == state

    def moves(
        self,
        state: int,
        forced: int,
        updates: Collection[int],
        observers: Collection[int],
        event: int,
        work: Work,
    ) -> Iterator[Move[int]]:
        if self.observer[forced] and self._length[forced] < state:
            return
        if state >= len(self._longest):
            if not self.observer[forced]:
                yield Move(state + 1, (forced,))
            return
        wanted = self._longest[state]
        fitting = [each for each in updates if self._value[each] == wanted]
        if fitting:
            first = min(fitting, key=lambda each: (self._returns[each], each))
            yield Move(state + 1, (first,))
