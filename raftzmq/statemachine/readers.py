"""Read-only connections: each runs queries for one thread, on snapshots of state.db.

Readers use this machine's clock and chance; nothing they compute is replicated. Time is
passed in as a function, so that the limits can be tested without waiting.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, cast

import apsw

from raftzmq import limits
from raftzmq.errors import (
    Deferred,
    DiskFull,
    NotAQuery,
    RequestError,
    ShuttingDown,
    StatementTimeout,
    TooLarge,
)
from raftzmq.sqlite_errors import is_no_room
from raftzmq.statemachine import schema
from raftzmq.statemachine.authorizer import OWN, Authorizer
from raftzmq.statemachine.bounds import ApplyLimits
from raftzmq.statemachine.database import configure, damaged
from raftzmq.statemachine.outcomes import RESULT_ERRORS, as_request_error, storage_failed
from raftzmq.statemachine.point_reads import PointReads, is_point_read
from raftzmq.statemachine.reply import Reply, ResultPacker, carried_out, pack_large, refusal
from raftzmq.statemachine.statements import Parameters, Row, are_small, decode_payload, row_bytes

_FAST_STEPS_PER_CHECK: Final = 2_000
"""About 20 microseconds between two looks at the clock."""
_SLOW_STEPS_PER_CHECK: Final = 20_000
"""A look takes the interpreter lock, which the raft thread needs. Whoever wants to end a long read
interrupts it (``cancel``); but it is to rest about twice per millisecond."""
_STATEMENT_CACHE: Final = 200
_BUSY_MS: Final = 5_000
_SCHEMA_VERSION: Final = "PRAGMA schema_version"
_KNOWN_MAX: Final = 500
"""Texts whose columns are remembered, so that nobody need be asked when they begin to run."""
_KNOWN_SQL_LENGTH_MAX: Final = 4_096


class Reader:
    """One read-only connection; one thread uses it, any may call ``interrupt`` or ``cancel``.

    Args:
        path: of state.db, which a Machine has created.
        bounds: limits on statements, values and parameters.
        points: texts that turn out to be point reads are put down here.
        busy_ms: how long to wait for a lock of SQLite's; readers seldom meet one.
        rest: called now and then by ``run``, unless ``fast_only``; may sleep for a moment.

    Raises:
        StorageDamaged: not a database.
        StorageFailed: the file cannot be opened.
    """

    def __init__(
        self,
        path: Path,
        bounds: ApplyLimits | None = None,
        *,
        points: PointReads | None = None,
        busy_ms: int = _BUSY_MS,
        rest: Callable[[], None] = lambda: None,
    ) -> None:
        self._bounds = bounds or ApplyLimits()
        self._points = points
        self._rest = rest
        self._connection = open_reader(path, busy_ms)
        configure(self._connection, self._bounds)
        self._authorizer = Authorizer(reader=True)
        self._connection.authorizer = self._authorizer
        self._is_fast = False
        self._look_now_and_then()
        self._own = self._connection.cursor()
        self._plain = self._connection.cursor()
        self._columns: dict[str, tuple[list[str], int]] = {}
        self._schema_version = -1
        self._pack = ResultPacker()
        self._applied = 0
        self._shared = False
        self._stop = False
        self._cancelled: RequestError | None = None
        self._monotonic: Callable[[], float] = float
        self._stop_at = 0.0
        self._allowed_ms = 0
        self._defers = False

    @property
    def applied_index(self) -> int:
        """Applied index of the snapshot that the last ``begin`` or ``run`` used."""
        return self._applied

    @property
    def schema_version(self) -> int:
        """Of the snapshot that the last ``begin`` or ``run`` used."""
        return self._schema_version

    def begin(self) -> int:
        """Open a snapshot that the following runs share; returns its applied index.

        Raises:
            StorageFailed: the file cannot be read.
        """
        self._open_snapshot()
        self._shared = True
        return self._applied

    def end(self) -> None:
        """Give the shared snapshot back; without one, nothing happens.

        Raises:
            StorageFailed: the file cannot be read.
        """
        self._shared = False
        self._close_snapshot()

    def run(
        self,
        payload: bytes,
        *,
        timeout_ms: int,
        result_bytes_max: int = limits.RESULT_BYTES_MAX,
        monotonic: Callable[[], float],
        fast_only: bool = False,
        fast_ms: int = limits.FAST_READ_MS,
    ) -> Reply:
        """Run the queries of one request, on one snapshot.

        Args:
            payload: msgpack of [[sql, parameters], ...].
            timeout_ms: after this the request is answered StatementTimeout.
            result_bytes_max: more than this is answered TooLarge.
            monotonic: seconds on a clock that never goes back.
            fast_only: answer Deferred after ``fast_ms`` instead.
            fast_ms: milliseconds in a fast lane.

        Returns:
            The rows, or the error in the form of a reply.

        Raises:
            StorageFailed: the file cannot be read.
        """
        self._monotonic = monotonic
        if fast_only != self._is_fast:
            self._is_fast = fast_only
            self._look_now_and_then()
        self._defers = fast_only and fast_ms < timeout_ms
        self._allowed_ms = fast_ms if self._defers else timeout_ms
        self._stop_at = monotonic() + self._allowed_ms / 1000
        try:
            statements = decode_payload(payload, self._bounds.statements_max)
            if not self._shared:
                self._open_snapshot()
            return self._queries(statements, result_bytes_max)
        except RequestError as error:
            return refusal(error)
        finally:
            self._monotonic = float
            self._stop_at = 0.0
            if not self._shared:
                self._close_snapshot()

    def interrupt(self) -> None:
        """Make the running and every later request end with ShuttingDown."""
        self._stop = True
        with suppress(apsw.ConnectionClosedError):
            self._connection.interrupt()

    def cancel(self, why: RequestError) -> None:
        """Make the running and every later ``run`` end with ``why``, until ``resume``.

        Whoever calls it sees to it that the statement it means still runs: see
        ``node.kill_switch``.
        """
        self._cancelled = why
        with suppress(apsw.ConnectionClosedError):
            self._connection.interrupt()

    def resume(self) -> None:
        """End what ``cancel`` began."""
        self._cancelled = None

    def close(self) -> None:
        """Close the connection; idempotent."""
        self._connection.close(True)

    def _queries(self, statements: list[tuple[str, Parameters]], result_bytes_max: int) -> Reply:
        results: list[list[Any]] = []
        rows: list[Row] | None
        left = result_bytes_max
        authorizer = self._authorizer
        for sql, parameters in statements:
            if self._cancelled is not None:
                # SQLite forgets an interrupt that comes while no statement runs.
                raise self._cancelled
            authorizer.refused = ""
            authorizer.running = False
            authorizer.asked = True
            try:
                known = self._columns.get(sql)
                is_new = known is None
                if known is None:
                    columns, rows, left = self._query(sql, parameters, left)
                else:
                    columns, names_bytes = known
                    rows, left = self._known_query(sql, parameters, left, names_bytes)
            except apsw.InterruptError as error:
                raise self._why_interrupted() from error
            except RequestError:
                # Not "from" itself: such an error would keep all that its frames hold, up to
                # result_bytes_max of rows, until Python looks for garbage in cycles.
                raise
            except RESULT_ERRORS as error:
                if not is_no_room(error, self._connection):
                    raise as_request_error(error, authorizer.refused, self._connection) from error
                # Readers write nothing but temporary files: a sort that outgrew its folder.
                raise DiskFull(
                    "no room for the temporary files of this read; free some in the temporary"
                    " folder of the node's machine, or let the read sort less"
                ) from error
            finally:
                authorizer.asked = False
            if is_new and sql in self._columns:
                self._learn(sql, parameters)
            results.append([0, 0, columns, rows])
        if result_bytes_max - left >= limits.LARGE_RESULT_BYTES:
            return carried_out(pack_large(results))
        return carried_out(self._pack(results))

    def _learn(self, sql: str, parameters: Parameters) -> None:
        if self._points is not None and is_point_read(self._connection, sql, parameters):
            self._points.learn(sql, self._schema_version)

    def _query(
        self, sql: str, parameters: Parameters, left: int
    ) -> tuple[list[str] | None, list[Row] | None, int]:
        columns: list[str] | None = None
        rows: list[Row] = []
        bytes_max = left
        begun = names_bytes = 0

        def begins(cursor: apsw.Cursor, _sql: str, _bindings: object) -> bool:
            nonlocal columns, begun, left, names_bytes
            begun += 1
            if not cursor.has_vdbe:
                return True
            if not cursor.is_readonly:
                raise NotAQuery("a read request contains a statement that writes")
            columns = [column[0] for column in cursor.get_description()] or None
            names_bytes = sum(map(len, columns or ()))
            left -= names_bytes
            rows.clear()
            self._authorizer.running = True
            return True

        cursor = self._connection.cursor()
        cursor.exec_trace = begins
        try:
            # A cached statement would tell the columns that it had when it was prepared, maybe
            # under an older schema.
            for row in cursor.execute(sql, parameters, can_cache=False):
                left -= row_bytes(row)
                if left < 0:
                    raise TooLarge(_beyond(bytes_max))
                rows.append(row)
        finally:
            cursor.close(True)
        if left < 0:  # by the names alone
            raise TooLarge(_beyond(bytes_max))
        if columns and begun == 1 and len(sql) <= _KNOWN_SQL_LENGTH_MAX:
            if len(self._columns) >= _KNOWN_MAX:
                self._columns.clear()
            self._columns[sql] = columns, names_bytes
        return columns, rows if columns else None, left

    def _known_query(
        self, sql: str, parameters: Parameters, left: int, names_bytes: int
    ) -> tuple[list[Row], int]:
        """A single statement that read, and whose columns are known, under the schema as it is."""
        bytes_max = left
        left -= names_bytes
        if left < 0:
            raise TooLarge(_beyond(bytes_max))
        self._authorizer.running = True
        rows: list[Row] = []
        try:
            cached = are_small(parameters)
            for row in self._plain.execute(sql, parameters, can_cache=cached):
                left -= row_bytes(row)
                if left < 0:
                    raise TooLarge(_beyond(bytes_max))
                rows.append(row)
        except BaseException:
            # What is left of the statement would keep its snapshot open.
            self._plain.close(True)
            self._plain = self._connection.cursor()
            raise
        return rows, left

    def _why_interrupted(self) -> RequestError:
        if self._stop:
            return ShuttingDown("the node is stopping")
        if self._cancelled is not None:
            return self._cancelled
        if self._defers:
            return Deferred(f"the read takes more than {self._allowed_ms} ms")
        return StatementTimeout(f"the read took more than {self._allowed_ms} ms")

    def _look_now_and_then(self) -> None:
        if self._is_fast:
            self._connection.set_progress_handler(self._is_over, _FAST_STEPS_PER_CHECK)
        else:
            self._connection.set_progress_handler(self._is_over_after_rest, _SLOW_STEPS_PER_CHECK)

    def _is_over_after_rest(self) -> bool:
        self._rest()
        return self._is_over()

    def _is_over(self) -> bool:
        return (
            self._stop
            or self._cancelled is not None
            or (self._stop_at > 0 and self._monotonic() > self._stop_at)
        )

    def _open_snapshot(self) -> None:
        try:
            self._own.execute("BEGIN", prepare_flags=OWN)
            # A snapshot begins with the first read, not with BEGIN.
            found = self._own.execute(schema.READ_APPLIED, prepare_flags=OWN).fetchall()
            version = self._own.execute(_SCHEMA_VERSION, prepare_flags=OWN).fetchall()[0][0]
        except apsw.InterruptError as error:
            raise self._cancelled or ShuttingDown("the node is stopping") from error
        except apsw.Error as error:
            raise storage_failed(error) from error
        self._applied = cast(int, found[0][0])
        if version != self._schema_version:
            self._schema_version = cast(int, version)
            self._columns.clear()

    def _close_snapshot(self) -> None:
        try:
            if self._connection.in_transaction:
                self._commit()
        except apsw.Error as error:
            raise storage_failed(error) from error

    def _commit(self) -> None:
        try:
            self._own.execute("COMMIT", prepare_flags=OWN)
        except apsw.InterruptError:
            # ``interrupt`` may come at any moment; a second one hits nothing that matters.
            if self._connection.in_transaction:
                self._own.execute("COMMIT", prepare_flags=OWN)


def open_reader(path: Path, busy_ms: int = _BUSY_MS) -> apsw.Connection:
    """A read-only connection to state.db, that waits for a lock for so long.

    Raises:
        StorageDamaged: not a database.
        StorageFailed: the file cannot be opened.
    """
    try:
        connection = apsw.Connection(
            str(path), flags=apsw.SQLITE_OPEN_READONLY, statementcachesize=_STATEMENT_CACHE
        )
        connection.set_busy_timeout(busy_ms)
        connection.execute("PRAGMA query_only = ON")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchall()
    except (apsw.NotADBError, apsw.CorruptError) as error:
        raise damaged(path, str(error)) from error
    except apsw.Error as error:
        raise storage_failed(error) from error
    return connection


def _beyond(bytes_max: int) -> str:
    return f"the rows of the request and the names of their columns exceed {bytes_max} bytes"
