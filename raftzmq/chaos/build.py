"""Programs that a run starts are of the same build as the run, whatever folder they work in."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def environment() -> dict[str, str]:
    """That of this process, with its import path spelled out."""
    path = os.pathsep.join(str(Path(part or ".").absolute()) for part in sys.path)
    return {**os.environ, "PYTHONPATH": path}
