"""The logs of all processes of a run, read back: lines in order of time."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from raftzmq.chaos.record import LogLine

_LINE: Final = re.compile(r"(\d\d):(\d\d):(\d\d)\.(\d{3}) [^ :]+: (.*)")
_LEADS: Final = re.compile(r"term (\d+): leader\b")
_DAY_S: Final = 86_400
_BUG: Final = re.compile(r"Traceback \(most recent|Fatal Python error|Assertion failed|invariant")
LINES_MAX: Final = 20_000


def read_logs(folder: Path, names: Iterable[str], began: datetime) -> list[LogLine]:
    """All lines; one without a time of its own has that of the line before it.

    Args:
        began: when the run did, in UTC. A process whose clock was made wrong is wrong here too.
    """
    midnight = began.replace(hour=0, minute=0, second=0, microsecond=0)
    zero = (began.astimezone(UTC) - midnight.astimezone(UTC)).total_seconds()
    found: list[LogLine] = []
    for name in names:
        file = folder / f"{name}.log"
        at = 0.0
        for line in file.read_text(errors="replace").splitlines() if file.exists() else ():
            match = _LINE.match(line)
            if match:
                hours, minutes, seconds, milliseconds = map(int, match.groups()[:4])
                at = hours * 3600 + minutes * 60 + seconds + milliseconds / 1000 - zero
                # Past midnight, within a second or so before the beginning, else the next day.
                at += _DAY_S if at < -_DAY_S / 2 else 0
            found.append(LogLine(round(at, 3), name, match.group(5) if match else line))
    found.sort(key=lambda line: line.at_s)
    return found


def shown(lines: list[LogLine]) -> tuple[LogLine, ...]:
    """Those that a record keeps: of very many the first and the last."""
    if len(lines) <= LINES_MAX:
        return tuple(lines)
    return (*lines[: LINES_MAX // 2], *lines[-LINES_MAX // 2 :])


def bugs(lines: Iterable[LogLine]) -> list[str]:
    """Lines that only a bug prints."""
    return [f"{line.process}: {line.text}" for line in lines if _BUG.search(line.text)]


def began_to_lead(line: LogLine) -> int | None:
    """The term that the process of this line began to lead, if it says so."""
    match = _LEADS.match(line.text)
    return int(match.group(1)) if match else None
