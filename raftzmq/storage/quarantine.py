"""The mark of a node whose content was found to differ from the majority's, or to be damaged.

It is a file of the data folder, so that no restart serves what was found wrong. It is written
before anything else is done about it and removed only when a rebuilt state.db was compared
with the others; a node that dies in between begins the rebuild again.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

from raftzmq.storage.durable_file import replace_file, sync_folder

QUARANTINE_NAME: Final = "quarantine.json"
_FORMAT: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantineMark:
    """Why a node is quarantined, and how far it is with its rebuild.

    Attributes:
        index: log index at which its content differed, or that it had applied when it was found
            damaged; 0 when the file cannot be read.
        own: digest of its content there, hexadecimal.
        right: digest of the majority's.
        rebuilt_index: index of the snapshot that took the place of state.db since; 0 for none.
        damage: what SQLite found wrong with the file; empty when it was compared.
    """

    index: int
    own: str = ""
    right: str = ""
    rebuilt_index: int = 0
    damage: str = ""


def read_mark(folder: Path) -> QuarantineMark | None:
    """The mark in ``folder``, or None. A mark that cannot be read still quarantines.

    Raises:
        OSError: there is a file and it cannot be read.
    """
    try:
        content = (folder / QUARANTINE_NAME).read_bytes()
    except FileNotFoundError:
        return None
    try:
        found: dict[str, Any] = json.loads(content)
        if found.pop("format") != _FORMAT:
            return QuarantineMark(index=0)
        mark = QuarantineMark(**found)
    except (ValueError, TypeError, KeyError, AttributeError):
        return QuarantineMark(index=0)
    typed = all(type(getattr(mark, each.name)).__name__ == each.type for each in fields(mark))
    return mark if typed and min(mark.index, mark.rebuilt_index) >= 0 else QuarantineMark(index=0)


def write_mark(folder: Path, mark: QuarantineMark | None) -> None:
    """Make ``mark`` what the folder says, durably; None removes it.

    Raises:
        OSError: the old mark is there, or the new one and it is not yet durable.
    """
    if mark is None:
        (folder / QUARANTINE_NAME).unlink(missing_ok=True)
        sync_folder(folder)
    else:
        content = json.dumps({"format": _FORMAT, **asdict(mark)})
        replace_file(folder / QUARANTINE_NAME, content.encode() + b"\n")
