"""The report of a run of chaos: one HTML file that needs nothing else."""

from __future__ import annotations

from pathlib import Path

from raftzmq.chaos.record import Run
from raftzmq.chaos.report.page import page

__all__ = ["page", "write_report"]


def write_report(run: Run, path: Path) -> None:
    """Write the report of ``run`` to ``path``.

    Raises:
        OSError: the file cannot be written.
    """
    path.write_text(page(run), encoding="utf-8")
