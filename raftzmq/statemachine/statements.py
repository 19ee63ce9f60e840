"""Running one request: a list of statements inside one savepoint, all or nothing.

The same bytes on the same content give the same reply and the same effects, on whatever
connection and in whatever transaction they run. What would leak from the request before
(last_insert_rowid(), changes(), defer_foreign_keys) is reset; what would leak out of this one
(deferred foreign keys, which SQLite checks at COMMIT only) is settled at its end.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import islice
from typing import Any, Final, TypeAlias, cast

import apsw
import msgpack

from raftzmq import limits
from raftzmq.errors import (
    ConstraintFailed,
    Forbidden,
    MalformedRequest,
    RequestError,
    SqlError,
    StatementTimeout,
    TooLarge,
)
from raftzmq.statemachine import schema
from raftzmq.statemachine.authorizer import OWN, Authorizer
from raftzmq.statemachine.bounds import ApplyLimits
from raftzmq.statemachine.lone_inserts import has_consequences, is_lone
from raftzmq.statemachine.outcomes import RESULT_ERRORS, as_request_error, storage_failed
from raftzmq.statemachine.reply import Reply, ResultPacker, refusal
from raftzmq.statemachine.rowids import Noted, RowidWatch

Parameters: TypeAlias = "list[apsw.SQLiteValue] | dict[str, apsw.SQLiteValue] | None"
Statements: TypeAlias = "list[tuple[str, Parameters]]"
Row: TypeAlias = "tuple[apsw.SQLiteValue, ...]"
Result: TypeAlias = "list[Any]"
"""[changes, last_insert_rowid, columns | None, rows | None]"""

STEPS_PER_CHECK: Final = 10_000
"""How often SQLite asks whether to go on; about every 0.1 ms."""
_SHORT_STEPS: Final = 50_000
"""A request of no more is done before a rest would help anybody, mostly in a millisecond; and of
those there may be thousands a second, one of which comes to be checked now and then."""
_ROWID_MAX: Final = (1 << 63) - 1
_VALUE_BYTES: Final = 9
"""What a number counts for in a result; no msgpack scalar is longer."""
_SIZED: Final = (str, bytes)
_PLAIN_CHANGE: Final = re.compile(r"\s*(?:insert|update|delete|replace)\b", re.IGNORECASE)
_NUMBERS_NO_ROW: Final = re.compile(r"\s*(?:update|delete)\b", re.IGNORECASE)
"""Changes that give no row a rowid unless ``rowids.py`` finds otherwise."""
_TRACED, _UNSEEN, _PLAIN, _UNWATCHED = range(4)
"""How a text is run; what is known of it grows from left to right."""
_MAYBE_MORE: Final = re.compile(r";|returning", re.IGNORECASE)
_CACHEABLE: Final = re.compile(r"\s*(?:insert|update|delete|replace|select|with)\b", re.IGNORECASE)
_LARGE_BYTES: Final = 4 << 10
_SHORT_ARRAY: Final = 1 << 10
_LONG_ARRAY: Final = 1 << 16
"""More than any request may hold in one array, so that SQLite gets to say what is too much."""
_AT_A_TIME: Final = 1 << 10
"""Elements that are unpacked before other threads are let in."""
_ARRAYS: Final = frozenset((*range(0x90, 0xA0), 0xDC, 0xDD))
_MAPS: Final = frozenset((*range(0x80, 0x90), 0xDE, 0xDF))
"""First bytes (msgpack specification, array and map family)."""
BOUND_BYTES_CACHED: Final = 16 << 10
"""A cached statement keeps its parameters until it runs again. APSW caches no text longer than
this, but does not look at parameters: hundreds of texts could each keep REQUEST_BYTES_MAX."""
_KINDS_MAX: Final = 2_000
_KIND_SQL_LENGTH_MAX: Final = 4_096

_OPEN: Final = "SAVEPOINT raftzmq_request"
_KEEP: Final = "RELEASE raftzmq_request"
_UNDO: Final = "ROLLBACK TO raftzmq_request"


class TransactionLost(Exception):
    """The statement's failure destroyed the surrounding transaction (OR ROLLBACK, interrupt).

    The caller repeats the transaction without this request, whose reply is known now.
    """

    def __init__(self, reply: Reply) -> None:
        super().__init__("transaction lost")
        self.reply = reply


class NeedsFresh(Exception):
    """The entry must be applied alone, on a connection without history.

    Either the request may be over its step limit: SQLite's step counter starts wherever the
    last use of a cached statement left it. A connection with history therefore counts as many
    steps as a fresh one or more, never fewer, and only the fresh one's verdict is exact. Or it
    changes the schema or its statistics: what SQLite then holds in memory is not always what
    it would load from the file (row estimates outlive DROP INDEX and a rolled back ANALYZE),
    and plans, hence the order of rows, would differ from those of a replica that restarted.
    """


class Interrupted(Exception):
    """The host asked to stop; the transaction must be rolled back."""


def are_small(parameters: Parameters) -> bool:
    """Whether a cached statement may keep ``parameters``."""
    values = parameters.values() if isinstance(parameters, dict) else parameters or ()
    return sum(len(value) for value in values if isinstance(value, _SIZED)) <= BOUND_BYTES_CACHED


def decode_payload(payload: bytes, statements_max: int) -> Statements:
    """Decode msgpack of [[sql, parameters], ...].

    Parameter values are not looked at here: APSW refuses what is no SQLite value.

    Raises:
        MalformedRequest: wrong shape or type.
        TooLarge: more than ``statements_max`` statements, or REQUEST_VALUES_MAX values.
    """
    try:
        if len(payload) < _LARGE_BYTES:
            statements = msgpack.unpackb(payload)
        else:
            statements = _unpack_large(payload, statements_max)
    except (ValueError, msgpack.exceptions.UnpackException) as error:
        raise MalformedRequest(f"the payload is not msgpack: {error}") from error
    if type(statements) is not list:
        raise MalformedRequest("the payload is not a list of statements")
    _check_count(len(statements), statements_max)
    for item in statements:
        if type(item) is not list or len(item) != 2 or type(item[0]) is not str:
            raise MalformedRequest("a statement is not [sql, parameters]")
        if item[1] is not None and type(item[1]) is not list and type(item[1]) is not dict:
            raise MalformedRequest("parameters are neither a list nor a map nor nil")
    return cast(Statements, statements)


def _check_count(statements: int, statements_max: int) -> None:
    if statements > statements_max:
        raise TooLarge(f"{statements} statements, at most {statements_max} are allowed")


def _unpack_large(payload: bytes, statements_max: int) -> object:
    """Unpack with a look at each array and map as it is complete.

    msgpack holds the interpreter from the first byte to the last, a quarter of a second for 16 MiB,
    in which no heartbeat leaves. Each call from it into Python lets other threads in.

    It also makes room for what an array announces before any of it is there, on each of 1,024
    levels: 3 KB of promises would take 80 MB and 60 ms. So whatever has a long array in
    it, with all else that this refuses, is taken apart step by step.
    """
    room = limits.REQUEST_VALUES_MAX

    def count(found: Any) -> Any:
        nonlocal room
        room = _in_room(len(found), room)
        return found

    try:
        return msgpack.unpackb(
            payload,
            list_hook=count,
            object_hook=count,
            max_array_len=_SHORT_ARRAY,
            max_map_len=_SHORT_ARRAY,
        )
    except ValueError:
        return _unpack_by_steps(payload, statements_max)


def _unpack_by_steps(payload: bytes, statements_max: int) -> list[list[object]]:
    """Unpack value by value; what may not hold others is told so."""
    unpacker = msgpack.Unpacker(max_buffer_size=len(payload), max_array_len=0, max_map_len=0)
    unpacker.feed(payload)
    room = limits.REQUEST_VALUES_MAX
    statements: list[list[object]] = []
    try:
        announced = unpacker.read_array_header()
        _check_count(announced, statements_max)
        for _ in range(announced):
            if unpacker.read_array_header() != 2:
                raise MalformedRequest("a statement is not [sql, parameters]")
            sql = unpacker.unpack()
            parameters, room = _unpack_parameters(unpacker, payload, room)
            statements.append([sql, parameters])
    except msgpack.OutOfData:
        raise MalformedRequest("the payload is not msgpack: it ends too soon") from None
    if unpacker.tell() < len(payload):
        raise MalformedRequest("the payload is not msgpack: it goes on after its end")
    return statements


def _unpack_parameters(unpacker: msgpack.Unpacker, payload: bytes, room: int) -> tuple[Any, int]:
    """Parameters of one statement, and how much of ``room`` for values is left."""
    at = unpacker.tell()
    first = payload[at] if at < len(payload) else 0
    if first in _ARRAYS:
        count = _counted(unpacker.read_array_header())
        room = _in_room(count, room)
        return _take(unpacker, count), room
    if first in _MAPS:
        count = _counted(unpacker.read_map_header())
        room = _in_room(count, room)
        found = _take(unpacker, 2 * count)
        if not {str, bytes}.issuperset(map(type, found[::2])):
            raise MalformedRequest("a parameter's name is not text")
        return dict(zip(found[::2], found[1::2], strict=True)), room
    return unpacker.unpack(), room


def _take(unpacker: msgpack.Unpacker, count: int) -> list[Any]:
    found: list[Any] = []
    while len(found) < count:
        some = list(islice(unpacker, min(_AT_A_TIME, count - len(found))))
        if not some:
            raise msgpack.OutOfData
        found += some
    return found


def _counted(count: int) -> int:
    if count > _LONG_ARRAY:
        raise MalformedRequest(f"{count} parameters, more than any statement may have")
    return count


def _in_room(count: int, room: int) -> int:
    """What ``count`` values, and what holds them, leave of ``room``."""
    room -= count + 1
    if room < 0:
        raise TooLarge(
            f"more than {limits.REQUEST_VALUES_MAX} values (REQUEST_VALUES_MAX); split it up"
        )
    return room


class Executor:
    """Runs requests on one writing connection.

    Args:
        connection: has a transaction open whenever ``run`` is called.
        authorizer: the one installed on ``connection``.
        bounds: limits of one request.
        fresh: the connection has no history. Otherwise ``run`` stops with ``NeedsFresh`` at
            the step limit, and before the schema changes.
        stopping: asked now and then; True ends the work with ``Interrupted``.
        rest: called now and then while a request takes many steps; may sleep for a moment.
    """

    def __init__(
        self,
        connection: apsw.Connection,
        authorizer: Authorizer,
        bounds: ApplyLimits,
        *,
        fresh: bool,
        stopping: Callable[[], bool],
        rest: Callable[[], None],
    ) -> None:
        self._connection = connection
        self._authorizer = authorizer
        self._bounds = bounds
        self._fresh = fresh
        self._stopping = stopping
        self._rest = rest
        self._host = connection.cursor().execute
        self._plain = connection.cursor()
        self._steps = 0
        self._may_keep = False
        self._rowid_end = False
        self._changes_before = 0
        self._kinds: dict[str, int] = {}
        # On a fresh connection the schema may change between two runs of the same text.
        self._knows_lone = not fresh and not has_consequences(connection)
        self._lone: set[str] = set()
        self._pack = ResultPacker()
        connection.set_progress_handler(self._on_progress, STEPS_PER_CHECK)
        self._watch = RowidWatch(connection, authorizer, self._on_row)
        connection.create_scalar_function(
            "total_changes", self._total_changes, 0, flags=apsw.SQLITE_INNOCUOUS
        )

    @property
    def steps(self) -> int:
        """Steps counted for the request that runs, or ran last."""
        return self._steps

    def run(self, payload: bytes) -> Reply:
        """Carry out one request.

        Raises:
            TransactionLost: see there; the transaction is gone.
            NeedsFresh: see there; the transaction must be rolled back.
            Interrupted: the transaction must be rolled back.
            StorageFailed: disk or memory failed.
        """
        try:
            statements = decode_payload(payload, self._bounds.statements_max)
        except RequestError as error:
            return refusal(error)
        if self._stopping():
            raise Interrupted
        self._may_keep = len(payload) <= BOUND_BYTES_CACHED
        connection = self._connection
        authorizer = self._authorizer
        lone = len(statements) == 1 and statements[0][0] in self._lone
        if not lone:
            self.own(_OPEN)
            self.own(schema.NO_CHANGE)
        connection.set_last_insert_rowid(0)
        self._changes_before = connection.total_changes()
        self._steps = 0
        authorizer.asked = True
        try:
            results = self._statements(statements)
            if self._rowid_end:
                raise SqlError(_ROWID_MESSAGE)
            if not lone and connection.status(apsw.SQLITE_DBSTATUS_DEFERRED_FKS)[0]:
                raise ConstraintFailed("FOREIGN KEY constraint failed", _FOREIGN_KEY_CODE)
        except RESULT_ERRORS as error:
            authorizer.asked = False
            return self._failed(error, lone=lone)
        finally:
            authorizer.asked = False
        if authorizer.defers:
            self._clear_deferral()
        if not lone:
            self.own(_KEEP)
        return Reply(0, self._pack(results))

    def runs_short(self, payload: bytes) -> bool:
        """Whether it is one INSERT of one row that nothing follows from, seen before."""
        try:
            statements = decode_payload(payload, 1)
        except RequestError:
            return False
        return len(statements) == 1 and statements[0][0] in self._lone

    def own(self, sql: str, parameters: tuple[int, ...] | None = None) -> None:
        """Run a statement of the host.

        Raises:
            StorageFailed: it did not succeed.
        """
        try:
            self._host(sql, parameters, prepare_flags=OWN)
        except apsw.Error as error:
            raise storage_failed(error, self._connection) from error

    def _statements(self, statements: Statements) -> list[Result]:
        connection = self._connection
        execute = self._plain.execute
        authorizer = self._authorizer
        watch = self._watch
        results: list[Result] = []
        rows_bytes = 0
        for sql, parameters in statements:
            before = connection.total_changes()
            kind = self._kinds.get(sql)
            if kind is None:
                kind = self._classify(sql)
            columns = rows = None
            authorizer.sql = sql
            authorizer.refused = ""
            if watch.on is (kind == _UNWATCHED):
                watch.switch(on=kind != _UNWATCHED)
            if kind >= _PLAIN:
                authorizer.running = True
                if self._may_keep or are_small(parameters):
                    execute(sql, parameters)
                else:
                    execute(sql, parameters, can_cache=False)
            elif kind == _UNSEEN:
                authorizer.running = False
                self._first_run(sql, parameters)
            else:
                authorizer.running = False
                columns, rows, rows_bytes = self._traced(sql, parameters, rows_bytes)
            after = connection.total_changes()
            changes = 0 if after == before else connection.changes()
            results.append([changes, connection.last_insert_rowid(), columns, rows])
        return results

    def _classify(self, sql: str) -> int:
        """Plain is one change that returns no rows, for which no trace is needed."""
        if not _PLAIN_CHANGE.match(sql) or _MAYBE_MORE.search(sql):
            return self._remember(sql, _TRACED)
        if self._fresh or not _NUMBERS_NO_ROW.match(sql):
            if self._knows_lone and is_lone(sql) and len(self._lone) < _KINDS_MAX:
                self._lone.add(sql)
            return self._remember(sql, _PLAIN)
        return _UNSEEN

    def _remember(self, sql: str, kind: int) -> int:
        if len(sql) <= _KIND_SQL_LENGTH_MAX:
            if len(self._kinds) >= _KINDS_MAX:
                self._kinds.clear()
            self._kinds[sql] = kind
        return kind

    def _first_run(self, sql: str, parameters: Parameters) -> None:
        """Run a plain UPDATE or DELETE, and learn between preparing and running what it does.

        What was learnt holds as long as this connection: the schema changes on another one.
        """
        authorizer = self._authorizer
        noted: list[Noted] = []

        def begins(cursor: apsw.Cursor, _sql: str, _bindings: object) -> bool:
            authorizer.noted = None
            needed = self._watch.is_needed(noted)
            self._remember(sql, _PLAIN if needed else _UNWATCHED)
            self._watch.switch(on=needed)
            authorizer.running = True
            return True

        cursor = self._connection.cursor()
        cursor.exec_trace = begins
        authorizer.noted = noted
        try:
            cursor.execute(sql, parameters, can_cache=are_small(parameters))
        finally:
            authorizer.noted = None
            cursor.close(True)

    def _traced(
        self, sql: str, parameters: Parameters, rows_bytes: int
    ) -> tuple[list[str] | None, list[Row] | None, int]:
        """Run ``sql``, which may hold several statements; columns and rows are the last one's.

        APSW calls the trace before each statement runs: the only moment at which the columns
        of a statement without rows are known.
        """
        columns: list[str] | None = None
        rows: list[Row] | None = None
        begun = 0

        def begins(cursor: apsw.Cursor, _sql: str, _bindings: object) -> bool:
            nonlocal columns, rows, begun
            if not cursor.has_vdbe:
                return True
            begun += 1
            if begun > 1 and parameters:
                raise MalformedRequest("parameters need a text with a single statement")
            if begun > self._bounds.statements_max:
                raise TooLarge(f"more than {self._bounds.statements_max} statements")
            if cursor.is_explain == 1:
                raise Forbidden("EXPLAIN shows page numbers, which differ between replicas")
            description = cursor.get_description()
            columns = [column[0] for column in description] or None
            rows = [] if columns else None
            self._authorizer.running = True
            return True

        cursor = self._connection.cursor()
        cursor.exec_trace = begins
        try:
            # PRAGMA takes effect while it is prepared, so it must be prepared each time. And
            # where the schema may change, a cached statement would tell columns of before.
            single = ";" not in sql.rstrip("; \n")
            cached = (
                single
                and not self._fresh
                and _CACHEABLE.match(sql) is not None
                and are_small(parameters)
            )
            for row in cursor.execute(sql, parameters, can_cache=cached):
                rows_bytes += row_bytes(row)
                if rows_bytes > self._bounds.result_bytes_max:
                    raise TooLarge(
                        f"the rows returned exceed {self._bounds.result_bytes_max} bytes"
                    )
                cast("list[Row]", rows).append(row)
        finally:
            cursor.close(True)
        return columns, rows, rows_bytes

    def _failed(self, error: Exception, *, lone: bool) -> Reply:
        if self._authorizer.needs_fresh:
            self._authorizer.needs_fresh = False
            raise NeedsFresh from error
        if lone and self._connection.total_changes() != self._changes_before:
            # Its row is there, at the last rowid, and without a savepoint nothing takes it back.
            self._rowid_end = False
            raise NeedsFresh from error
        if isinstance(error, apsw.InterruptError):
            if self._stopping():
                raise Interrupted from error
            if not self._fresh:
                raise NeedsFresh from error
            answer: RequestError = StatementTimeout(
                f"the request takes more than {self._bounds.steps_max} steps of SQLite"
            )
        elif isinstance(error, apsw.FullError) and self._rowid_end:
            answer = SqlError(_ROWID_MESSAGE)
        else:
            answer = as_request_error(error, self._authorizer.refused, self._connection)
        self._rowid_end = False
        reply = refusal(answer)
        if not self._connection.in_transaction:
            self._authorizer.defers = False
            raise TransactionLost(reply)
        if not lone:
            self.own(_UNDO)
            self.own(_KEEP)
        if self._authorizer.defers:
            self._clear_deferral()
        return reply

    def _clear_deferral(self) -> None:
        # SQLite clears it at COMMIT, so it would reach the next request of the group.
        self._authorizer.defers = False
        self._connection.execute("PRAGMA defer_foreign_keys = OFF", can_cache=False)

    def _on_progress(self) -> bool:
        if not self._authorizer.asked:
            return False
        self._steps += STEPS_PER_CHECK
        if self._steps > _SHORT_STEPS:
            self._rest()
        return self._steps >= self._bounds.steps_max or self._stopping()

    def _total_changes(self, *_none: apsw.SQLiteValue) -> apsw.SQLiteValue:
        # The built-in one counts since the connection was opened.
        return self._connection.total_changes() - self._changes_before

    def _on_row(self, _operation: int, _database: str, _table: str, rowid: int) -> None:
        # After the last rowid SQLite picks rowids at random, out of our reach.
        if rowid == _ROWID_MAX:
            self._rowid_end = True


_ROWID_MESSAGE: Final = f"rowid {_ROWID_MAX} is not available: later rowids would be random"
_FOREIGN_KEY_CODE: Final = str(int(apsw.SQLITE_CONSTRAINT_FOREIGNKEY))


def row_bytes(row: Row) -> int:
    """What ``row`` counts for against a limit on result bytes; equal on every replica."""
    total = 0
    for value in row:
        total += len(value) + _VALUE_BYTES if isinstance(value, _SIZED) else _VALUE_BYTES
    return total
