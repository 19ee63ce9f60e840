"""What one request got back, as the bytes that travel to the client."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple, cast

import msgpack

from raftzmq.errors import RequestError

APPLIED_BEFORE: Final = 1
"""The key of this write had been used by another request, whose result this is."""
RESULT_FORGOTTEN: Final = 2
"""The write was applied; its result is remembered without its rows, or not at all."""
MESSAGE_CHARACTERS_MAX: Final = 2_000
"""SQLite quotes the offending token, which may be as long as the request."""

_KEPT_BYTES_MAX: Final = 64 << 10
_PART_BYTES: Final = 64 << 10
_TEXT: Final = b"\xdb"
_BLOB: Final = b"\xc6"
"""What a value of 64 KiB and more begins with (msgpack specification)."""
_ROWS_AT_A_TIME: Final = 64
_ROWS_LOOKED_INTO: Final = 1_000
"""Among more rows than that, a large value is not looked for: to look costs as much as to pack."""


class Reply(NamedTuple):
    """Outcome of one request.

    Attributes:
        code: 0 when it was carried out, else the code of a class in ``raftzmq.errors``.
        body: msgpack of [[changes, last_insert_rowid, columns | nil, rows | nil], ...], one per
            statement; with an error, msgpack of [message, detail].
        index: of the entry that carried the request out; 0: of the entry it came in.
        flags: APPLIED_BEFORE, RESULT_FORGOTTEN; the numbers are those of the client wire.
    """

    code: int
    body: bytes
    index: int = 0  # type: ignore[assignment]  # hides tuple.index, which nobody needs here
    flags: int = 0


class ResultPacker:
    """Packs the results of one request after the other; used by one thread.

    A packer that is kept saves a fifth of a microsecond. It also keeps a buffer of twice the
    largest result so far, up to 30 MiB for each reader of a node.
    """

    __slots__ = ("_pack",)

    def __init__(self) -> None:
        self._pack = msgpack.Packer(autoreset=True).pack

    def __call__(self, results: object) -> bytes:
        packed: bytes = self._pack(results)
        if len(packed) > _KEPT_BYTES_MAX:
            self._pack = msgpack.Packer(autoreset=True).pack
        return packed


def pack_large(results: Sequence[Sequence[Any]]) -> bytes:
    """What a ``ResultPacker`` makes of ``results``, from LARGE_RESULT_BYTES on.

    It holds the interpreter from the first row to the last, and the raft thread would wait for it;
    a thread that gets little of the processors holds it for long. Here others come in between, and
    join() lets go of the interpreter while it copies a megabyte or more.
    """
    parts: list[bytes] = []
    packer = msgpack.Packer(autoreset=False)
    packer.pack_array_header(len(results))
    for *head, rows in results:
        packer.pack_array_header(len(head) + 1)
        for each in head:
            packer.pack(each)
        if rows is None:
            packer.pack(None)
            continue
        packer.pack_array_header(len(rows))
        for start in range(0, len(rows), _ROWS_AT_A_TIME):
            for row in rows[start : start + _ROWS_AT_A_TIME]:
                if len(rows) > _ROWS_LOOKED_INTO:
                    packer.pack(row)
                else:
                    _pack_row(row, packer, parts)
            if len(packer.getbuffer()) >= _PART_BYTES:
                _end_part(packer, parts)
    _end_part(packer, parts)
    return b"".join(parts)


def _pack_row(row: Sequence[object], packer: msgpack.Packer, parts: list[bytes]) -> None:
    packer.pack_array_header(len(row))
    for value in row:
        if not isinstance(value, (str, bytes)) or len(value) < _PART_BYTES:
            packer.pack(value)
            continue
        _end_part(packer, parts)
        data, kind = (value, _BLOB) if isinstance(value, bytes) else (value.encode(), _TEXT)
        parts += (kind + len(data).to_bytes(4, "big"), data)


def _end_part(packer: msgpack.Packer, parts: list[bytes]) -> None:
    parts.append(packer.bytes())
    packer.reset()


def carried_out(body: bytes) -> Reply:
    """``Reply(0, body)``, at half its price: every short read makes one."""
    return tuple.__new__(Reply, (0, body, 0, 0))


def refusal(error: RequestError) -> Reply:
    """The reply that carries ``error``."""
    message = error.message[:MESSAGE_CHARACTERS_MAX]
    return Reply(error.code, cast(bytes, msgpack.packb([message, error.detail])))


def without_rows(body: bytes) -> bytes:
    """``body`` of a reply with code 0 as if no statement had returned rows."""
    results = msgpack.unpackb(body)
    return cast(bytes, msgpack.packb([[result[0], result[1], None, None] for result in results]))
