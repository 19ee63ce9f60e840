"""Remembered outcomes of writes, bounded by replicated time and by bytes.

One row per entry, written in the transaction of the entry's effects. In memory is which row may
hold a name (``names``), derived from the rows when the file is opened, and how old and how long
each row is; the outcomes themselves are read from their row when a write is repeated, which is
rare. As a dictionary they took 300 bytes each, ten times what they take in their row: a minute of
13,000 writes a second made a node grow by 240 MB.

Rows are forgotten after each entry, by the limits that the entry carries, so that every replica
forgets the same rows at the same index. ``low_index`` is the highest entry forgotten.

What the numbers and marks mean is decided in ``exactly_once``.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import Any, Final, NamedTuple, TypeAlias, cast

import apsw
import msgpack

from raftzmq.errors import StorageDamaged
from raftzmq.statemachine.authorizer import OWN
from raftzmq.statemachine.names import ROW_MASK, NameIndex
from raftzmq.statemachine.outcomes import storage_failed
from raftzmq.statemachine.reply import Reply, without_rows
from raftzmq.statemachine.schema import LedgerSql

Mark: TypeAlias = "int | bytes"
Outcome: TypeAlias = "tuple[int, bytes, Mark, int]"
"""Code, body, mark, index of the entry."""
_Name: TypeAlias = "tuple[bytes, int]"
_Kept: TypeAlias = "tuple[int, bytes, Mark]"

STRIPPED: Final = -1
"""In the place of code 0: applied, and the rows it returned are not remembered."""
ENTRY_SHARE: Final = 16
"""Outcomes of one entry fill at most 1/16 of the ledger with what they returned: a few large
results must not drive out what everybody else is promised."""
_SMALL_BYTES: Final = 256
_ROW_OVERHEAD_BYTES: Final = 32
_FEW_ROWS: Final = 4
NOTHING: Final = b"\x90"
"""The body of a result of which nothing is remembered."""


_OPENED_MAX: Final = 4
"""Rows whose outcomes are held for repetitions in one transaction. Each is up to 1/16 of the
ledger, and what is sent again after a leader's death comes in the order of its rows."""
_TRIMMED_FROM: Final = 4_096


class _Standing(NamedTuple):
    """What a transaction changes, to be taken back as a whole."""

    rows: int = 0
    head: int = 0
    size: int = 0
    names: int = 0
    low_index: int = 0


