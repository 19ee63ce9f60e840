"""Models whose updates add up: a counter, and a ledger of accounts.

The order of updates between two reads does not matter, only which of them came before each read.
So updates are placed when they return, or together, as a set that leads exactly to what an open
read saw.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from raftzmq.checker.events import in_time, return_times
from raftzmq.checker.history import Operation
from raftzmq.checker.search import Move, Work

Vector = tuple[int, ...]


class SumsProblem:
    """See `raftzmq.checker.search.Problem`; the state is the sum so far.

    Args:
        operations: updates and reads.
        effects: by number, what an update adds; anything for a read.
        seen: by number, the sum that a read saw; None for one that no sum can be, and for updates.
        initial: the sum at the start.
    """

    def __init__(
        self,
        operations: Sequence[Operation],
        effects: Sequence[Vector],
        seen: Sequence[Vector | None],
        initial: Vector,
    ) -> None:
        self.operations = list(operations)
        self.observer = [each.op == "read" for each in operations]
        self.initial = initial
        self.events = in_time(operations)
        self._effects = effects
        self._seen = seen
        self._returns = return_times(operations)
        updates = [each for number, each in enumerate(effects) if not self.observer[number]]
        self._only_grows = all(part >= 0 for each in updates for part in each)

    def agrees(self, number: int, state: Vector) -> bool:
        return self._seen[number] == state

    def moves(
        self,
        state: Vector,
        forced: int,
        updates: Collection[int],
        observers: Collection[int],
        event: int,
        work: Work,
    ) -> Iterator[Move[Vector]]:
        targets = {seen for each in observers if (seen := self._seen[each]) is not None}
        plain: list[Move[Vector]] = []
        if self.observer[forced]:
            if self._seen[forced] not in targets:
                return
        else:
            plain.append(Move(_plus(state, self._effects[forced]), (forced,)))
        classes = self._classes(updates)
        if self._only_grows:
            if any(_is_passed(state, target) for target in targets):
                return
            # Here waiting is always possible and passing an open read is not.
            if plain and not any(_is_passed(plain[0].state, target) for target in targets):
                yield plain.pop()
            elif plain:
                plain.pop()
        for target in sorted(targets, key=lambda each: (_distance(state, each), each)):
            wanted = _minus(target, state)
            for placed in _subsets(wanted, classes, work):
                yield Move(target, placed)
        yield from plain

    def _classes(self, updates: Collection[int]) -> list[tuple[Vector, list[int]]]:
        """Open updates by what they add; the first to return first."""
        found: dict[Vector, list[int]] = {}
        for each in sorted(updates, key=lambda each: (self._returns[each], each)):
            if any(self._effects[each]):
                found.setdefault(self._effects[each], []).append(each)
        return list(found.items())


def _subsets(
    wanted: Vector, classes: list[tuple[Vector, list[int]]], work: Work
) -> Iterator[tuple[int, ...]]:
    """Each set of updates that adds up to ``wanted``, one of each kind of equal ones.

    What is left must stay within what the classes not yet decided can still add; classes that
    touch the same parts are decided one after the other, so that a part is soon final.
    """
    ordered = sorted(classes, key=lambda each: tuple(part == 0 for part in each[0]))
    least: list[Vector] = [_zero_like(wanted)]
    most: list[Vector] = [_zero_like(wanted)]
    for effect, members in reversed(ordered):
        least.append(_plus(least[-1], tuple(min(part, 0) * len(members) for part in effect)))
        most.append(_plus(most[-1], tuple(max(part, 0) * len(members) for part in effect)))
    least.reverse()
    most.reverse()
    # A loop and not a recursion: there are as many classes as operations with unknown outcome.
    counts = [0] * len(ordered)
    left = [wanted]
    depth = 0
    while True:
        work.add(1)
        inside = all(
            low <= part <= high
            for low, part, high in zip(least[depth], left[depth], most[depth], strict=True)
        )
        if inside and depth < len(ordered):
            counts[depth] = 0
            left.append(left[depth])
            depth += 1
            continue
        if inside:
            yield tuple(
                number
                for count, (_, members) in zip(counts, ordered, strict=True)
                for number in members[:count]
            )
        while depth and counts[depth - 1] == len(ordered[depth - 1][1]):
            left.pop()
            depth -= 1
        if not depth:
            return
        counts[depth - 1] += 1
        left[depth] = _minus(left[depth], ordered[depth - 1][0])


def _zero_like(vector: Vector) -> Vector:
    return (0,) * len(vector)


def _plus(one: Vector, other: Vector) -> Vector:
    return tuple(a + b for a, b in zip(one, other, strict=True))


def _minus(one: Vector, other: Vector) -> Vector:
    return tuple(a - b for a, b in zip(one, other, strict=True))


def _distance(one: Vector, other: Vector) -> int:
    return sum(abs(a - b) for a, b in zip(one, other, strict=True))


def _is_passed(state: Vector, target: Vector) -> bool:
    return any(part > goal for part, goal in zip(state, target, strict=True))
