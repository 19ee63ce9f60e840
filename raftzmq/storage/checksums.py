"""The checksums of raft.db: one over the state row, and one chain through the entries."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import Final, NamedTuple

from raftzmq.raft.types import Entry, HardState, LogPosition
from raftzmq.storage.contract import EMPTY_BASE, Memory
from raftzmq.storage.models import FORMAT_VERSION

_ENTRY_HEAD: Final = struct.Struct("<QQBQ")
_STATE_BODY: Final = struct.Struct("<QQQQQQQB")


class StateValues(NamedTuple):
    """The state row without its checksum."""

    commit_sequence: int
    hard_state: HardState
    base: LogPosition
    base_checksum: int
    last_index: int
    memory: Memory

    def checksum(self) -> int:
        """CRC-32 over every column of the row."""
        body = _STATE_BODY.pack(
            FORMAT_VERSION,
            self.commit_sequence,
            self.hard_state.term,
            self.base.index,
            self.base.term,
            self.base_checksum,
            self.last_index,
            self.memory,
        )
        vote = self.hard_state.voted_for
        # A leading byte keeps "no vote" and a vote for an empty name apart.
        return zlib.crc32(b"0" if vote is None else b"1" + vote.encode(), zlib.crc32(body))


class Tail(NamedTuple):
    """Term and checksum of the last position, from which the next entry continues."""

    term: int
    checksum: int


def entry_checksum(before: int, index: int, term: int, kind: int, data: bytes) -> int:
    """CRC-32 of an entry, continuing ``before``, the checksum of the entry before it."""
    return zlib.crc32(data, zlib.crc32(_ENTRY_HEAD.pack(index, term, kind, len(data)), before))


def base_checksum(base: LogPosition) -> int:
    """What the chain starts from when no entry precedes the base."""
    return entry_checksum(0, base.index, base.term, 255, b"")


def chained_rows(
    entries: Sequence[Entry], tail: Tail
) -> tuple[list[tuple[int, int, int, bytes, int]], Tail]:
    """The rows to insert after ``tail``, each with its checksum, and the new tail."""
    rows = []
    chain = tail.checksum
    for entry in entries:
        kind = int(entry.kind)
        chain = entry_checksum(chain, entry.index, entry.term, kind, entry.data)
        rows.append((entry.index, entry.term, kind, entry.data, chain))
    return rows, Tail(entries[-1].term, chain)


def empty_state() -> StateValues:
    """The state row of a log that was never written to."""
    return StateValues(0, HardState(), EMPTY_BASE, base_checksum(EMPTY_BASE), 0, Memory.WHOLE)


def identity_checksum(name: str, incarnation: str, boot: str) -> int:
    """CRC-32 over the columns of a peer's row; no name holds a line end."""
    return zlib.crc32("\n".join((name, incarnation, boot)).encode())
