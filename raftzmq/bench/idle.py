"""What the processes of a cluster use while nobody asks anything of them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from rich.table import Table

from raftzmq.errors import Unavailable
from raftzmq.observe.cost import cpu_seconds, times_waited

SETTLE_S: Final = 5.0
"""After a start: an election, greetings, the first looks at who comes in."""


@dataclass(frozen=True, slots=True)
class IdleProcess:
    """One process over the measured time.

    Attributes:
        percent: of one processor, its parts of user and kernel together.
        wakes_per_s: how often its threads went to sleep, all together.
    """

    name: str
    percent: float
    wakes_per_s: float


@dataclass(frozen=True, slots=True)
class IdleReport:
    """All processes over the measured time."""

    seconds: float
    processes: tuple[IdleProcess, ...]

    @property
    def percent(self) -> float:
        """Of one processor, all processes together."""
        return sum(each.percent for each in self.processes)

    def as_dict(self) -> dict[str, Any]:
        """For --json."""
        return {**asdict(self), "percent": self.percent}


def measure_idle(pids: Mapping[str, int], *, settle_s: float, seconds: float) -> IdleReport:
    """Leave ``pids`` alone for ``settle_s``, then see what they use in ``seconds``.

    Raises:
        Unavailable: one of them ended meanwhile.
    """
    time.sleep(settle_s)
    before = {name: _spent(name, pid) for name, pid in pids.items()}
    began_s = time.monotonic()
    time.sleep(seconds)
    passed_s = time.monotonic() - began_s
    after = {name: _spent(name, pid) for name, pid in pids.items()}
    return IdleReport(
        passed_s,
        tuple(
            IdleProcess(
                name,
                100 * (after[name][0] - before[name][0]) / passed_s,
                (after[name][1] - before[name][1]) / passed_s,
            )
            for name in pids
        ),
    )


def show_idle(report: IdleReport) -> Table:
    """For people."""
    table = Table(
        title=f"idle for {report.seconds:.0f} s: {report.percent:.2f} % of one processor",
        title_justify="left",
        box=None,
        padding=(0, 2, 0, 0),
    )
    table.add_column("process", no_wrap=True)
    for name in ("% of a processor", "wake-ups/s"):
        table.add_column(name, justify="right", no_wrap=True)
    for each in report.processes:
        table.add_row(each.name, f"{each.percent:.2f}", f"{each.wakes_per_s:.0f}")
    return table


def _spent(name: str, pid: int) -> tuple[float, int]:
    cpu_s, waited = cpu_seconds(pid), times_waited(pid)
    if cpu_s is None or waited is None:
        raise Unavailable(f"{name} (process {pid}) ended while it was watched")
    return cpu_s, waited
