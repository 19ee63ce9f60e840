"""One line for people on standard error, which the service manager keeps."""

from __future__ import annotations

import sys
from datetime import UTC, datetime


def say(name: str, line: str) -> None:
    """Write ``line`` of the process ``name`` with the time of day, UTC."""
    moment = datetime.now(UTC).strftime("%H:%M:%S.%f")[:-3]
    try:
        sys.stderr.write(f"{moment} {name}: {line}\n")
        sys.stderr.flush()
    except OSError:
        return  # the disk that keeps the log is full, or its reader is gone: the node goes on
