"""A register: read, write, compare-and-set; what can help to explain the next operation.

A write that nobody sees can be hidden directly before another write. So a write needs a place of
its own only when an operation that is open sees it, or when it returns and nothing was written
since it was called; and a write with unknown outcome that nobody sees need not have happened.

Where a value has only one write, the value cannot come back: it must stay until all who are known
to have seen it had their turn, and it cannot be hidden when somebody saw it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from typing import Final

from raftzmq.checker.events import in_time, return_times
from raftzmq.checker.history import Operation
from raftzmq.checker.search import Move, Work
from raftzmq.checker.values import Plain, plain

State = tuple[Plain, int]
"""The value, and the event at which the last plain write was placed (-1: none)."""

_UNSEEN: Final = ("unseen", "")
_READ, _WRITE, _SET, _REFUSED = range(4)
_GIVING: Final = (_WRITE, _SET)


def is_refused(operation: Operation) -> bool:
    """A compare-and-set that answered that it found something else."""
    return operation.op == "cas" and operation.ok is True and operation.result is False


class RegisterProblem:
    """See `raftzmq.checker.search.Problem`; the register holds null at the start."""

    def __init__(self, operations: Sequence[Operation]) -> None:
        seen = {plain(each.result) for each in operations if each.op == "read"}
        seen |= {plain(each.expected) for each in operations if each.op == "cas"}
        refusals = any(is_refused(each) for each in operations)
        # Nobody can tell whether such a write happened: but for one who was refused since it did.
        self.operations = [
            each
            for each in operations
            if refusals or not _is_never_seen(each, seen) or each.ok is True
        ]
        self.kind: list[int] = []
        self.wants: list[Plain] = []
        self.gives: list[Plain] = []
        for each in self.operations:
            given = plain(each.value)
            # Values that nobody asks for are all the same to everybody.
            self.gives.append(given if given in seen else _UNSEEN)
            self.wants.append(plain(each.result if each.op == "read" else each.expected))
            self.kind.append(_kind(each))
        self.observer = [kind in (_READ, _REFUSED) for kind in self.kind]
        self.initial: State = (plain(None), -1)
        self.returns = return_times(self.operations)
        self.events = in_time(self.operations)
        makers = Counter(
            given for given, kind in zip(self.gives, self.kind, strict=True) if kind in _GIVING
        )
        makers[self.initial[0]] += 1
        self._comes_once = {given for given, times in makers.items() if times == 1}
        self._seen_from: dict[Plain, int] = {}
        self._called_at = [0] * len(self.operations)
        self._wanted_until: dict[Plain, int] = {}
        self._refused_until = -1
        for event, (number, is_return) in enumerate(self.events):
            if not is_return:
                self._called_at[number] = event
                if self.operations[number].ok is True and self.kind[number] in (_READ, _SET):
                    self._seen_from[self.wants[number]] = event
                if self.operations[number].ok is None and self.kind[number] == _SET:
                    self._wanted_until[self.wants[number]] = len(self.events)
            elif self.kind[number] == _REFUSED:
                self._refused_until = event
            elif self.kind[number] != _WRITE:
                last = self._wanted_until.get(self.wants[number], -1)
                self._wanted_until[self.wants[number]] = max(last, event)

    def agrees(self, number: int, state: State) -> bool:
        return (self.wants[number] == state[0]) is (self.kind[number] == _READ)

    def moves(
        self,
        state: State,
        forced: int,
        updates: Collection[int],
        observers: Collection[int],
        event: int,
        work: Work,
    ) -> Iterator[Move[State]]:
        value = state[0]
        # Who leaves a value that does not come back: nobody, one compare-and-set, or anybody.
        leaver: int | None = None
        if value in self._comes_once:
            stays = self._seen_from.get(value, -1) > event
            waiting = [
                each
                for each in updates
                if self.kind[each] == _SET
                and self.wants[each] == value
                and self.operations[each].ok is True
            ]
            if waiting or stays:
                leaver = waiting[0] if waiting and not stays and len(waiting) == 1 else -1
        helpful = self._helpful(value, forced, updates, observers)
        for move in self._candidates(state, forced, helpful, event):
            work.add(1)
            if leaver is None or move.state[0] == value or move.placed == (leaver,):
                yield move

    def _candidates(
        self, state: State, forced: int, helpful: list[int], event: int
    ) -> Iterator[Move[State]]:
        value, written_at = state
        if self.kind[forced] == _WRITE:
            given = self.gives[forced]
            seen_until = self._wanted_until.get(given, -1)
            shown = Move((given, event), (forced,))
            hidden = Move(state, (forced,))
            if self._called_at[forced] >= written_at:
                yield shown
            elif seen_until > event:
                yield shown
                if given not in self._comes_once or given not in self._seen_from:
                    yield hidden
            else:
                yield hidden
                if self._refused_until > event:
                    yield shown
        elif self.kind[forced] == _SET and self.wants[forced] == value:
            yield Move((self.gives[forced], written_at), (forced,))
        for number in helpful:
            at = event if self.kind[number] == _WRITE else written_at
            yield Move((self.gives[number], at), (number,))

    def _helpful(
        self, value: Plain, forced: int, updates: Collection[int], observers: Collection[int]
    ) -> list[int]:
        """Open updates that an open operation can see, and compare-and-sets that fit now."""
        wanted = {self.wants[each] for each in observers if self.kind[each] == _READ}
        wanted |= {self.wants[each] for each in updates if self.kind[each] == _SET}
        refusing = any(self.kind[each] == _REFUSED for each in observers)
        best: dict[tuple[int, Plain], int] = {}
        for each in updates:
            kind, given = self.kind[each], self.gives[each]
            if each == forced or (kind == _SET and self.wants[each] != value):
                continue
            must_be_seen = kind == _WRITE or self.operations[each].ok is None
            if must_be_seen and given not in wanted and not (refusing and given != value):
                continue
            rival = best.get((kind, given))
            if rival is None or self._order(each) < self._order(rival):
                best[kind, given] = each
        first = self.wants[forced]
        return sorted(
            best.values(), key=lambda each: (self.gives[each] != first, self._order(each))
        )

    def _order(self, number: int) -> tuple[float, int]:
        return self.returns[number], number


def _kind(operation: Operation) -> int:
    if operation.op == "read":
        return _READ
    if operation.op == "write":
        return _WRITE
    return _REFUSED if is_refused(operation) else _SET


def _is_never_seen(operation: Operation, seen: set[Plain]) -> bool:
    return operation.op != "read" and plain(operation.value) not in seen
