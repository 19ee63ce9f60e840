"""What one request got back, as the bytes that travel to the client."""

from __future__ import annotations

from typing import NamedTuple, cast

import msgpack

from raftzmq.errors import RequestError


class Reply(NamedTuple):
    """Outcome of one request.

    Attributes:
        code: 0 when it was carried out, else the code of a class in ``raftzmq.errors``.
        body: msgpack of [[changes, last_insert_rowid, columns | nil, rows | nil], ...], one per
            statement; with an error, msgpack of [message, detail].
    """

    code: int
    body: bytes


def refusal(error: RequestError) -> Reply:
    """The reply that carries ``error``."""
    return Reply(error.code, cast(bytes, msgpack.packb([error.message, error.detail])))
