"""One run from its options to a verdict."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Final

from raftzmq.checker.invariants import Violation
from raftzmq.invariants import InvariantBroken
from raftzmq.sim.trace import Trace
from raftzmq.sim.world import Counts, LivenessFailed, Options, World, temporary_root

RECOVER_US: Final = 60_000_000
"""Virtual time in which a cluster without faults must have come to rest, and served. Twelve times
what a replica needs to be found different, rebuilt and compared again."""
ACKNOWLEDGED_LEAST: Final = 5
"""A run with fewer operations proves nothing."""


class Verdict(Enum):
    """How a run ended."""

    GOOD = "good"
    CRASH = "crash"
    LIVENESS = "liveness"
    SAFETY = "safety"


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a run.

    Attributes:
        options: of the run.
        verdict: how it ended.
        name: of the violated invariant, or of what crashed; empty when good.
        detail: the facts.
        events: noted in the trace.
        steps: events of the schedule.
        hash: of the trace.
        counts: what happened.
        done: operations that succeeded, by kind.
        failed: operations that did not, by outcome.
        tail: the last lines of the trace.
        virtual_us: how long it took, in virtual time.
    """

    options: Options
    verdict: Verdict
    name: str
    detail: str
    events: int
    steps: int
    hash: str
    counts: Counts
    done: dict[str, int] = field(default_factory=dict)
    failed: dict[str, int] = field(default_factory=dict)
    tail: tuple[str, ...] = ()
    virtual_us: int = 0

    @property
    def acknowledged(self) -> int:
        """Operations that succeeded."""
        return sum(self.done.values())


def run(options: Options, *, keep_lines: int | None = 60, within: Path | None = None) -> Result:
    """Run a seed in a folder of its own, ``within`` another if that is given."""
    with temporary_root(within) as root:
        return _run(options, Path(root), keep_lines)


def _run(options: Options, root: Path, keep_lines: int | None) -> Result:
    trace = Trace(keep_lines)
    world = World(options, root, trace)
    verdict, name, detail = Verdict.GOOD, "", ""
    try:
        world.begin()
        for _ in range(options.steps):
            world.step()
        _recover(world)
        world.judge_end()
        if sum(world.workload.done.values()) < ACKNOWLEDGED_LEAST:
            raise LivenessFailed(f"only {world.workload.done} was done")
    except Violation as violation:
        verdict, name, detail = Verdict.SAFETY, violation.name, str(violation)
    except LivenessFailed as failed:
        verdict, name, detail = Verdict.LIVENESS, "liveness", str(failed)
    except InvariantBroken as broken:
        verdict, name, detail = Verdict.CRASH, "invariant-broken", _told(broken)
    except Exception as error:  # noqa: BLE001 - whatever a host would not survive
        verdict, name, detail = Verdict.CRASH, type(error).__name__, _told(error)
    finally:
        world.close()
    return Result(
        options,
        verdict,
        name,
        detail,
        trace.events,
        world.schedule.steps,
        trace.digest(),
        world.counts,
        world.workload.done,
        world.workload.failed,
        tuple(trace.lines),
        world.schedule.now,
    )


def _told(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    places = " < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames[::-1])
    return f"{type(error).__name__}: {error} ({places})"


def _recover(world: World) -> None:
    """The faults are over: everybody is answered, and all replicas become equal."""
    world.end_faults()
    until = world.schedule.now + RECOVER_US
    _until(world, until, lambda: "" if world.workload.is_set_up else "no write was ever done")
    world.workload.stopping = True
    _until(world, until, lambda: "" if world.workload.idle else "operations have no answer")
    clients = list(world.clients.values())

    def probe() -> str:
        """Each client gets a write through."""
        missing = []
        for client in clients:
            if world.workload.last_done(client) < started:
                missing.append(client.name)
                world.workload.begin(client, "write")
        return f"{', '.join(missing)} cannot write" if missing else ""

    started = world.schedule.now
    _until(world, until, probe)
    _until(world, until, world.unsettled)


def _until(world: World, until: int, why_not: Callable[[], str]) -> None:
    why = why_not()
    while why:
        if world.schedule.now > until:
            raise LivenessFailed(why)
        for _ in range(20):
            world.step()
        why = why_not()
