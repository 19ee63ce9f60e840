"""Messages between nodes: one frame each, laid out by the classes' own fields.

    b"RZP" version | msgpack [code, cluster, sender, receiver, boot, term, field, ...]

The fields follow in the order of the dataclass. ``entries`` stand last and flat: kind, term and
data of each in turn; the index follows from ``prev_index``. A tuple of node names travels as
one byte string, itself a msgpack array.

``boot`` is drawn anew at each start of the sender: ZeroMQ may deliver what an earlier life of a
peer sent, and only the receiver can tell. A node introduces itself with it: see
``wire/greeting.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields as dataclass_fields
from operator import attrgetter
from typing import Any, Final, NamedTuple, TypeAlias, cast

from raftzmq.invariants import check
from raftzmq.limits import APPEND_BYTES_MAX
from raftzmq.raft.log import ENTRY_OVERHEAD_BYTES
from raftzmq.raft.messages import MESSAGE_TABLE, AppendRequest, Message
from raftzmq.raft.types import Entry, EntryKind, NodeId
from raftzmq.wire.codec import DecodeError, pack, unpack_array
from raftzmq.wire.equality import EQUALITY_CODES, EqualityMessage
from raftzmq.wire.greeting import GREETING_CODES, GreetingMessage
from raftzmq.wire.transfer import TRANSFER_CODES, TransferMessage
from raftzmq.wire.version import PEER_PREFIX, check_peer_prefix

PeerMessage: TypeAlias = Message | TransferMessage | GreetingMessage | EqualityMessage


class Envelope(NamedTuple):
    """What every peer message says about where it comes from.

    Attributes:
        cluster: id of the cluster; a message of another one is dropped.
        sender: name of the node that sent it.
        boot: boot id of that node, an unsigned 64-bit number.
    """

    cluster: str
    sender: NodeId
    boot: int


class _Layout(NamedTuple):
    """How one class of message lies in the frame, after the six common elements."""

    code: int
    cls: type[PeerMessage]
    names: tuple[str, ...]
    types: tuple[type, ...]
    values: Callable[[Any], tuple[Any, ...]]
    numbers: tuple[int, ...]
    """Positions of integers that end up in a log or on disk: at most 63 bits."""
    name_lists: tuple[int, ...]
    """Positions of tuples of node names."""


_COMMON: Final = ("sender", "receiver", "term")
_COMMON_TYPES: Final = (int, str, str, str, int, int)
_WIRE_TYPES: Final[dict[str, type]] = {
    "int": int,
    "bool": bool,
    "bytes": bytes,
    "tuple[NodeId, ...]": bytes,
}
_U64_NAMES: Final = frozenset(
    {"context", "round", "transfer", "incarnation", "answers_boot", "known_boot", "echo", "number"}
)
"""Numbers that only their sender interprets; they may use all 64 bits."""
_I63_MAX: Final = (1 << 63) - 1
"""SQLite, where terms and indexes are stored, has signed integers."""
_KINDS: Final = {int(kind): kind for kind in EntryKind}
_NAMES_MAX: Final = 1024
_ELEMENTS_MAX: Final = 64 + 3 * (APPEND_BYTES_MAX // ENTRY_OVERHEAD_BYTES)
"""An append of entries without data, which each count as ENTRY_OVERHEAD_BYTES. A frame of as many
elements as it has bytes would take a quarter of a second to refuse, and no other thread runs
meanwhile."""


def _values_of(names: tuple[str, ...]) -> Callable[[Any], tuple[Any, ...]]:
    if not names:
        return lambda message: ()
    getter = attrgetter(*names)
    if len(names) == 1:
        return lambda message: (getter(message),)
    return cast("Callable[[Any], tuple[Any, ...]]", getter)


def _layout(code: int, cls: type[PeerMessage]) -> _Layout:
    described = [
        (field.name, str(field.type))
        for field in dataclass_fields(cls)
        if field.name not in _COMMON and field.name != "entries"
    ]
    names = tuple(name for name, _ in described)
    return _Layout(
        code,
        cls,
        names,
        tuple(_WIRE_TYPES[type_name] for _, type_name in described),
        _values_of(names),
        tuple(
            at
            for at, (name, type_name) in enumerate(described)
            if type_name == "int" and name not in _U64_NAMES
        ),
        tuple(at for at, (_, type_name) in enumerate(described) if "NodeId" in type_name),
    )


_BY_CLASS: Final[dict[type[PeerMessage], _Layout]] = {
    **{cls: _layout(rule.code, cls) for cls, rule in MESSAGE_TABLE.items()},
    **{cls: _layout(code, cls) for cls, code in TRANSFER_CODES.items()},
    **{cls: _layout(code, cls) for cls, code in GREETING_CODES.items()},
    **{cls: _layout(code, cls) for cls, code in EQUALITY_CODES.items()},
}
_BY_CODE: Final = {layout.code: layout for layout in _BY_CLASS.values()}
check(len(_BY_CODE) == len(_BY_CLASS), "each code names one class of peer message")


def encode_peer(message: PeerMessage, cluster: str, boot: int) -> bytes:
    """The frame for ``message`` from this node, whose boot id is ``boot``."""
    layout = _BY_CLASS[type(message)]
    values: list[Any] = [
        layout.code,
        cluster,
        message.sender,
        message.receiver,
        boot,
        message.term,
        *layout.values(message),
    ]
    for at in layout.name_lists:
        values[6 + at] = pack(values[6 + at])
    if type(message) is AppendRequest:
        for entry in message.entries:
            values += (entry.kind, entry.term, entry.data)
    return PEER_PREFIX + pack(values)


def decode_peer(data: bytes | memoryview) -> tuple[Envelope, PeerMessage]:
    """The message in a frame, and where it comes from.

    Raises:
        VersionMismatch: the sender speaks another version of this protocol.
        DecodeError: anything else that is not a peer message.
    """
    check_peer_prefix(data)
    return unpack_array(memoryview(data)[4:], _shape_peer, tuple, _ELEMENTS_MAX)


def _shape_peer(fields: list[Any]) -> tuple[Envelope, PeerMessage]:
    if tuple(map(type, fields[:6])) != _COMMON_TYPES:
        raise DecodeError("a peer message begins with code, cluster, sender, receiver, boot, term")
    code, cluster, sender, receiver, boot, term = fields[:6]
    layout = _BY_CODE.get(code)
    if layout is None:
        raise DecodeError(f"unknown peer message {code}")
    end = 6 + len(layout.names)
    values = fields[6:end]
    if tuple(map(type, values)) != layout.types:
        raise DecodeError(f"a field of {layout.cls.__name__} is missing or has the wrong type")
    if not sender or not receiver or boot < 0 or not 0 <= term <= _I63_MAX:
        raise DecodeError(f"sender, receiver, boot or term of {layout.cls.__name__} out of range")
    for at, value in enumerate(values):
        if layout.types[at] is int and (value < 0 or (value > _I63_MAX and at in layout.numbers)):
            raise DecodeError(f"{layout.cls.__name__}.{layout.names[at]} out of range: {value}")
    for at in layout.name_lists:
        values[at] = unpack_array(values[at], _shape_names, tuple, _NAMES_MAX)
    named: dict[str, Any] = dict(zip(layout.names, values, strict=True))
    if layout.cls is AppendRequest:
        named["entries"] = _entries(fields, end, named["prev_index"], named["prev_term"], term)
    elif len(fields) != end:
        raise DecodeError(f"{layout.cls.__name__} has {len(fields)} elements, not {end}")
    message = layout.cls(sender=sender, receiver=receiver, term=term, **named)
    return Envelope(cluster, sender, boot), message


def _shape_names(names: list[Any]) -> tuple[NodeId, ...]:
    if not all(type(name) is str and name for name in names):
        raise DecodeError("a node's name is text")
    return tuple(names)


def _entries(
    fields: list[Any], start: int, prev_index: int, prev_term: int, term: int
) -> tuple[Entry, ...]:
    """Entries from element ``start`` on; their terms never fall and never pass the sender's."""
    count, odd = divmod(len(fields) - start, 3)
    if odd or prev_index + count > _I63_MAX:
        raise DecodeError("entries are kind, term and data in turn, below the last log index")
    entries = []
    index = prev_index
    lowest = prev_term
    for at in range(start, len(fields), 3):
        kind, entry_term, data = fields[at : at + 3]
        if type(kind) is not int or type(entry_term) is not int or type(data) is not bytes:
            raise DecodeError("a part of an entry has the wrong type")
        if kind not in _KINDS:
            raise DecodeError(f"unknown kind of entry {kind}")
        if not lowest <= entry_term <= term:
            raise DecodeError(f"entry of term {entry_term} after {lowest} in a message of {term}")
        index += 1
        lowest = entry_term
        entries.append(Entry(index, entry_term, _KINDS[kind], data))
    return tuple(entries)
