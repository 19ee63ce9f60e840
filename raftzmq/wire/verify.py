"""What VERIFY asks and answers: one comparison of all replicas, begun and then looked at.

An empty payload proposes a CHECKSUM entry; the reply names it. A payload that names one asks
what is known about it by now; the asker repeats that until it knows enough. So the leader
keeps no request waiting, and a new leader can be asked about a comparison of the last one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from raftzmq.wire.codec import DecodeError, pack, unpack_array, unpack_nested

_I63_MAX: Final = (1 << 63) - 1


class NodeFinding(NamedTuple):
    """What is known of one node.

    Attributes:
        node: its name.
        finding: value of ``replica.judge.Finding``; a word for people.
        digest: what it reported, hexadecimal; empty when it did not, or did not hash.
    """

    node: str
    finding: str
    digest: str


class Comparison(NamedTuple):
    """The body of a reply to VERIFY.

    Attributes:
        index: log index of the CHECKSUM entry at which the replicas are compared.
        entry_term: its term.
        known: False when nothing will come: the entry was lost with its leader, or is too old.
        findings: by name.
    """

    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs here
    entry_term: int
    known: bool
    findings: tuple[NodeFinding, ...]


def encode_verify(index: int, entry_term: int) -> bytes:
    """Payload that asks about the CHECKSUM entry (index, entry_term)."""
    return pack((index, entry_term))


def decode_verify(payload: bytes) -> tuple[int, int] | None:
    """Index and term of the CHECKSUM entry asked about; None: a new one is wanted.

    Raises:
        DecodeError: neither.
    """
    if not payload:
        return None
    return unpack_array(payload, _shape_position, tuple, 2)


def encode_comparison(
    index: int, entry_term: int, known: bool, findings: Sequence[NodeFinding]
) -> bytes:
    """Body of a reply; the arguments are the fields of ``Comparison``."""
    return pack((index, entry_term, known, [tuple(each) for each in findings]))


def decode_comparison(body: bytes) -> Comparison:
    """The comparison in ``body``.

    Raises:
        DecodeError: not a comparison.
    """
    fields = unpack_nested(body)
    if len(fields) != 4 or tuple(map(type, fields)) != (int, int, bool, tuple):
        raise DecodeError("a comparison is index, term, whether it is known, and findings")
    index, entry_term, known, rows = fields
    if not all(
        type(row) is tuple and len(row) == 3 and all(type(each) is str for each in row)
        for row in rows
    ):
        raise DecodeError("a finding is node, finding and digest")
    return Comparison(index, entry_term, known, tuple(NodeFinding(*row) for row in rows))


def _shape_position(fields: list[Any]) -> tuple[int, int]:
    if len(fields) != 2 or not all(type(each) is int and 0 <= each <= _I63_MAX for each in fields):
        raise DecodeError("a CHECKSUM entry is named by index and term")
    return fields[0], fields[1]
