"""What this node does when its content is found to differ (P6): the EqualityHost of a node."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from raftzmq.errors import StorageFailed
from raftzmq.node.conditions import Condition, Conditions
from raftzmq.storage.quarantine import QUARANTINE_NAME, QuarantineMark, read_mark, write_mark

QUARANTINED = "quarantined"
DIFFER = "replicas differ"


class NodeEquality:
    """Keeps the mark in the data folder, and the conditions in step with it.

    Args:
        folder: the data folder.
        conditions: where reduced service is said.
        log: takes one line for people per event.

    Raises:
        StorageFailed: the mark cannot be read.
    """

    def __init__(
        self,
        folder: Path,
        conditions: Conditions,
        log: Callable[[str], None],
    ) -> None:
        self._folder = folder
        self._conditions = conditions
        self._log = log
        self.ended_service: Callable[[], None] = lambda: None
        """Called when a quarantine begins: what state.db would answer must not go out."""
        try:
            self.mark = read_mark(folder)
        except OSError as error:
            raise self._failed(error) from error

    def quarantined(self, mark: QuarantineMark | None) -> None:
        """Make ``mark`` durable, then serve, or not, by it; see ``EqualityHost``."""
        before = self.mark
        # Before the file: a reader must not be served for the length of an fsync.
        if mark is not None:
            condition = Condition(_sentence(mark), refuses_reads=True, refuses_writes=True)
            newly = before is None
            self._conditions.set(QUARANTINED, condition)
            if newly:
                self.ended_service()
        if mark != before:
            try:
                write_mark(self._folder, mark)
            except OSError as error:
                raise self._failed(error) from error
            self.mark = mark
        if mark is None:
            self._conditions.set(QUARANTINED, None)
            self._log("content equals the majority's again: quarantine ended")
        else:
            self._log(f"quarantined: {_sentence(mark)}")

    def doubted(self, why: str | None) -> None:
        """Replicas differ and nobody can tell which is right; see ``EqualityHost``."""
        self._conditions.set(DIFFER, None if why is None else Condition(why))
        self._log(why or "replicas are no longer in doubt")

    def _failed(self, error: OSError) -> StorageFailed:
        return StorageFailed(f"{self._folder / QUARANTINE_NAME}: {error}")


def _sentence(mark: QuarantineMark) -> str:
    if mark.rebuilt_index:
        return (
            f"state.db was rebuilt from a snapshot at log index {mark.rebuilt_index}; it serves "
            "again when the next comparison finds it equal to the others, by itself"
        )
    if mark.damage:
        return (
            f"{mark.damage}. This node serves no reads, leads only if no other can, and is rebuilt "
            "from a snapshot of the leader by itself"
        )
    where = f" at log index {mark.index} ({mark.own[:8]}, not {mark.right[:8]})"
    return (
        f"its content differs from the majority's{where if mark.own else ''}; it serves no reads, "
        "leads only if no other can, and is rebuilt from a snapshot of the leader by itself"
    )
