"""The messages by which replicas compare their content and a wrong one is rebuilt (P6).

    node      ChecksumReport   ->  leader      its digest at a CHECKSUM entry
    leader    ChecksumVerdict  ->  node        the digest that a majority reported there
    node      RebuildRequest   ->  leader      "mine differs: send me a snapshot" (``transfer``)
    node      ChecksumRequest  ->  leader      "I was rebuilt: compare us again"

Each is repeated by the node that wants something; none relies on delivery. An entry is named
by index and term, which no two entries share (thesis 3.5).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

from raftzmq.raft.types import LogPosition, NodeId


@dataclass(frozen=True, slots=True, kw_only=True)
class ChecksumReport:
    """The sender's content after the entry (index, entry_term) has this digest.

    An empty digest: the sender passed the entry and did not hash there.
    """

    sender: NodeId
    receiver: NodeId
    term: int
    index: int
    entry_term: int
    digest: bytes

    @property
    def position(self) -> LogPosition:
        """The CHECKSUM entry."""
        return LogPosition(self.index, self.entry_term)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChecksumVerdict:
    """A majority of all voters reported this digest after the entry (index, entry_term)."""

    sender: NodeId
    receiver: NodeId
    term: int
    index: int
    entry_term: int
    digest: bytes

    @property
    def position(self) -> LogPosition:
        """The CHECKSUM entry."""
        return LogPosition(self.index, self.entry_term)


@dataclass(frozen=True, slots=True, kw_only=True)
class RebuildRequest:
    """Send a snapshot taken at ``index`` or later, although the sender's log is in order."""

    sender: NodeId
    receiver: NodeId
    term: int
    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ChecksumRequest:
    """Propose a CHECKSUM entry soon."""

    sender: NodeId
    receiver: NodeId
    term: int


EqualityMessage: TypeAlias = ChecksumReport | ChecksumVerdict | RebuildRequest | ChecksumRequest

EQUALITY_CODES: Final[dict[type[EqualityMessage], int]] = {
    ChecksumReport: 50,
    ChecksumVerdict: 51,
    RebuildRequest: 52,
    ChecksumRequest: 53,
}
"""Codes on the wire, in one number space with ``raft.messages.MESSAGE_TABLE``; never reused."""
