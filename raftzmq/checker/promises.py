"""What clients may conclude at once from what they were told, operation by operation.

Cheaper than a search for an order of the whole history, and it names the step that broke it: each
object has a version that only grows, so whatever was told must be at least what was told before.
Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from raftzmq.checker.invariants import Violation


class Promises:
    """Versions that were told, and operations whose fate was told."""

    def __init__(self) -> None:
        self._told: dict[str, int] = {}
        self._seen: dict[tuple[str, str], int] = {}
        self._acknowledged: set[str] = set()
        self._refused: dict[str, str] = {}

    def floor(self, key: str) -> int:
        """The version of ``key`` that an operation which begins now must see."""
        return self._told.get(key, 0)

    def read(self, key: str, floor: int, version: int, who: str) -> None:
        """A linearizable read ended; ``floor`` is from its begin."""
        if version < floor:
            raise Violation(
                "linearizable-read",
                f"{who} read version {version} of {key}; {floor} was told before it began",
            )
        self._tell(key, version)

    def session_read(self, session: str, key: str, version: int) -> None:
        """A read at level SESSION ended."""
        seen = self._seen.get((session, key), 0)
        if version < seen:
            raise Violation(
                "session-read", f"{session} read version {version} of {key} after {seen}"
            )
        self._seen[session, key] = version

    def session_saw(self, session: str, key: str, version: int) -> None:
        """A session was told a version in any other way."""
        self._seen[session, key] = max(version, self._seen.get((session, key), 0))

    def wrote(self, key: str, floor: int, version: int, who: str) -> None:
        """A write that made ``version`` was acknowledged; ``floor`` is from its begin."""
        if version <= floor:
            raise Violation(
                "linearizable-read",
                f"{who} made version {version} of {key}; {floor} was told before it began",
            )
        self._tell(key, version)

    def acknowledged(self, operation: str) -> None:
        """An operation is done, once."""
        self._acknowledged.add(operation)

    def refused(self, operation: str, why: str) -> None:
        """An operation was not executed and never will be."""
        self._refused[operation] = why

    def judge(self, done: Iterable[str], where: str) -> None:
        """Compare with what was done in the end; ``done`` has an item per execution."""
        counts: dict[str, int] = {}
        for operation in done:
            counts[operation] = counts.get(operation, 0) + 1
        for operation, count in sorted(counts.items()):
            if count > 1:
                raise Violation(
                    "exactly-once", f"operation {operation} was carried out {count} times {where}"
                )
            if operation in self._refused:
                raise Violation(
                    "honest-outcome",
                    f"operation {operation} was carried out {where}; its client was told:"
                    f" {self._refused[operation]}",
                )
        lost = sorted(self._acknowledged - counts.keys())
        if lost:
            raise Violation("no-write-lost", f"{where} lacks {', '.join(lost[:5])}")

    def whole(self, holds: bool, what: str, facts: Mapping[str, object]) -> None:
        """Two things that one transaction always changes together agree."""
        if not holds:
            raise Violation("transaction-atomic", f"{what}: {dict(facts)}")

    def _tell(self, key: str, version: int) -> None:
        self._told[key] = max(version, self._told.get(key, 0))
