"""Reads and writes of the command line: one at a time, each until its final answer."""

from __future__ import annotations

import os
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self

import zmq

from raftzmq.client.channel import Channel
from raftzmq.client.pipeline import Pipeline
from raftzmq.client.session import CLIENT_ID_BYTES, Call, Session
from raftzmq.errors import OutcomeUnknown
from raftzmq.transport.clock import monotonic_ms
from raftzmq.wire.client import Level
from raftzmq.wire.codec import DecodeError
from raftzmq.wire.payload import StatementResult, Value, decode_results, encode_statements

Statements = Sequence[tuple[str, Sequence[Value]]]

_POLL_MS: Final = 500


class Requests:
    """A session with the cluster; a context manager.

    Args:
        addresses: of proxies or nodes, in order of preference.
        timeout_ms: of each request, retries included.
    """

    def __init__(self, addresses: Sequence[str], *, timeout_ms: int) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._session = Session(os.urandom(CLIENT_ID_BYTES), timeout_ms=timeout_ms)
        self._pipeline = Pipeline(Channel(addresses, self._context), self._session, monotonic_ms)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pipeline.close()
        self._context.destroy(linger=0)

    def write(self, statements: Statements, *, flags: int = 0) -> list[StatementResult]:
        """Apply all statements in one transaction.

        Raises:
            RequestError: nothing was applied, or nobody knows (``outcome``).
        """
        payload = encode_statements(statements)
        return self._finish(self._session.write(payload, monotonic_ms(), flags=flags))

    def read(
        self, statements: Statements, *, level: Level, max_age_ms: int
    ) -> list[StatementResult]:
        """Run queries on one snapshot.

        Raises:
            RequestError: why there is no answer.
        """
        payload = encode_statements(statements)
        return self._finish(
            self._session.read(payload, monotonic_ms(), level=level, max_age_ms=max_age_ms)
        )

    def _finish(self, call: Call) -> list[StatementResult]:
        self._pipeline.submit(call)
        while not call.done:
            self._pipeline.poll(_POLL_MS)
        if call.error is not None:
            raise call.error
        try:
            return decode_results(call.reply.body if call.reply is not None else b"")
        except DecodeError as error:
            raise OutcomeUnknown(f"the answer cannot be read: {error}") from None
