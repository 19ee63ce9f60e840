"""Which entries are applied in much less than a tick, whoever applies them.

Waking the applier for a lone write, and being woken by it, takes longer than to apply the write
(docs/decisions/014). What is decided here must therefore hold without running anything: few and
small requests of the kind in ``lone_inserts``, by a text that ran before, with little to forget
in the ledgers. What it cannot know is how long the disk takes for a page, and what the
expressions of a schema cost; the host measures that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from raftzmq.statemachine.bounds import ApplyLimits
from raftzmq.statemachine.command import Command, CommandFlags
from raftzmq.statemachine.exactly_once import ExactlyOnce
from raftzmq.statemachine.replicated_time import ReplicatedTime

SHORT_BYTES_MAX: Final = 32 << 10
"""Of the entries together."""
SHORT_REQUESTS_MAX: Final = 32
"""More of them keep the applier busy for several times as long as it takes to wake it, and beside
it this thread can do the next fsync."""


def is_short(
    commands: Sequence[Command],
    limits: ApplyLimits,
    time: ReplicatedTime,
    once: ExactlyOnce,
    runs_short: Callable[[bytes], bool],
) -> bool:
    """Whether ``commands`` are quickly applied.

    Args:
        commands: of the entries, in log order; SHORT_BYTES_MAX bytes together at most.
        limits: in force; other ones would have the connection opened anew.
        time: after the last applied entry.
        once: the ledgers.
        runs_short: whether a payload is one statement that runs quickly.
    """
    requests = 0
    for command in commands:
        requests += len(command.requests)
        if (
            requests > SHORT_REQUESTS_MAX
            or command.limits != limits
            or command.flags & CommandFlags.NO_FOREIGN_KEYS
        ):
            return False
        time = time.after(command.clock_ms)
    if commands and once.has_much_to_forget(time.elapsed_ms, limits):
        return False
    return all(runs_short(request.payload) for command in commands for request in command.requests)
