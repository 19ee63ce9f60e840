"""What is inside a request's payload and a reply's body.

Decoded once, by the one who executes the statements or reads the results; never by the broker.

    payload         [[sql, [parameter, ...]], ...]
    body, code 0    [[changes, last_insert_rowid, columns or nil, rows or nil], ...]
    body, otherwise [message, detail]
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from types import NoneType
from typing import Any, Final, NamedTuple, TypeAlias

from raftzmq.errors import MalformedRequest, TooLarge
from raftzmq.limits import PARAMETERS_MAX, REQUEST_BYTES_MAX, STATEMENTS_MAX
from raftzmq.wire.codec import DecodeError, pack, unpack_array, unpack_nested

Value: TypeAlias = int | float | str | bytes | None
"""What SQLite stores; a bool is sent as 0 or 1."""

Statement: TypeAlias = tuple[str, Sequence[Value]]

_VALUE_TYPES: Final = frozenset({NoneType, int, float, str, bytes})
_SENDABLE_TYPES: Final = _VALUE_TYPES | {bool}
_I64_MIN: Final = -(1 << 63)
_I64_MAX: Final = (1 << 63) - 1


class StatementResult(NamedTuple):
    """What one statement did.

    Attributes:
        changes: rows inserted, updated or deleted.
        last_insert_rowid: of this statement's insert; 0 when there was none.
        columns: names of the columns, None when the statement returns no rows.
        rows: the rows, None when the statement returns no rows.
    """

    changes: int
    last_insert_rowid: int
    columns: tuple[str, ...] | None
    rows: tuple[tuple[Value, ...], ...] | None


def encode_statements(statements: Iterable[tuple[str, Sequence[object]]]) -> bytes:
    """Payload of a read or write, from what an application handed over.

    Raises:
        MalformedRequest: not (text, parameters); a parameter that SQLite cannot store.
        TooLarge: more than STATEMENTS_MAX, PARAMETERS_MAX or REQUEST_BYTES_MAX.
    """
    out: list[tuple[str, list[Any]]] = []
    for sql, parameters in statements:
        if type(sql) is not str or isinstance(parameters, (str, bytes)):
            raise MalformedRequest("a statement is (SQL text, sequence of parameters)")
        values: list[Any] = list(parameters)
        if not _SENDABLE_TYPES.issuperset(map(type, values)):
            raise MalformedRequest(f"{_unsendable(values)} in: {sql:.80}")
        if len(values) > PARAMETERS_MAX:
            raise TooLarge(
                f"{len(values)} parameters, at most {PARAMETERS_MAX} (PARAMETERS_MAX), in: "
                f"{sql:.80}"
            )
        if any(type(value) is int and not _I64_MIN <= value <= _I64_MAX for value in values):
            raise MalformedRequest(f"an integer does not fit into 64 signed bits in: {sql:.80}")
        out.append((sql, [int(value) if type(value) is bool else value for value in values]))
    if not out:
        raise MalformedRequest("a request needs at least one statement")
    if len(out) > STATEMENTS_MAX:
        raise TooLarge(
            f"{len(out)} statements, at most {STATEMENTS_MAX} (STATEMENTS_MAX) in one request"
        )
    try:
        payload = pack(out)
    except UnicodeEncodeError as error:
        raise MalformedRequest(f"text that is not Unicode: {error}") from None
    if len(payload) > REQUEST_BYTES_MAX:
        raise TooLarge(
            f"request of {len(payload)} bytes, at most {REQUEST_BYTES_MAX} (REQUEST_BYTES_MAX); "
            f"split it up"
        )
    return payload


def _unsendable(values: list[Any]) -> str:
    names = {type(value).__name__ for value in values if type(value) not in _SENDABLE_TYPES}
    return "SQLite has no type for a parameter of type " + ", ".join(sorted(names))


def decode_statements(payload: bytes) -> list[tuple[str, tuple[Value, ...]]]:
    """The statements in ``payload``.

    Raises:
        DecodeError: not statements, or beyond a limit.
    """
    statements = unpack_nested(payload)
    if not 1 <= len(statements) <= STATEMENTS_MAX:
        raise DecodeError(f"{len(statements)} statements, 1 to {STATEMENTS_MAX} allowed")
    for statement in statements:
        if type(statement) is not tuple or tuple(map(type, statement)) != (str, tuple):
            raise DecodeError("a statement is [SQL text, [parameter, ...]]")
        parameters = statement[1]
        if len(parameters) > PARAMETERS_MAX:
            raise DecodeError(f"{len(parameters)} parameters, at most {PARAMETERS_MAX}")
        for value in parameters:
            if type(value) not in _VALUE_TYPES:
                raise DecodeError(f"parameter of type {type(value).__name__}")
            if type(value) is int and not _I64_MIN <= value <= _I64_MAX:
                raise DecodeError("an integer parameter does not fit into 64 signed bits")
    return list(statements)


def encode_results(results: Sequence[tuple[int, int, object, object]]) -> bytes:
    """Body of a reply with code 0; the tuples are the fields of ``StatementResult``."""
    return pack(results)


def decode_results(body: bytes) -> list[StatementResult]:
    """The results in the body of a reply with code 0, one per statement.

    Raises:
        DecodeError: not results.
    """
    return [_shape_result(result) for result in unpack_nested(body)]


def _shape_result(result: Any) -> StatementResult:
    if type(result) is not tuple or len(result) != 4:
        raise DecodeError("a result has 4 fields")
    changes, rowid, columns, rows = result
    if type(changes) is not int or type(rowid) is not int:
        raise DecodeError("changes and last_insert_rowid are integers")
    if columns is None and rows is None:
        return StatementResult(changes, rowid, None, None)
    if type(columns) is not tuple or type(rows) is not tuple:
        raise DecodeError("columns and rows are both arrays or both nil")
    if not all(type(column) is str for column in columns):
        raise DecodeError("a column's name is text")
    if rows:
        if set(map(type, rows)) != {tuple} or set(map(len, rows)) != {len(columns)}:
            raise DecodeError("a row has as many values as there are columns")
        if not _VALUE_TYPES.issuperset(map(type, chain.from_iterable(rows))):
            raise DecodeError("a value in a row has a type that SQLite does not have")
    return StatementResult(changes, rowid, columns, rows)


def encode_error(message: str, detail: str = "") -> bytes:
    """Body of a reply whose code is not 0."""
    return pack((message, detail))


def decode_error(body: bytes) -> tuple[str, str]:
    """(message, detail) from the body of a reply whose code is not 0.

    Raises:
        DecodeError: not such a body.
    """
    return unpack_array(body, _shape_error, tuple, 2)


def _shape_error(fields: list[Any]) -> tuple[str, str]:
    if len(fields) != 2 or type(fields[0]) is not str or type(fields[1]) is not str:
        raise DecodeError("an error is [message, detail]")
    return fields[0], fields[1]
