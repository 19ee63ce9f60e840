"""The state of every node of a cluster, asked directly, and rates between two looks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from raftzmq.errors import error_from_wire
from raftzmq.observe.ask import Asker
from raftzmq.wire.client import Kind
from raftzmq.wire.codec import DecodeError, pack, unpack_map, unpack_nested
from raftzmq.wire.payload import decode_error
from raftzmq.wire.status import NodeStatus, decode_status

_PROXY_ENTRIES_MAX: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRates:
    """Requests per second between two looks at the same run of a node."""

    reads_per_s: float
    writes_per_s: float


def look(
    asker: Asker, *, timeout_ms: int = 500, names: Iterable[str] | None = None
) -> dict[str, NodeStatus]:
    """Status of each node that answers in time, by name; of all nodes unless ``names`` says."""
    found: dict[str, NodeStatus] = {}
    for name, reply in asker.ask(Kind.STATUS, names=names, timeout_ms=timeout_ms).items():
        if reply.code:
            continue
        try:
            found[name] = decode_status(reply.body)
        except DecodeError:
            continue
    return found


def leader_of(statuses: dict[str, NodeStatus]) -> NodeStatus | None:
    """Who leads: of all that say so, the one of the highest term (at most one per term)."""
    leaders = [status for status in statuses.values() if status.role == "leader"]
    return max(leaders, key=lambda status: status.term, default=None)


def old_leaders(statuses: dict[str, NodeStatus]) -> list[NodeStatus]:
    """Nodes that say that they lead, but in a term that is over: cut off, or just woken up.

    Each steps down when it hears of the later term, or hears no majority for an election timeout.
    """
    newest = max((status.term for status in statuses.values()), default=0)
    return [each for each in statuses.values() if each.role == "leader" and each.term < newest]


def digests(asker: Asker, *, timeout_ms: int = 30_000) -> dict[str, tuple[int, str]]:
    """Content hash of each node that answers, with the applied index it was taken at.

    Raises:
        RequestError: a node answered with an error.
    """
    found: dict[str, tuple[int, str]] = {}
    for name, reply in asker.ask(Kind.DIGEST, timeout_ms=timeout_ms).items():
        if reply.code:
            raise error_from_wire(reply.code, *decode_error(reply.body))
        found[name] = (reply.index, digest_of(reply.body))
    return found


def digest_of(body: bytes) -> str:
    """The hash in the body of a reply to DIGEST, which is [index, hash].

    Raises:
        DecodeError: not such a body.
    """
    fields = unpack_nested(body)
    if len(fields) != 2 or type(fields[1]) is not str:
        raise DecodeError("the answer to DIGEST is [index, hash]")
    return fields[1]


def rates(before: NodeStatus | None, after: NodeStatus, seconds: float) -> NodeRates | None:
    """Rates between two looks; None when the node was restarted or not seen before."""
    if before is None or before.boot != after.boot or seconds <= 0:
        return None
    return NodeRates(
        reads_per_s=(after.reads - before.reads) / seconds,
        writes_per_s=(after.writes - before.writes) / seconds,
    )


def proxies_seen(asker: Asker, *, timeout_ms: int = 500) -> dict[str, dict[str, Any]]:
    """What each proxy that answers says: ``broker`` about itself, ``nodes`` about the nodes."""
    found: dict[str, dict[str, Any]] = {}
    for name, reply in asker.ask(Kind.STATUS, timeout_ms=timeout_ms).items():
        if reply.code == 0:
            try:
                found[name] = unpack_map(reply.body, _PROXY_ENTRIES_MAX)
            except DecodeError:
                continue
    return found


def statuses_behind(asker: Asker, *, timeout_ms: int) -> dict[str, NodeStatus]:
    """Status of all nodes known to the servers of ``asker``, proxies or nodes alike.

    A proxy says what its nodes pushed last, at most a heartbeat ago; a node speaks of itself.
    """
    found: dict[str, NodeStatus] = {}
    for reply in asker.ask(Kind.STATUS, timeout_ms=timeout_ms).values():
        if reply.code:
            continue
        try:
            bodies = [reply.body]
            nodes = unpack_map(reply.body, _PROXY_ENTRIES_MAX).get("nodes")
            if isinstance(nodes, list):
                bodies = [pack(node) for node in nodes]
            for status in map(decode_status, bodies):
                found[status.node] = status
        except DecodeError:
            continue
    return found
