"""The synchronous API: one request at a time, each with a result or a typed error.

    import raftzmq

    with raftzmq.connect("tcp://127.0.0.1:7000", "tcp://127.0.0.1:7001") as db:
        db.write("insert into account (name) values (?)", ["Ada"])
        for row in db.read("select id, name from account"):
            print(row)

A connection is **not thread-safe**: open one per thread. They share one ZeroMQ context.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import zmq

from raftzmq.client.channel import Channel
from raftzmq.client.pipeline import Pipeline
from raftzmq.client.results import ReadResult, WriteResult, read_result, write_result
from raftzmq.client.session import CLIENT_ID_BYTES, Call, Session, key_bytes
from raftzmq.errors import ConfigError, OutcomeUnknown
from raftzmq.limits import REQUEST_TIMEOUT_MS
from raftzmq.transport.clock import monotonic_ms
from raftzmq.transport.sockets import Context
from raftzmq.wire.client import Kind, Level, Reply
from raftzmq.wire.codec import DecodeError, unpack_map
from raftzmq.wire.payload import encode_statements

Sql: TypeAlias = str | Sequence[tuple[str, Sequence[object]]]
"""One statement as text, or several as (text, parameters) each: one transaction."""

POLL_MS: Final = 1_000
_STATUS_ENTRIES_MAX: Final = 4_096


class Connection:
    """A session with the database through brokers, or directly with nodes.

    Every failure raises a ``raftzmq.errors.RequestError`` whose ``outcome`` says whether the
    request was executed. A lost broker or leader is not a failure: the request is sent again
    until its time runs out, and a write is applied once however often it was sent.

    Not thread-safe.

    Args:
        addresses: of brokers, or of nodes, in order of preference.
        timeout_ms: for requests that do not say otherwise.
        client: a client id to go on with; by default a fresh random one.
        after: ``token`` of another connection, in whatever process or language: reads at level
            SESSION see at least what that one had seen or written.
        context: ZeroMQ context; by default the one of the process.
    """

    def __init__(
        self,
        addresses: Sequence[str],
        *,
        timeout_ms: int = REQUEST_TIMEOUT_MS,
        client: bytes | None = None,
        after: int = 0,
        context: Context | None = None,
    ) -> None:
        if not addresses:
            raise ConfigError("connect needs the address of at least one broker or node")
        name = os.urandom(CLIENT_ID_BYTES) if client is None else client
        self.session = Session(name, timeout_ms=timeout_ms, after=after)
        channel = Channel(addresses, context or zmq.Context.instance())
        self._pipeline = Pipeline(channel, self.session, monotonic_ms)

    def __enter__(self) -> Connection:
        """The connection itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Close the sockets. The connection cannot be used after this."""
        self._pipeline.close()

    @property
    def token(self) -> int:
        """The session token: the highest log index this connection has seen.

        Another connection opened with ``after=token`` reads at level SESSION nothing older.
        """
        return self.session.token

    def write(
        self,
        sql: Sql,
        parameters: Sequence[object] = (),
        *,
        id: str | None = None,  # noqa: A002 - the word of `raftzmq write --id`
        timeout_ms: int | None = None,
    ) -> WriteResult:
        """Change the database, durably on a majority of nodes, exactly once.

        Args:
            sql: one statement, or a list of (statement, parameters) for one transaction.
            parameters: of the one statement.
            id: idempotency key of 1 to 48 bytes. Whoever writes the same statements under the
                same key again, from any process, is given the first result and changes nothing
                (``WriteResult.applied_before``), for as long as the cluster remembers the key:
                ``key_ledger_ms`` (7 days), less if ``key_ledger_bytes_max`` does not reach. A
                write that was rejected does not use the key up.
            timeout_ms: until the call gives up.

        Raises:
            RequestError: see ``outcome``; in particular ConstraintFailed, SqlError,
                DeadlineExpired (not executed), OutcomeUnknown, and NameReused when ``id`` was
                used for other statements.
        """
        payload = encode_statements(_statements(sql, parameters))
        key = b"" if id is None else key_bytes(id)
        call = self.session.write(payload, monotonic_ms(), timeout_ms=timeout_ms, key=key)
        reply = self._run(call)
        try:
            return write_result(reply)
        except DecodeError as error:
            raise OutcomeUnknown(f"written, but the result cannot be read: {error}") from error

    def read(
        self,
        sql: Sql,
        parameters: Sequence[object] = (),
        *,
        level: Level = Level.LINEARIZABLE,
        max_age_ms: int = 0,
        timeout_ms: int | None = None,
        slow: bool = False,
    ) -> ReadResult:
        """Query the database.

        Args:
            sql: one query, or a list of (query, parameters) that see the same state.
            parameters: of the one query.
            level: how fresh; the default sees every write acknowledged before.
            max_age_ms: for STALE, how old the replica's knowledge may be.
            timeout_ms: until the call gives up.
            slow: known to take long; spares the attempt in a fast lane.

        Raises:
            RequestError: see ``outcome``; in particular SqlError, NotAQuery, TooStale and
                DeadlineExpired.
        """
        call = self.session.read(
            encode_statements(_statements(sql, parameters)),
            monotonic_ms(),
            level=level,
            max_age_ms=max_age_ms,
            timeout_ms=timeout_ms,
            slow=slow,
        )
        reply = self._run(call)
        try:
            return read_result(reply)
        except DecodeError as error:
            raise OutcomeUnknown(f"the result cannot be read: {error}") from error

    def status(self, *, timeout_ms: int | None = None) -> dict[str, Any]:
        """What the other side says of itself.

        A broker answers ``{"nodes": [...], "broker": {...}}``, a node the fields of
        ``raftzmq.wire.status.NodeStatus``.
        """
        return self._ask_map(Kind.STATUS, b"", timeout_ms)

    def digest(self, *, timeout_ms: int | None = None) -> Reply:
        """Hash of a node's content at an applied index; node connections only.

        Returns:
            The reply; ``index`` is the applied index, ``body`` what the node packed.
        """
        return self._run(self.session.ask(Kind.DIGEST, monotonic_ms(), timeout_ms=timeout_ms))

    def transfer(self, to: str = "", *, timeout_ms: int | None = None) -> None:
        """Make a leader hand over, to node ``to`` or the best one; node connections only.

        Raises:
            NotLeader: the node asked does not lead.
        """
        self._run(
            self.session.ask(
                Kind.TRANSFER, monotonic_ms(), payload=to.encode(), timeout_ms=timeout_ms
            )
        )

    def stop(self, *, timeout_ms: int | None = None) -> None:
        """Stop a node in order: it hands over leadership first; node connections only."""
        self._run(self.session.ask(Kind.STOP, monotonic_ms(), timeout_ms=timeout_ms))

    def _ask_map(self, kind: Kind, payload: bytes, timeout_ms: int | None) -> dict[str, Any]:
        call = self.session.ask(kind, monotonic_ms(), payload=payload, timeout_ms=timeout_ms)
        try:
            return unpack_map(self._run(call).body, _STATUS_ENTRIES_MAX)
        except DecodeError as error:
            raise OutcomeUnknown(f"the answer cannot be read: {error}") from error

    def _run(self, call: Call) -> Reply:
        self._pipeline.submit(call)
        while not call.done:
            self._pipeline.poll(POLL_MS)
        if call.error is not None:
            raise call.error
        if call.reply is None:
            raise OutcomeUnknown("the request ended without an answer")
        return call.reply


def connect(*addresses: str, timeout_ms: int = REQUEST_TIMEOUT_MS, after: int = 0) -> Connection:
    """Open a connection; the first request finds out whether anybody is there.

    Args:
        addresses: of brokers (or of nodes), for instance ``tcp://127.0.0.1:7000``; on loss of
            one the next is used.
        timeout_ms: for requests that do not say otherwise.
        after: the ``token`` of another connection, to read no older state than that one saw.

    Raises:
        ConfigError: no address.
    """
    return Connection(addresses, timeout_ms=timeout_ms, after=after)


def open_pipeline(*addresses: str, timeout_ms: int = REQUEST_TIMEOUT_MS) -> Pipeline:
    """Open a pipeline with its own session and socket; arguments as for ``connect``."""
    if not addresses:
        raise ConfigError("a pipeline needs the address of at least one broker or node")
    session = Session(os.urandom(CLIENT_ID_BYTES), timeout_ms=timeout_ms)
    return Pipeline(Channel(addresses, zmq.Context.instance()), session, monotonic_ms)


def _statements(sql: Sql, parameters: Sequence[object]) -> Sequence[tuple[str, Sequence[object]]]:
    return [(sql, parameters)] if isinstance(sql, str) else sql