class Ledger:
    """The outcomes in one table; changes of one transaction can be taken back as a whole.

    Args:
        sql: the statements of its table.
    """

    def __init__(self, sql: LedgerSql) -> None:
        self._sql = sql
        self._cursor: apsw.Cursor | None = None
        self._names = NameIndex()
        # A column each of what is known of the rows; those before _head are forgotten.
        self._indexes = array("q")
        self._elapsed = array("q")
        self._sizes = array("q")
        self._counts = array("q")
        self._head = 0
        self._gone = 0  # rows that were there before the first of the columns
        self._bytes = 0
        self._count = 0
        self.low_index = 0
        self._index = 0
        self._room_bytes = 0
        self._entry: dict[_Name, _Kept] = {}
        self._unwritten: list[tuple[int, int, bytes]] = []
        self._opened: dict[int, dict[_Name, _Kept]] = {}
        self._before = _Standing()

    def load(self, cursor: apsw.Cursor, low_index: int) -> None:
        """Take over the rows of the table; they are read again through ``cursor``.

        Raises:
            StorageDamaged: a row does not decode.
        """
        self.low_index = low_index
        self.read_through(cursor)
        for index, elapsed_ms, blob in cursor.execute(self._sql.read, prepare_flags=OWN):
            row = self._gone + len(self._indexes)
            names = [name for name, _ in self._outcomes(cast(int, index), cast(bytes, blob))]
            try:
                self._names.add_unsorted(names, row)
            except TypeError as error:
                raise self._damaged(cast(int, index), str(error)) from error
            size = len(cast(bytes, blob)) + _ROW_OVERHEAD_BYTES
            self._append(cast(int, index), cast(int, elapsed_ms), size, len(names))
        self._names.sort()
        self._before = self._standing()

    def read_through(self, cursor: apsw.Cursor) -> None:
        """From now on the rows are read through ``cursor``, on the connection that writes them."""
        self._cursor = cursor

    def find(self, client: bytes, number: int) -> Outcome | None:
        """What is remembered under this name.

        Raises:
            StorageDamaged: its row does not decode, or is missing.
            StorageFailed: it cannot be read.
        """
        name = client, number
        known = self._entry.get(name)
        if known is not None:
            return (*known, self._index)
        for row in self._names.rows(client, number):
            at = (row - self._gone) & ROW_MASK
            if self._head <= at < len(self._indexes):
                known = self._open(at).get(name)
                if known is not None:
                    return (*known, self._indexes[at])
        return None

    def begin(self, index: int, bytes_max: int) -> None:
        """The entry at ``index`` is about to be applied; it brings the limit ``bytes_max``."""
        self._index = index
        self._room_bytes = bytes_max // ENTRY_SHARE

    def record(self, client: bytes, number: int, reply: Reply, mark: Mark) -> None:
        """Remember the outcome of a request of the entry that was begun."""
        code, body = reply.code, reply.body
        if len(body) > _SMALL_BYTES:
            code, body = self._fitted(code, body)
        self._entry[client, number] = (code, body, mark)

    def seal(self, elapsed_ms: int, keep_ms: int, bytes_max: int) -> None:
        """The entry is applied: make its row and forget what is too old or too much.

        Args:
            elapsed_ms: of ``ReplicatedTime``, at this entry.
            keep_ms: the entry's limit on the age of an outcome.
            bytes_max: the entry's limit on the bytes of all rows.
        """
        if self._entry:
            self._names.add(self._entry, self._gone + len(self._indexes))
            flat: list[bytes | int] = []
            for name, kept in self._entry.items():
                flat += name
                flat += kept
            blob = cast(bytes, msgpack.packb(flat))
            self._unwritten.append((self._index, elapsed_ms, blob))
            self._append(self._index, elapsed_ms, len(blob) + _ROW_OVERHEAD_BYTES, len(self._entry))
            self._entry = {}
        rows = len(self._indexes)
        while self._head < rows and (
            self._bytes > bytes_max or self._elapsed[self._head] + keep_ms < elapsed_ms
        ):
            self._bytes -= self._sizes[self._head]
            self._count -= self._counts[self._head]
            self.low_index = self._indexes[self._head]
            self._head += 1

    def has_much_to_forget(self, elapsed_ms: int, keep_ms: int) -> bool:
        """Whether the next ``seal`` forgets more than a few rows for their age.

        It does where a minute without writes follows on a busy one.
        """
        at = self._head + _FEW_ROWS - 1
        return at < len(self._elapsed) and self._elapsed[at] + keep_ms < elapsed_ms

    def write(self, cursor: apsw.Cursor) -> None:
        """Write the rows of the transaction, and delete the forgotten ones, through ``cursor``."""
        for row in self._unwritten:
            if row[0] > self.low_index:
                cursor.execute(self._sql.write, row, prepare_flags=OWN)
        if self.low_index != self._before.low_index:
            cursor.execute(self._sql.evict, (self.low_index,), prepare_flags=OWN)

    def committed(self) -> None:
        """The transaction is committed: its changes stay."""
        self._unwritten.clear()
        self._opened.clear()
        if self._head >= _TRIMMED_FROM and 2 * self._head >= len(self._indexes):
            for column in (self._indexes, self._elapsed, self._sizes, self._counts):
                del column[: self._head]
            self._gone += self._head
            self._head = 0
        self._before = self._standing()
        self._names.sweep(self._gone + self._head, len(self._indexes) - self._head, self._count)

    def rolled_back(self) -> None:
        """The transaction is gone: take its changes back, so that no phantom entry stays.

        Its names stay in the index for a while. They lead to rows that are not there, or to others
        that do not hold them.
        """
        rows, self._head, self._bytes, self._count, self.low_index = self._before
        for column in (self._indexes, self._elapsed, self._sizes, self._counts):
            del column[rows:]
        self._entry = {}
        self._unwritten.clear()
        self._opened.clear()

    def __len__(self) -> int:
        """How many outcomes are remembered, those of an unfinished entry not counted."""
        return self._count

    def _fitted(self, code: int, body: bytes) -> tuple[int, bytes]:
        """A large body, or as much of it as the entry still has room for."""
        if len(body) > self._room_bytes and code == 0:
            code, body = STRIPPED, without_rows(body)
            if len(body) > self._room_bytes:
                body = NOTHING
        self._room_bytes -= len(body)
        return code, body

    def _standing(self) -> _Standing:
        return _Standing(len(self._indexes), self._head, self._bytes, self._count, self.low_index)

    def _append(self, index: int, elapsed_ms: int, size: int, count: int) -> None:
        self._indexes.append(index)
        self._elapsed.append(elapsed_ms)
        self._sizes.append(size)
        self._counts.append(count)
        self._bytes += size
        self._count += count

    def _open(self, at: int) -> dict[_Name, _Kept]:
        """The outcomes in a row that is remembered."""
        index = self._indexes[at]
        opened = self._opened.get(index)
        if opened is None:
            fresh = at - self._before.rows
            blob = self._unwritten[fresh][2] if fresh >= 0 else self._stored(index)
            opened = dict(self._outcomes(index, blob))
            if len(self._opened) == _OPENED_MAX:
                del self._opened[next(iter(self._opened))]
            self._opened[index] = opened
        return opened

    def _stored(self, index: int) -> bytes:
        cursor = self._cursor
        assert cursor is not None, "rows are there once they were loaded"
        try:
            rows = cursor.execute(self._sql.read_one, (index,), prepare_flags=OWN).fetchall()
        except apsw.Error as error:
            raise storage_failed(error, cursor.connection) from error
        if not rows:
            raise self._damaged(index, "it is missing")
        return cast(bytes, rows[0][0])

    def _outcomes(self, index: int, blob: bytes) -> Iterator[tuple[_Name, _Kept]]:
        try:
            flat: Any = msgpack.unpackb(blob, use_list=False)
            fields = iter(flat)
            for client, number, code, body, mark in zip(
                fields, fields, fields, fields, fields, strict=True
            ):
                yield (client, number), (code, body, mark)
        except (ValueError, TypeError) as error:
            raise self._damaged(index, str(error)) from error

    def _damaged(self, index: int, why: str) -> StorageDamaged:
        return StorageDamaged(
            f"state.db: the row of entry {index} in {self._sql.name} is damaged ({why});"
            " remove the file to have it rebuilt from the other nodes"
        )
