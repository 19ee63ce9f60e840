"""What a node says about itself: pushed to observers, and the body of a STATUS reply.

The only message that is a map: people read it with foreign tools, and fields are added over
time. Unknown keys are ignored; a missing one is an error.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, Final

from raftzmq.wire.codec import DecodeError, pack, unpack_map

STATUS_BYTES_MAX: Final = 64 << 10
_MAP_ENTRIES_MAX: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerStatus:
    """How the leader sees one peer.

    Attributes:
        match: log index up to which the peer's log is known to equal the leader's.
        flow: ``PROBE``, ``REPLICATE`` or ``SNAPSHOT``.
    """

    match: int
    flow: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStatus:
    """One node at one moment.

    Attributes:
        node: its name.
        cluster: id of its cluster.
        role: value of ``raft.types.Role``.
        term: current term.
        leader: name of the leader it knows, or empty.
        leader_client_address: where that leader takes requests, or empty.
        commit_index: last log index known to be committed.
        applied_index: last log index applied to state.db.
        last_index: last index of its log.
        first_index: first index its log still holds.
        contact_age_ms: since the last message of a leader; 0 on the leader.
        pid: process id.
        boot: how often the data folder was started; differs from that of the run before.
        version: of the program.
        reads: reads served since the start.
        writes: written requests applied since the start.
        peers: name -> how the leader sees it; empty on others.
        since_ms: how long the role has been held.
        fsyncs: transactions that made raft.db durable since the start.
        dropped: cause -> messages of peers and clients that were dropped for it.
        conditions: what keeps the node from full service: a name for programs ("disk full") ->
            a sentence for people. Empty at a healthy node.
        serves_reads: whether brokers may send it reads.
    """

    node: str
    cluster: str
    role: str
    term: int
    leader: str
    leader_client_address: str
    commit_index: int
    applied_index: int
    last_index: int
    first_index: int
    contact_age_ms: int
    pid: int
    boot: int
    version: str
    reads: int
    writes: int
    peers: dict[str, PeerStatus] = field(default_factory=dict)
    since_ms: int = 0
    fsyncs: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    conditions: dict[str, str] = field(default_factory=dict)
    serves_reads: bool = True


_SCALARS: Final[dict[str, type[Any]]] = {"str": str, "int": int, "bool": bool}
_TYPES: Final = {each.name: _SCALARS.get(str(each.type), dict) for each in fields(NodeStatus)}


def encode_status(status: NodeStatus) -> bytes:
    """Body of a reply to STATUS or OBSERVE."""
    found = {name: getattr(status, name) for name in _TYPES}
    found["peers"] = {
        name: {"match": peer.match, "flow": peer.flow} for name, peer in status.peers.items()
    }
    return pack(found)


def decode_status(body: bytes) -> NodeStatus:
    """The status in ``body``.

    Raises:
        DecodeError: not a status.
    """
    if len(body) > STATUS_BYTES_MAX:
        raise DecodeError(f"status of {len(body)} bytes, at most {STATUS_BYTES_MAX}")
    found = unpack_map(body, _MAP_ENTRIES_MAX)
    known: dict[str, Any] = {}
    for name, kind in _TYPES.items():
        value: Any = found.get(name)
        if type(value) is not kind or (kind is int and value < 0):
            raise DecodeError(f"status field {name} is missing or wrong")
        known[name] = value
    known["peers"] = {name: _peer(name, value) for name, value in known["peers"].items()}
    dropped: dict[Any, Any] = known["dropped"]
    if not all(type(key) is str and type(n) is int and n >= 0 for key, n in dropped.items()):
        raise DecodeError("status field dropped is not cause and count")
    conditions: dict[Any, Any] = known["conditions"]
    if not all(type(key) is str and type(why) is str for key, why in conditions.items()):
        raise DecodeError("status field conditions is not name and sentence")
    return NodeStatus(**known)


def _peer(name: Any, value: Any) -> PeerStatus:
    if type(name) is not str or type(value) is not dict:
        raise DecodeError("status of a peer is a map under its name")
    match, flow = value.get("match"), value.get("flow")
    if type(match) is not int or match < 0 or type(flow) is not str:
        raise DecodeError(f"status of peer {name} is not match and flow")
    return PeerStatus(match=match, flow=flow)
