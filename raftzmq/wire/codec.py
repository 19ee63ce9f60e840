"""msgpack with nothing left to chance: bytes in, a checked shape or ``DecodeError`` out.

Every message of raftzmq is one flat msgpack array. ``unpack_array`` hands that array to a
``shape`` function, which checks it and returns the finished value. The shape function runs as
msgpack's list hook: on *every* array at the moment it is complete, innermost first. A nested
array therefore fails at once, and a hostile frame of millions of tiny arrays cannot grow to
many times its own size in memory before anybody looks at it.

Never pickle, never extension types, never maps unless the shape is a map.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any, Final, TypeVar

import msgpack

from raftzmq.errors import RaftzmqError

Shaped = TypeVar("Shaped")

U64_MAX: Final = (1 << 64) - 1
"""Largest integer msgpack carries; every counter on the wire fits."""

_UNPACK_ERRORS: Final = (ValueError, TypeError, OverflowError, RecursionError)
"""What msgpack raises on bad bytes: its own errors are ValueErrors; the others guard hooks."""


class DecodeError(RaftzmqError):
    """Bytes that are not what they should be.

    The receiver drops the frame and counts it, or answers ``errors.MalformedRequest``.
    """


_NESTED_MAX: Final = 1024
"""msgpack makes room for what an array announces, before it has seen any of it, on each of 1,024
levels: 3 KB of nested promises took 80 MB and 60 ms of the interpreter. With this as the most that
one may announce, it is a tenth of that."""

_LONG_ARRAYS: Final = {0xDC: 3, 0xDD: 5}
"""First byte of an array of more than 15 elements -> bytes in front of the first of them (msgpack
specification, array family)."""

pack: Final[Callable[[object], bytes]] = msgpack.packb
"""One value to bytes. A packer kept between calls would be 0.2 us faster and not thread-safe."""


def pack_each(values: Iterable[object]) -> list[bytes]:
    """Each of ``values`` to bytes, by one packer that nobody else has.

    To make a packer costs as much as to pack a request. It is not kept beyond this call, because
    it keeps a buffer of twice the largest value.
    """
    return list(map(msgpack.Packer(autoreset=True).pack, values))


def array_head(count: int) -> bytes:
    """What stands in front of the ``count`` elements of an array."""
    head: bytes = msgpack.Packer().pack_array_header(count)
    return head


def bytes_head(size: int) -> bytes:
    """What stands in front of ``size`` bytes (msgpack specification, bin family)."""
    for kind, width in ((b"\xc4", 1), (b"\xc5", 2)):
        if size < 1 << 8 * width:
            return kind + size.to_bytes(width, "big")
    return b"\xc6" + size.to_bytes(4, "big")


def unpack_array(
    data: bytes | memoryview,
    shape: Callable[[list[Any]], Shaped],
    kind: type[Shaped],
    array_max: int,
) -> Shaped:
    """Decode ``data``, one flat array, into what ``shape`` makes of it.

    Args:
        data: the whole message; bytes left over are an error.
        shape: checks the elements and builds the value; raises DecodeError.
        kind: the exact class of what ``shape`` returns.
        array_max: most elements an array may announce.

    Raises:
        DecodeError: ``data`` is not such an array.
    """
    try:
        if array_max > _NESTED_MAX and (count := _announced(data)) > _NESTED_MAX:
            if count > array_max:
                raise DecodeError(f"an array of {count}, at most {array_max} are expected")
            value = shape(_unpack_long(data, count))
        else:
            most = min(array_max, _NESTED_MAX)
            value = msgpack.unpackb(data, list_hook=shape, max_array_len=most, max_map_len=0)
    except _UNPACK_ERRORS as error:
        raise DecodeError(f"not msgpack of the expected shape: {error}") from None
    if type(value) is not kind:
        raise DecodeError(f"expected one array, not {type(value).__name__}")
    return value


def _announced(data: bytes | memoryview) -> int:
    """How many elements the array in ``data`` has; 0 if it is short, cut short, or none."""
    header_bytes = _LONG_ARRAYS.get(data[0], 0) if data else 0
    return int.from_bytes(data[1:header_bytes], "big") if len(data) >= header_bytes else 0


def _unpack_long(data: bytes | memoryview, count: int) -> list[Any]:
    """The ``count`` elements of ``data``; none of them may be an array that holds anything."""
    unpacker = msgpack.Unpacker(max_buffer_size=len(data), max_array_len=0, max_map_len=0)
    unpacker.feed(data)
    unpacker.read_array_header()
    elements = list(islice(unpacker, count))
    if len(elements) < count or unpacker.tell() < len(data):
        raise DecodeError("one array was expected, and neither less nor more")
    return elements


def unpack_nested(data: bytes) -> tuple[Any, ...]:
    """Decode ``data``, an array of arrays of scalars; arrays come back as tuples.

    The caller checks the shape. Only for data whose size the sender's own limits bound, because
    here a hostile message can take about 30 times its size in memory.

    Raises:
        DecodeError: not msgpack, or not an array, or with a map or an extension type in it.
    """
    try:
        value = msgpack.unpackb(
            data, use_list=False, max_array_len=len(data), max_map_len=0, object_hook=_refuse_map
        )
    except _UNPACK_ERRORS as error:
        raise DecodeError(f"not msgpack of the expected shape: {error}") from None
    if type(value) is not tuple:
        raise DecodeError(f"expected an array, not {type(value).__name__}")
    return value


def unpack_map(data: bytes, entries_max: int) -> dict[str, Any]:
    """Decode ``data``, a map with text keys, at most ``entries_max`` entries on each level.

    Raises:
        DecodeError: not msgpack, or not such a map.
    """
    try:
        value = msgpack.unpackb(
            data, max_map_len=entries_max, max_array_len=entries_max, max_ext_len=0
        )
    except _UNPACK_ERRORS as error:
        raise DecodeError(f"not msgpack of the expected shape: {error}") from None
    if type(value) is not dict or not all(type(key) is str for key in value):
        raise DecodeError("expected a map with text keys")
    return value


def _refuse_map(found: object) -> object:
    raise DecodeError(f"a map where none belongs: {found!r:.80}")
