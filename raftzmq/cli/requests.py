"""Reads and writes of the command line: one at a time, each until its final answer."""

from __future__ import annotations

import os
from collections.abc import Sequence
from types import TracebackType
from typing import Final, NamedTuple, Self

import zmq

from raftzmq.client.channel import Channel
from raftzmq.client.pipeline import Pipeline
from raftzmq.client.session import CLIENT_ID_BYTES, Call, Session
from raftzmq.errors import OutcomeUnknown
from raftzmq.transport.clock import monotonic_ms
from raftzmq.wire.client import Level, Reply, ReplyFlags
from raftzmq.wire.codec import DecodeError
from raftzmq.wire.payload import StatementResult, Value, decode_results, encode_statements

Statements = Sequence[tuple[str, Sequence[Value]]]

_POLL_MS: Final = 500


class Written(NamedTuple):
    """What became of a write.

    Attributes:
        results: one per statement; none when they are forgotten.
        applied_at: log index.
        before: its key had been used before; these are the results of the first time.
        forgotten: rows, or all results, of the first time are not remembered.
    """

    results: list[StatementResult]
    applied_at: int = 0
    before: bool = False
    forgotten: bool = False


class Requests:
    """A session with the cluster; a context manager.

    Args:
        addresses: of proxies or nodes, in order of preference.
        timeout_ms: of each request, retries included.
        after: token of another session, for reads at level SESSION.
    """

    def __init__(self, addresses: Sequence[str], *, timeout_ms: int, after: int = 0) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._session = Session(os.urandom(CLIENT_ID_BYTES), timeout_ms=timeout_ms, after=after)
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

    @property
    def token(self) -> int:
        """The session token, for ``after`` of another session."""
        return self._session.token

    def write(self, statements: Statements, *, flags: int = 0, key: bytes = b"") -> Written:
        """Apply all statements in one transaction.

        Args:
            statements: (SQL, parameters) each.
            flags: bits of ``Flags``.
            key: idempotency key; empty: none.

        Raises:
            RequestError: nothing was applied, or nobody knows (``outcome``).
        """
        return self.finish(self.begin(statements, flags=flags, key=key))

    def begin(self, statements: Statements, *, flags: int = 0, key: bytes = b"") -> Call:
        """Hand over a write and do not wait; arguments as of ``write``.

        Raises:
            RequestError: it is too large.
        """
        payload = encode_statements(statements)
        call = self._session.write(payload, monotonic_ms(), flags=flags, key=key)
        self._pipeline.submit(call)
        self._pipeline.poll(0)
        return call

    def finish(self, call: Call) -> Written:
        """Wait for what ``begin`` handed over.

        Raises:
            RequestError: nothing was applied, or nobody knows (``outcome``).
        """
        reply = self._wait(call)
        return Written(
            _results(reply),
            reply.index,
            bool(reply.flags & ReplyFlags.APPLIED_BEFORE),
            bool(reply.flags & ReplyFlags.RESULT_FORGOTTEN),
        )

    def read(
        self, statements: Statements, *, level: Level, max_age_ms: int
    ) -> list[StatementResult]:
        """Run queries on one snapshot.

        Raises:
            RequestError: why there is no answer.
        """
        payload = encode_statements(statements)
        return _results(
            self._finish(
                self._session.read(payload, monotonic_ms(), level=level, max_age_ms=max_age_ms)
            )
        )

    def _finish(self, call: Call) -> Reply:
        self._pipeline.submit(call)
        return self._wait(call)

    def _wait(self, call: Call) -> Reply:
        while not call.done:
            self._pipeline.poll(_POLL_MS)
        if call.error is not None:
            raise call.error
        if call.reply is None:
            raise OutcomeUnknown("the request ended without an answer")
        return call.reply


def _results(reply: Reply) -> list[StatementResult]:
    try:
        return decode_results(reply.body)
    except DecodeError as error:
        raise OutcomeUnknown(f"the answer cannot be read: {error}") from None
