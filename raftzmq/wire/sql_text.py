"""The SQL in a payload, for those who only look at it: a list for people, the broker's memory.

Nothing here decodes a whole payload, which may hold 16 MiB.
"""

from __future__ import annotations

from typing import Final

import msgpack

SQL_BYTES_MAX: Final = 32 << 10
"""Of a payload that much is looked at to find its SQL."""
_HEAD_BYTES: Final = 11
"""Two headers of lists, each as long as may be, and the first byte of a text."""
_PAIR: Final = 0x92
_SHORT_TEXT: Final = 0xA0
_TEXT_HEADER_BYTES: Final = {0xD9: 2, 0xDA: 3, 0xDB: 5}
"""First byte of a longer text -> bytes in front of it (msgpack specification, str family)."""


def statement_texts(payload: bytes, bytes_max: int = SQL_BYTES_MAX) -> tuple[str, bool]:
    """The SQL of all statements, looking at no more than ``bytes_max`` of ``payload``.

    Returns:
        The texts joined by "; ", and whether that is all of them.
    """
    texts: list[str] = []
    head = payload[:bytes_max]
    unpacker = msgpack.Unpacker(max_buffer_size=bytes_max, unicode_errors="replace")
    unpacker.feed(head)
    text_at = 0
    try:
        for _ in range(unpacker.read_array_header()):
            unpacker.read_array_header()
            text_at = unpacker.tell()
            text = unpacker.unpack()
            if type(text) is not str:
                return "; ".join(texts), False  # whoever executes it will say what it is
            texts.append(text)
            text_at = 0
            unpacker.skip()
    except msgpack.OutOfData:
        if 0 < text_at < len(head):
            after = text_at + _TEXT_HEADER_BYTES.get(head[text_at], 1)
            texts.append(head[after:].decode("utf-8", "ignore"))
        return "; ".join(texts), False
    except (ValueError, msgpack.UnpackException):
        return "; ".join(texts), False
    return "; ".join(texts), True


def begins_like_statements(payload: bytes) -> bool:
    """Whether a list begins here, and with a pair that begins with text; empty lists do, too."""
    head = payload[:_HEAD_BYTES]
    unpacker = msgpack.Unpacker(max_buffer_size=_HEAD_BYTES)
    unpacker.feed(head)
    try:
        if unpacker.read_array_header() == 0:
            return True
        is_pair = unpacker.read_array_header() == 2
    except (ValueError, msgpack.UnpackException):
        return False
    first = head[unpacker.tell()] if unpacker.tell() < len(head) else 0
    is_text = _SHORT_TEXT <= first < _SHORT_TEXT + 32 or first in _TEXT_HEADER_BYTES
    return is_pair and is_text


def first_text(payload: bytes) -> bytes:
    """UTF-8 of the first statement's SQL, or nothing; reads a few bytes of header only."""
    if len(payload) < 4 or payload[1] != _PAIR or not 0x91 <= payload[0] <= 0x9F:
        return b""
    first = payload[2]
    if _SHORT_TEXT <= first < _SHORT_TEXT + 32:
        return payload[3 : 3 + first - _SHORT_TEXT]
    size = _TEXT_HEADER_BYTES.get(first, 0)
    if not size:
        return b""
    begin = 2 + size
    return payload[begin : begin + int.from_bytes(payload[3:begin], "big")]
