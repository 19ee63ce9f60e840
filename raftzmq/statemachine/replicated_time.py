"""What time it is while an entry is applied: a function of the clocks in the log alone.

Each entry carries the wall clock of the leader that made it, and a wall clock may be wrong by
years, one leader's or after a repair (docs/decisions/007-replicated-time.md).
"""

from __future__ import annotations

from typing import Final, NamedTuple

STEP_MS_MAX: Final = 60_000
"""Between two entries a clock that moves by more was set, belongs to another machine, or nobody
wrote for a while. Part of the log's format: the same on every replica."""


class ReplicatedTime(NamedTuple):
    """The time after an entry.

    Attributes:
        sql_ms: what ``now`` means in SQL, milliseconds since 1970 UTC.
        leader_ms: the clock in the entry itself.
        elapsed_ms: time that surely passed, by which the ledger forgets: no single step of a
            clock counts for more than STEP_MS_MAX.
    """

    sql_ms: int = 0
    leader_ms: int = 0
    elapsed_ms: int = 0

    def after(self, leader_ms: int) -> ReplicatedTime:
        """The time when the next entry carries ``leader_ms``."""
        step_ms = leader_ms - self.leader_ms
        behind_ms = self.sql_ms - leader_ms
        # A leader that is a little behind the one before lets time stand still. One far behind
        # is right, or the one before was: to wait for it could take years.
        held = 0 < behind_ms <= STEP_MS_MAX
        return ReplicatedTime(
            self.sql_ms if held else leader_ms,
            leader_ms,
            self.elapsed_ms + min(max(step_ms, 0), STEP_MS_MAX),
        )
