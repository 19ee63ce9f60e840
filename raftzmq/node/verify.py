"""Answers VERIFY on the leader: begins a comparison, or says what is known about one."""

from __future__ import annotations

from raftzmq.errors import MalformedRequest, Unavailable
from raftzmq.raft.types import LogPosition
from raftzmq.replica.equality import Equality
from raftzmq.wire.codec import DecodeError
from raftzmq.wire.verify import NodeFinding, decode_verify, encode_comparison


def verify(equality: Equality, payload: bytes) -> bytes:
    """Body of the reply to a VERIFY with this payload.

    Raises:
        MalformedRequest: the payload is neither empty nor a CHECKSUM entry.
        Unavailable: no comparison can begin now.
    """
    try:
        asked = decode_verify(payload)
    except DecodeError as error:
        raise MalformedRequest(f"this is not a verify request: {error}") from error
    if asked is None:
        position = equality.propose()
        if position is None:
            raise Unavailable(
                "a comparison is under way, or leadership is changing; try again shortly"
            )
    else:
        position = LogPosition(*asked)
    judgement = equality.judgement(position)
    if judgement is None:
        return encode_comparison(position.index, position.term, False, [])
    digests = equality.digests(position)
    findings = [
        NodeFinding(node, finding.value, digests.get(node, b"").hex())
        for node, finding in judgement.findings.items()
    ]
    return encode_comparison(position.index, position.term, True, findings)
