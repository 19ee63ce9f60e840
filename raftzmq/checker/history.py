"""A history: what each client asked, what it was told, and when; one JSON object per line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from raftzmq.errors import RaftzmqError


class HistoryUnreadable(RaftzmqError):
    """A line of a history is not an operation; the message names file, line and reason."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of one client.

    A client has one operation open at a time; after an operation whose outcome it does not know
    it goes on under a new name, since the old operation may take effect at any later time.

    Attributes:
        client: who asked.
        op: what, in the words of the model: read, write, cas, append, transfer, add.
        key: what it is about; operations on different keys are judged apart.
        value: what was written, appended, added; JSON.
        expected: what a compare-and-set demanded to find.
        result: what a read returned; what a write returned beyond "done".
        call: when it was asked, nanoseconds of one monotonic clock for the whole history.
        returned: when the answer came ("return" in the file); None when none came.
        ok: True it took effect; False it did not and never will; None that is not known.
        node: who answered, with its term and index where known; for people.
    """

    client: str
    op: str
    key: str
    value: Any
    expected: Any
    result: Any
    call: int
    returned: int | None
    ok: bool | None
    node: str = ""


_IN_FILE: Final = {
    field.name: ("return" if field.name == "returned" else field.name)
    for field in fields(Operation)
}
_OPTIONAL: Final = frozenset({"node", "expected", "result", "value"})


def to_line(operation: Operation) -> str:
    """The line of a file for ``operation``, without its end."""
    return json.dumps(
        {name: getattr(operation, own) for own, name in _IN_FILE.items()},
        separators=(",", ":"),
    )


def from_line(line: str) -> Operation:
    """Read one line.

    Raises:
        HistoryUnreadable: it is not an operation.
    """
    try:
        row = json.loads(line)
        values = {
            own: row.get(name) if own in _OPTIONAL and own != "node" else row[name]
            for own, name in _IN_FILE.items()
            if own != "node"
        }
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise HistoryUnreadable(f"not an operation ({error!r}): {line[:200]}") from error
    return Operation(**values, node=str(row.get("node") or ""))


def write_history(path: Path, operations: Iterable[Operation]) -> int:
    """Write a file; returns how many operations it has."""
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for operation in operations:
            file.write(to_line(operation) + "\n")
            count += 1
    return count


def read_history(path: Path) -> Iterator[Operation]:
    """The operations of a file, in its order.

    Raises:
        HistoryUnreadable: a line is not an operation.
        OSError: the file cannot be read.
    """
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                yield from_line(line)
            except HistoryUnreadable as error:
                raise HistoryUnreadable(f"{path}, line {number}: {error}") from error
