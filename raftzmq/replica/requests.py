"""What waits for consensus: writes for their entry, reads for an applied index. Pure.

A token is whatever the host wants back; this module never looks at it.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

from raftzmq.raft.types import LogPosition

Token = TypeVar("Token")

FORGET_ABOVE = 1000


class _Waiting(NamedTuple, Generic[Token]):
    """One proposal between the leader's log and its result."""

    position: LogPosition
    token: Token


class Resolved(NamedTuple, Generic[Token]):
    """What one applied entry says about the proposals up to its index.

    Attributes:
        done: the proposal whose entry this is, if any.
        overwritten: the proposal that stood at this index in another term: its place is taken
            for good, so it was certainly never executed.
        passed: proposals at lower indexes whose results were never seen here, because a
            snapshot covered them: they may have been executed.
    """

    done: Token | None
    overwritten: Token | None
    passed: list[Token]


class PendingWrites(Generic[Token]):
    """Proposals in log order, each resolved once: by its result, or as lost."""

    def __init__(self) -> None:
        self._waiting: deque[_Waiting[Token]] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, position: LogPosition, token: Token) -> None:
        """Remember a proposal that the leader appended at ``position``."""
        self._waiting.append(_Waiting(position, token))

    def applied(self, index: int, term: int) -> Resolved[Token]:
        """The entry (index, term) was applied: resolve the proposals up to ``index``."""
        done: Token | None = None
        overwritten: Token | None = None
        passed: list[Token] = []
        while self._waiting and self._waiting[0].position.index <= index:
            waiting = self._waiting.popleft()
            if waiting.position == LogPosition(index, term):
                done = waiting.token
            elif waiting.position.index == index:
                overwritten = waiting.token
            else:
                passed.append(waiting.token)
        return Resolved(done, overwritten, passed)

    def lost(self, commit_index: int) -> list[Token]:
        """Leadership is gone: what is above ``commit_index`` may or may not survive.

        Committed proposals stay, their results are on the way. Returns the forgotten tokens.
        """
        tokens = []
        while self._waiting and self._waiting[-1].position.index > commit_index:
            tokens.append(self._waiting.pop().token)
        tokens.reverse()
        return tokens


class PendingReads(Generic[Token]):
    """Reads that wait for their read index, then for the applied index to reach it."""

    def __init__(self) -> None:
        self._by_context: dict[int, Token] = {}
        self._by_index: list[tuple[int, int, Token]] = []
        self._counter = 0
        self._forget_above = FORGET_ABOVE

    def __len__(self) -> int:
        return len(self._by_context) + len(self._by_index)

    @property
    def awaits_applied(self) -> bool:
        """Whether a read waits for the applied index, and not for its read index."""
        return bool(self._by_index)

    def ask(self, token: Token) -> int:
        """Register a linearizable read; returns the context to ask Raft with."""
        self._counter += 1
        self._by_context[self._counter] = token
        return self._counter

    def answered(self, context: int, index: int | None) -> Token | None:
        """Raft named the read index; returns the token if the read was refused instead."""
        token = self._by_context.pop(context, None)
        if token is None:
            return None
        if index is None:
            return token
        self.wait(index, token)
        return None

    def wait(self, index: int, token: Token) -> None:
        """Hold ``token`` until applied_index >= ``index``."""
        self._counter += 1
        heapq.heappush(self._by_index, (index, self._counter, token))

    def ready(self, applied_index: int) -> list[Token]:
        """Take out all reads that ``applied_index`` satisfies, oldest index first."""
        tokens = []
        while self._by_index and self._by_index[0][0] <= applied_index:
            tokens.append(heapq.heappop(self._by_index)[2])
        return tokens

    def take_waiting(self) -> list[Token]:
        """Take out all reads that wait for the applied index, whatever it is."""
        waiting, self._by_index = self._by_index, []
        return [token for *_, token in waiting]

    def forget(self, done: Callable[[Token], bool]) -> None:
        """Drop waiting reads that are ``done``: nobody else would ever take out one whose index
        is beyond all that will be applied. Cheap unless many have gathered since the last time.
        """
        if len(self._by_index) > self._forget_above:
            self._by_index = [waiting for waiting in self._by_index if not done(waiting[2])]
            heapq.heapify(self._by_index)
            self._forget_above = 2 * len(self._by_index) + FORGET_ABOVE
