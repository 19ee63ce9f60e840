"""What a write or read returns to the application."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from raftzmq.wire.client import Reply, ReplyFlags
from raftzmq.wire.payload import StatementResult, Value, decode_results

Row = tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class WriteResult:
    """What a write did, on a majority's disk.

    Attributes:
        rows_affected: rows inserted, updated or deleted, all statements together.
        last_insert_rowid: of the last statement that inserted; 0 when none did.
        columns: of the last statement that returned rows (RETURNING); empty when none did.
        rows: these rows.
        index: log index at which the write was applied.
        results: one per statement.
        server: name of the node that answered.
        applied_before: the ``id`` of the write had been used before; nothing was done now, and
            this is the result of the first time.
        result_forgotten: it was applied, but answered a repetition, and the first result was too
            large to be remembered: ``rows`` is empty, or all of it is missing.
    """

    rows_affected: int
    last_insert_rowid: int
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    index: int
    results: tuple[StatementResult, ...]
    server: str
    applied_before: bool = False
    result_forgotten: bool = False


@dataclass(frozen=True, slots=True)
class ReadResult:
    """The rows of a read; iterating gives tuples.

    Attributes:
        columns: names, of the last statement.
        rows: of the last statement.
        index: log index that the read saw.
        results: one per statement.
        server: name of the node that answered.
    """

    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    index: int
    results: tuple[StatementResult, ...]
    server: str

    def __iter__(self) -> Iterator[Row]:
        """The rows."""
        return iter(self.rows)

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.rows)

    def dicts(self) -> list[dict[str, Value]]:
        """The rows as name -> value; of two columns with one name the last wins."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]

    def scalar(self) -> Value:
        """First value of the first row, None when there is no row."""
        return self.rows[0][0] if self.rows else None


def write_result(reply: Reply) -> WriteResult:
    """The result in a reply with code 0 to a write.

    Raises:
        DecodeError: the body does not hold results.
    """
    results = tuple(decode_results(reply.body))
    columns, rows = _last_rows(results)
    rowid = next((each.last_insert_rowid for each in reversed(results) if _inserted(each)), 0)
    affected = sum(each.changes for each in results)
    return WriteResult(
        affected,
        rowid,
        columns,
        rows,
        reply.index,
        results,
        reply.server,
        bool(reply.flags & ReplyFlags.APPLIED_BEFORE),
        bool(reply.flags & ReplyFlags.RESULT_FORGOTTEN),
    )


def read_result(reply: Reply) -> ReadResult:
    """The result in a reply with code 0 to a read.

    Raises:
        DecodeError: the body does not hold results.
    """
    results = tuple(decode_results(reply.body))
    columns, rows = _last_rows(results)
    return ReadResult(columns, rows, reply.index, results, reply.server)


def _inserted(result: StatementResult) -> bool:
    return bool(result.last_insert_rowid)


def _last_rows(results: tuple[StatementResult, ...]) -> tuple[tuple[str, ...], tuple[Row, ...]]:
    for each in reversed(results):
        if each.columns is not None and each.rows is not None:
            return each.columns, each.rows
    return (), ()
