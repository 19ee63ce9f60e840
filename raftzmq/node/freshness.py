"""How old the applied state may be, at worst: what level STALE promises a bound for.

Contact with the leader proves little: a process that was paused finds old heartbeats in its
sockets when it wakes, and what they commit is not applied yet. A read index proves it: all that
was acknowledged before it was asked for is in the state once that index is applied (thesis 6.4).

Time is the node's own monotonic clock in milliseconds, which runs on while the process is paused.
"""

from __future__ import annotations


class Freshness:
    """Follows the read indexes of one node from question to applied."""

    def __init__(self) -> None:
        self._asked: dict[int, int] = {}
        self._answered: list[tuple[int, int]] = []
        self._fresh_ms: int | None = None

    def asked(self, context: int, now_ms: int) -> None:
        """A read index is asked for; each is answered, if only by a refusal."""
        self._asked[context] = now_ms

    def answered(self, context: int, index: int | None) -> None:
        """The leader named the index; None: it was refused."""
        asked_ms = self._asked.pop(context, None)
        if asked_ms is not None and index is not None:
            self._answered.append((index, asked_ms))

    def applied(self, applied_index: int) -> None:
        """The state holds everything up to ``applied_index``."""
        if not self._answered:
            return
        waiting = []
        for index, asked_ms in self._answered:
            if index > applied_index:
                waiting.append((index, asked_ms))
            elif self._fresh_ms is None or asked_ms > self._fresh_ms:
                self._fresh_ms = asked_ms
        self._answered = waiting

    def within(self, max_age_ms: int, now_ms: int) -> bool:
        """Whether everything acknowledged up to ``max_age_ms`` ago is surely in the state."""
        return self._fresh_ms is not None and now_ms - self._fresh_ms <= max_age_ms
