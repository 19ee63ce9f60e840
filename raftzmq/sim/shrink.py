"""Makes a failing run smaller: fewer steps, fewer faults, quiet links, the same failure.

Delta debugging over the faults that fired (Zeller and Hildebrandt, 2002), bounded by runs.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from raftzmq.sim.run import Result, run
from raftzmq.sim.world import Options

RUNS_MAX: Final = 60


class _Search:
    def __init__(self, failed: Result) -> None:
        self.best = failed
        self.runs = 0

    def try_out(self, options: Options) -> bool:
        """Whether the same still fails; then it is the best."""
        if self.runs >= RUNS_MAX:
            return False
        self.runs += 1
        found = run(options)
        if (found.verdict, found.name) != (self.best.verdict, self.best.name):
            return False
        self.best = found
        return True


def shrink(failed: Result) -> Result:
    """The smallest run that was found to fail like ``failed``."""
    search = _Search(failed)
    if failed.steps < failed.options.steps:
        search.try_out(replace(failed.options, steps=failed.steps))
    search.try_out(replace(search.best.options, quiet=True))
    _leave_out(search)
    if search.best.steps < search.best.options.steps:
        search.try_out(replace(search.best.options, steps=search.best.steps))
    return search.best


def _leave_out(search: _Search) -> None:
    chunk = max(1, len(search.best.counts.fired) // 2)
    while True:
        fired = sorted(search.best.counts.fired)
        dropped = False
        for start in range(0, len(fired), chunk):
            options = search.best.options
            without = options.without | frozenset(fired[start : start + chunk])
            dropped |= search.try_out(replace(options, without=without))
        if chunk == 1 and not dropped:
            return
        if search.runs >= RUNS_MAX:
            return
        chunk = max(1, chunk // 2)
