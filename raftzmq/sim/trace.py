"""What a run did, as a hash that is the same for the same seed, and as lines for people."""

from __future__ import annotations

from collections import deque
from hashlib import blake2b
from typing import Final

_KEEP_LINES: Final = 400


class Trace:
    """Every event in canonical bytes.

    Nothing that differs between machines goes in: no path, no process id, no bytes of a database
    file, which depend on the build of SQLite.

    Args:
        keep: lines kept for people; None: all.
    """

    def __init__(self, keep: int | None = _KEEP_LINES) -> None:
        self._hash = blake2b(digest_size=16)
        self._unhashed: list[str] = []
        self.lines: deque[str] = deque(maxlen=keep)
        self.events = 0

    def note(self, when: int, line: str) -> None:
        """An event at ``when`` microseconds."""
        text = f"{when} {line}"
        self.lines.append(text)
        self._unhashed.append(text)
        self.events += 1
        if len(self._unhashed) > 256:
            self._settle()

    def digest(self) -> str:
        """The hash of all events so far, hexadecimal."""
        self._settle()
        return self._hash.hexdigest()

    def _settle(self) -> None:
        if self._unhashed:
            self._hash.update(("\n".join(self._unhashed) + "\n").encode())
            self._unhashed.clear()
