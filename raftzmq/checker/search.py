"""Is there an order? The search that all models share.

A history is linearizable when its operations can be put in one order that the model explains and
that keeps real time: an operation that returned before another was called comes first (Herlihy
and Wing 1990). The search walks through calls and returns in time and puts an operation in the
order only when it must, at its return (just-in-time linearization: Lowe 2017, after Wing and Gong
1993), and never visits the same configuration twice (the memory of Lowe and of porcupine).

Three rules keep it small, each without losing an order if there is one:

* An operation that only observes takes its place at once when the state agrees: it changes
  nothing, and later its state may be gone.
* Of operations with equal effect that are open, the one that returns first is put first: the two
  can be swapped in any order that has it otherwise.
* What is put before the operation that must be placed now is only what a model says can help
  (``Problem.moves``).
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterator
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from raftzmq.checker.history import Operation

State = TypeVar("State", bound=Hashable)


class Exhausted(Exception):
    """More was visited than was allowed."""


@dataclass(slots=True)
class Work:
    """How much may be visited, and how much was; no clock, so that a verdict can be repeated."""

    most: int
    done: int = 0

    def add(self, amount: int) -> None:
        """Raises:
        Exhausted: that was more than allowed.
        """
        self.done += amount
        if self.done > self.most:
            raise Exhausted


@dataclass(frozen=True, slots=True)
class Move(Generic[State]):
    """Operations that take their place next, in any order, and the state after them."""

    state: State
    placed: tuple[int, ...]


class Problem(Protocol[State]):
    """The operations on one key, numbered, as a model sees them.

    Attributes:
        operations: by number.
        events: (number, is its return), in time; where two are at the same time calls come first,
            so that operations which touch are taken as concurrent. What has no return may take
            its place at any time after its call, or never.
        observer: by number: it changes nothing.
        initial: the state at the start.
    """

    operations: list[Operation]
    events: list[tuple[int, bool]]
    observer: list[bool]
    initial: State

    def agrees(self, number: int, state: State) -> bool:
        """Whether this observer can have seen this state."""
        ...

    def moves(
        self,
        state: State,
        forced: int,
        updates: Collection[int],
        observers: Collection[int],
        event: int,
        work: Work,
    ) -> Iterator[Move[State]]:
        """What may be placed next, most promising first; ``forced`` returns at ``event``.

        Args:
            updates: open operations that change the state, ``forced`` perhaps among them.
            observers: open operations that only observe; none agrees with ``state``.
        """
        ...


@dataclass(frozen=True, slots=True)
class Found:
    """The end of a search.

    Attributes:
        holds: None when the search was given up.
        furthest: the event that no way got past, when there is no order.
        visited: configurations.
    """

    holds: bool | None
    furthest: int
    visited: int


@dataclass(slots=True)
class _Branch(Generic[State]):
    event: int
    first: Move[State]
    rest: Iterator[Move[State]]
    updates: frozenset[int]
    observers: frozenset[int]


def search(problem: Problem[State], states_max: int) -> Found:
    """Look for an order.

    Args:
        problem: the operations on one key.
        states_max: configurations that may be visited.
    """
    work = Work(states_max)
    walk = _Walk(problem, work)
    try:
        holds: bool | None = walk.run()
    except Exhausted:
        holds = None
    return Found(holds, walk.furthest, work.done)


class _Walk(Generic[State]):
    def __init__(self, problem: Problem[State], work: Work) -> None:
        self._problem = problem
        self._work = work
        self._branches: list[_Branch[State]] = []
        self._seen: set[tuple[int, State, frozenset[int], frozenset[int]]] = set()
        self.furthest = -1

    def run(self) -> bool:
        updates: set[int] = set()
        observers: set[int] = set()
        if self._forward(0, self._problem.initial, updates, observers):
            return True
        while self._branches:
            branch = self._branches.pop()
            updates, observers = set(branch.updates), set(branch.observers)
            move = branch.first
            following = next(branch.rest, None)
            if following is not None:
                branch.first = following
                self._branches.append(branch)
            self._place(move, updates, observers)
            if self._forward(branch.event, move.state, updates, observers):
                return True
        return False

    def _forward(self, event: int, state: State, updates: set[int], observers: set[int]) -> bool:
        """Walk to the end, always by the first move; keep the others as branches."""
        problem = self._problem
        events, observer, agrees = problem.events, problem.observer, problem.agrees
        while event < len(events):
            number, is_return = events[event]
            if not is_return:
                if not observer[number]:
                    updates.add(number)
                elif not agrees(number, state):
                    observers.add(number)
                event += 1
                continue
            if number not in updates and number not in observers:
                event += 1
                continue
            # A configuration with many open operations costs more, and is counted as more.
            self._work.add(1 + (len(updates) + len(observers)) // 32)
            if self._branches:
                here = (event, state, frozenset(updates), frozenset(observers))
                if here in self._seen:
                    return False
                self._seen.add(here)
            moves = problem.moves(state, number, updates, observers, event, self._work)
            move = next(moves, None)
            if move is None:
                self.furthest = max(self.furthest, event)
                return False
            other = next(moves, None)
            if other is not None:
                # The generator reads the sets only before its first move; they change below.
                self._branches.append(
                    _Branch(event, other, moves, frozenset(updates), frozenset(observers))
                )
            state = move.state
            self._place(move, updates, observers)
        return True

    def _place(self, move: Move[State], updates: set[int], observers: set[int]) -> None:
        for number in move.placed:
            updates.discard(number)
        agreeing = [each for each in observers if self._problem.agrees(each, move.state)]
        observers.difference_update(agreeing)
