"""A machine in a folder and a short way to feed it: entries, requests, replies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgpack

from raftzmq.statemachine.bounds import ApplyLimits
from raftzmq.statemachine.command import Request, encode_command
from raftzmq.statemachine.digest import content_digest
from raftzmq.statemachine.machine import LogEntry, Machine
from raftzmq.statemachine.reply import Reply

CLOCK_MS = 1_700_000_000_000
"""2023-11-14 22:13:20 UTC."""


def payload(*statements: str | tuple[str, Any]) -> bytes:
    """The payload of one request; a statement is text, or text and parameters."""
    return msgpack.packb([[s, None] if isinstance(s, str) else list(s) for s in statements])


def anonymous(*statements: str | tuple[str, Any]) -> Request:
    return Request(b"", 0, 0, payload(*statements))


def entry(
    index: int,
    *requests: Request,
    clock_ms: int | None = None,
    seed: int | None = None,
    flags: int = 0,
    limits: ApplyLimits | None = None,
    term: int = 1,
) -> LogEntry:
    data = encode_command(
        clock_ms=CLOCK_MS + index if clock_ms is None else clock_ms,
        seed=index * 7_919 if seed is None else seed,
        flags=flags,
        limits=limits or ApplyLimits(),
        requests=requests,
    )
    return LogEntry(index, term, data)


def opened(reply: Reply) -> tuple[int, Any]:
    """Code and decoded body."""
    return reply.code, msgpack.unpackb(reply.body)


class World:
    """One replica; each ``do`` is one entry, made by a leader with ``limits``."""

    def __init__(
        self,
        folder: Path,
        limits: ApplyLimits | None = None,
        rest: Callable[[], None] = lambda: None,
    ) -> None:
        self.path = folder / "state.db"
        self.limits = limits
        self.rest = rest
        self.machine = Machine(self.path, rest=rest)

    @property
    def next_index(self) -> int:
        return self.machine.applied[0] + 1

    def do(self, *statements: str | tuple[str, Any], flags: int = 0) -> tuple[int, Any]:
        """One anonymous request in one entry: code and decoded body."""
        return self.entry(anonymous(*statements), flags=flags)[0]

    def ok(self, *statements: str | tuple[str, Any], flags: int = 0) -> list[Any]:
        """As ``do``, for requests that must succeed: the results."""
        code, body = self.do(*statements, flags=flags)
        assert code == 0, body
        return body

    def entry(
        self,
        *requests: Request,
        clock_ms: int | None = None,
        seed: int | None = None,
        flags: int = 0,
    ) -> list[tuple[int, Any]]:
        made = entry(
            self.next_index,
            *requests,
            clock_ms=clock_ms,
            seed=seed,
            flags=flags,
            limits=self.limits,
        )
        (result,) = self.machine.apply([made])
        return [opened(reply) for reply in result.replies]

    def apply(self, entries: Sequence[LogEntry]) -> list[list[tuple[int, Any]]]:
        return [[opened(r) for r in result.replies] for result in self.machine.apply(entries)]

    def rows(self, sql: str) -> list[list[Any]]:
        """Rows as a write request sees them."""
        return self.ok(sql)[0][3]

    def digest(self) -> str:
        return content_digest(self.path)[1]

    def reopen(self) -> None:
        self.machine.close()
        self.machine = Machine(self.path, rest=self.rest)
