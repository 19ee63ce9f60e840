"""Swapping a received snapshot over state.db, as a plan that is carried out to its end.

The plan is a durable file. Before it exists, nothing of the old state.db was touched; once it
exists, the swap happens, in this process or in the next one, before anyone opens state.db.
Each step may be repeated any number of times.

The one thing that must never be: the new state.db beside the write-ahead log of the old one,
which SQLite would replay into it. So the log goes first, and durably so, then the file changes;
and the plan itself is durably gone before state.db, and with it a new log, is opened.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from raftzmq.errors import StorageDamaged
from raftzmq.storage.durable_file import replace_file, sync_folder
from raftzmq.storage.state_mark import STATE_MARK_NAME
from raftzmq.storage.verified_read import REMEDY

PLAN_NAME: Final = "install.plan"
STATE_NAME: Final = "state.db"
INCOMING_NAME: Final = "incoming"


@dataclass(frozen=True, slots=True)
class Remove:
    """Remove a file of the data folder, if it is there."""

    name: str

    def carry_out(self, folder: Path) -> None:
        """Do it; OSError when the file is there and cannot be removed."""
        (folder / self.name).unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class SyncNames:
    """Make what happened to the names in a folder durable; ``""`` is the data folder."""

    name: str

    def carry_out(self, folder: Path) -> None:
        """Do it; OSError when it fails."""
        sync_folder(folder / self.name)


@dataclass(frozen=True, slots=True)
class Rename:
    """Put a file in the place of another."""

    source: str
    target: str

    def carry_out(self, folder: Path) -> None:
        """Do it; OSError when it fails. A missing source is a rename that was done before."""
        source = folder / self.source
        if source.exists():
            source.replace(folder / self.target)


Step: TypeAlias = Remove | SyncNames | Rename


def swap_steps(source: str) -> tuple[Step, ...]:
    """The steps that put ``incoming/<source>`` in the place of state.db."""
    return (
        Remove(f"{STATE_NAME}-wal"),
        Remove(f"{STATE_NAME}-shm"),
        # It speaks of the state.db that goes; the new one may rightly be behind it.
        Remove(STATE_MARK_NAME),
        SyncNames(""),
        Rename(f"{INCOMING_NAME}/{source}", STATE_NAME),
        SyncNames(""),
        SyncNames(INCOMING_NAME),
        Remove(PLAN_NAME),
        SyncNames(""),
    )


def write_plan(folder: Path, source: str) -> None:
    """Decide the swap: from now on it will happen. OSError when the plan cannot be written."""
    replace_file(folder / PLAN_NAME, json.dumps({"format": 1, "source": source}).encode() + b"\n")


def planned_steps(folder: Path) -> tuple[Step, ...]:
    """What the plan in ``folder`` still asks for; empty when there is no plan.

    Raises:
        StorageDamaged: the plan cannot be read, or neither its source nor state.db is there.
    """
    file = folder / PLAN_NAME
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return ()
    try:
        plan = json.loads(content)
        source = plan["source"]
        known = plan["format"] == 1 and isinstance(source, str) and Path(source).name == source
    except (ValueError, TypeError, KeyError):
        known = False
    if not known:
        raise StorageDamaged(
            f"{file} is damaged: it is not an install plan that is known here; {REMEDY}"
        )
    steps = swap_steps(source)
    if (folder / INCOMING_NAME / source).exists():
        return steps
    if not (folder / STATE_NAME).exists():
        raise StorageDamaged(
            f"{file} names {INCOMING_NAME}/{source}, which is missing, and so is {STATE_NAME};"
            f" {REMEDY}"
        )
    # The rename was done, so the old log went before it; one that is there now is the new one's.
    return steps[-4:]


def finish_interrupted_install(folder: Path) -> bool:
    """Carry out a plan that an earlier process left; call before anyone opens state.db.

    Returns:
        Whether there was one.

    Raises:
        StorageDamaged: see ``planned_steps``.
        OSError: a step failed; calling again goes on.
    """
    steps = planned_steps(folder)
    for step in steps:
        step.carry_out(folder)
    return bool(steps)
