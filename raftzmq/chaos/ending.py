"""After the last fault: is all there, once, and the same everywhere?"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import raftzmq
from raftzmq.chaos import tables
from raftzmq.chaos.stand import WHOLE_S, Stand
from raftzmq.checker.history import Operation
from raftzmq.client.connection import Connection
from raftzmq.observe.survey import digests

_READ_MS: Final = 60_000
_PAGE: Final = 5_000
_KEYS_AT_ONCE: Final = 40
_CLIENT: Final = "at the end"


def read_names(addresses: Sequence[str]) -> Counter[str]:
    """Names of all writes that left one, by linearizable reads of a table that nobody writes now.

    Raises:
        RequestError: it cannot be read.
    """
    found: Counter[str] = Counter()
    last = 0
    with raftzmq.connect(*addresses, timeout_ms=_READ_MS) as database:
        while True:
            rows = database.read(
                "SELECT rowid, name FROM chaos_done WHERE rowid > ? ORDER BY rowid LIMIT ?",
                [last, _PAGE],
            ).rows
            if not rows:
                return found
            for rowid, name in rows:
                found[str(name)] += 1
                last = int(str(rowid))


def read_keys(
    addresses: Sequence[str], model: str, operations: Iterable[Operation]
) -> Iterator[Operation]:
    """One more read of each key of a history, to be judged with it: what is lost at the very end,
    when no client came back to that key, shows here.

    Raises:
        RequestError: they cannot be read.
    """
    keys = sorted({each.key for each in operations})
    with raftzmq.connect(*addresses, timeout_ms=_READ_MS) as database:
        for at in range(0, len(keys), _KEYS_AT_ONCE):
            yield from _read_some(database, model, keys[at : at + _KEYS_AT_ONCE])


def _read_some(database: Connection, model: str, keys: list[str]) -> list[Operation]:
    began = time.monotonic_ns()
    result = database.read([tables.read(model, key) for key in keys])
    ended = time.monotonic_ns()
    values: list[Any] = [tables.found(model, each.rows or ()) for each in result.results]
    return [
        Operation(
            _CLIENT, "read", key, None, None, value, began, ended, True,
            f"{result.server}@{result.index}",
        )
        for key, value in zip(keys, values, strict=True)
    ]  # fmt: skip


def equal_digests(stand: Stand) -> dict[str, tuple[int, str]]:
    """Hash of each node's content, once all have one of the same log index.

    Returns:
        The last that were had, in time or not: the caller compares them.

    Raises:
        RequestError: a node refused.
    """
    deadline = time.monotonic() + WHOLE_S
    while True:
        found = digests(stand.asker, timeout_ms=_READ_MS)
        same_index = len({index for index, _ in found.values()}) == 1
        if (len(found) == len(stand.nodes) and same_index) or time.monotonic() > deadline:
            return found
        stand.sleep(0.2)
