"""When the log may forget: never past what state.db holds durably.

``LogSize`` knows how many bytes lie between any two places of the log, so that compaction can
leave a tail for followers that are a little behind, without asking the core to count.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable

from raftzmq.raft.types import Entry

MARKS_MAX = 8_192
"""Places that are remembered; the log of a node that keeps much for a peer has far more entries."""


class LogSize:
    """Running size of the log by index, in bytes of entry data."""

    def __init__(self) -> None:
        self._marks: deque[tuple[int, int]] = deque()  # (index, bytes written up to it)
        self._total = 0
        self._last_index = 0

    def committed(self, entries: Iterable[Entry]) -> None:
        """Count entries in log order, each once; those handed out again are not counted again."""
        for entry in entries:
            if entry.index <= self._last_index:
                continue
            self._last_index = entry.index
            self._total += len(entry.data) + 64  # 64: what an entry costs beside its data
            self._marks.append((entry.index, self._total))
        if len(self._marks) > MARKS_MAX:
            # The newer of each two, so that the end of the log stays known.
            kept = itertools.islice(reversed(self._marks), 0, None, 2)
            self._marks = deque(reversed(list(kept)))

    @property
    def total_bytes(self) -> int:
        """Bytes counted since the start; grows for ever, only differences mean something."""
        return self._total

    def held_bytes(self) -> int:
        """Bytes of counted entries that were not yet compacted."""
        if not self._marks:
            return 0
        return self._total - self._marks[0][1]

    def compaction_index(self, durable_index: int, keep_bytes: int) -> int:
        """Highest index <= ``durable_index`` whose removal leaves ``keep_bytes``; 0 for none."""
        chosen = 0
        for index, upto in self._marks:
            if index > durable_index or self._total - upto < keep_bytes:
                break
            chosen = index
        return chosen

    def compacted(self, index: int) -> None:
        """Forget the marks up to ``index``."""
        while self._marks and self._marks[0][0] <= index:
            self._marks.popleft()
