"""Many seeds on all processors, until the first one fails."""

from __future__ import annotations

import multiprocessing
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from raftzmq.sim.run import Result, Verdict, run
from raftzmq.sim.world import Options, temporary_root


@dataclass(slots=True)
class Tally:
    """What a campaign came to.

    Attributes:
        seeds: that passed.
        steps: events of their schedules.
        acknowledged: operations that succeeded.
        faults: kind -> how often it fired.
        failed: the first failure, if any.
    """

    seeds: int = 0
    steps: int = 0
    acknowledged: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    failed: Result | None = None

    def add(self, result: Result) -> bool:
        """Count a run; False when it failed."""
        self.steps += result.steps
        self.faults.update(result.counts.faults)
        self.acknowledged += result.acknowledged
        if result.verdict is not Verdict.GOOD:
            self.failed = result
            return False
        self.seeds += 1
        return True


def campaign(
    options: Options,
    seeds: Sequence[int],
    *,
    workers: int = 0,
    told: Callable[[Tally], bool] = lambda tally: True,
) -> Tally:
    """Run ``options`` with each of ``seeds``.

    Args:
        options: the seed in it is ignored.
        seeds: in the order in which they begin.
        workers: processes; 0: one per processor.
        told: called after each run; False ends the campaign.
    """
    tally = Tally()
    for result in _results(options, seeds, workers or os.cpu_count() or 1):
        if not tally.add(result) or not told(tally):
            break
    return tally


def _results(options: Options, seeds: Sequence[int], workers: int) -> Iterator[Result]:
    jobs = (replace(options, seed=seed) for seed in seeds)
    if workers == 1:
        yield from map(_quietly, jobs)
        return
    # Leaving the block ends the workers, whatever they are busy with; the folder around theirs
    # goes after them.
    with temporary_root() as root, multiprocessing.get_context("spawn").Pool(workers) as pool:
        job = partial(_quietly, within=Path(root))
        yield from pool.imap_unordered(job, jobs, chunksize=4)


def _quietly(options: Options, within: Path | None = None) -> Result:
    return run(options, keep_lines=30, within=within)
