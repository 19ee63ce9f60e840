"""Remembered outcomes of writes, bounded by replicated time and by bytes.

One row per entry, written in the transaction of the entry's effects; a dictionary
client -> number -> outcome is derived from the rows when the file is opened. Rows are forgotten
after each entry, by the limits that the entry carries, so that every replica forgets the same
rows at the same index. ``low_index`` is the highest entry forgotten.

What the numbers and marks mean is decided in ``exactly_once``.
"""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple, TypeAlias, cast

import apsw
import msgpack

from raftzmq.errors import StorageDamaged
from raftzmq.statemachine.authorizer import OWN
from raftzmq.statemachine.reply import Reply, without_rows
from raftzmq.statemachine.schema import LedgerSql

Mark: TypeAlias = "int | bytes"
Outcome: TypeAlias = "tuple[int, bytes, Mark, int]"
"""Code, body, mark, index of the entry. A plain tuple of atoms: the garbage collector leaves
those alone, and with half a million of them that is a seventh of the time a request takes."""

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


class _Row(NamedTuple):
    log_index: int
    elapsed_ms: int
    size: int
    keys: list[bytes | int]  # client, number, client, number, ...


class Ledger:
    """The outcomes in one table; changes of one transaction can be taken back as a whole.

    Args:
        sql: the statements of its table.
    """

    def __init__(self, sql: LedgerSql) -> None:
        self._sql = sql
        self._outcomes: dict[bytes, dict[int, Outcome]] = {}
        self._rows: deque[_Row] = deque()
        self._bytes = 0
        self.low_index = 0
        self._index = 0
        self._room_bytes = 0
        self._entry_keys: list[bytes | int] = []
        self._entry_flat: list[bytes | int] = []
        self._unwritten: list[tuple[int, int, bytes]] = []
        self._added: list[_Row] = []
        self._dropped: list[tuple[_Row, list[Outcome]]] = []
        self._low_before = 0

    def load(self, connection: apsw.Connection, low_index: int) -> None:
        """Derive the dictionary from the rows of ``connection``.

        Raises:
            StorageDamaged: a row does not decode.
        """
        self.low_index = self._low_before = low_index
        for index, elapsed_ms, blob in connection.execute(self._sql.read, prepare_flags=OWN):
            try:
                flat = msgpack.unpackb(blob, use_list=False)
                keys: list[bytes | int] = []
                fields = iter(flat)
                for client, number, code, body, mark in zip(
                    fields, fields, fields, fields, fields, strict=True
                ):
                    keys += (client, number)
                    self._outcomes.setdefault(client, {})[number] = (code, body, mark, index)
            except (ValueError, TypeError) as error:
                raise StorageDamaged(
                    f"state.db: the row of entry {index} in {self._sql.name} is damaged ({error});"
                    " remove the file to have it rebuilt from the other nodes"
                ) from error
            self._append(_Row(index, elapsed_ms, len(blob) + _ROW_OVERHEAD_BYTES, keys))

    def find(self, client: bytes, number: int) -> Outcome | None:
        """What is remembered under this name."""
        known = self._outcomes.get(client)
        return None if known is None else known.get(number)

    def begin(self, index: int, bytes_max: int) -> None:
        """The entry at ``index`` is about to be applied; it brings the limit ``bytes_max``."""
        self._index = index
        self._room_bytes = bytes_max // ENTRY_SHARE

    def record(self, client: bytes, number: int, reply: Reply, mark: Mark) -> None:
        """Remember the outcome of a request of the entry that was begun."""
        code, body = reply.code, reply.body
        if len(body) > _SMALL_BYTES:
            code, body = self._fitted(code, body)
        known = self._outcomes.get(client)
        if known is None:
            known = self._outcomes[client] = {}
        known[number] = (code, body, mark, self._index)
        self._entry_keys += (client, number)
        self._entry_flat += (client, number, code, body, mark)

    def seal(self, elapsed_ms: int, keep_ms: int, bytes_max: int) -> None:
        """The entry is applied: make its row and forget what is too old or too much.

        Args:
            elapsed_ms: of ``ReplicatedTime``, at this entry.
            keep_ms: the entry's limit on the age of an outcome.
            bytes_max: the entry's limit on the bytes of all rows.
        """
        if self._entry_keys:
            blob = cast(bytes, msgpack.packb(self._entry_flat))
            row = _Row(self._index, elapsed_ms, len(blob) + _ROW_OVERHEAD_BYTES, self._entry_keys)
            self._unwritten.append((self._index, elapsed_ms, blob))
            self._append(row)
            self._added.append(row)
            self._entry_keys = []
            self._entry_flat = []
        rows = self._rows
        while rows and (self._bytes > bytes_max or rows[0].elapsed_ms + keep_ms < elapsed_ms):
            self._forget(rows.popleft())

    def has_much_to_forget(self, elapsed_ms: int, keep_ms: int) -> bool:
        """Whether the next ``seal`` forgets more than a few rows for their age.

        It does where a minute without writes follows on a busy one.
        """
        rows = self._rows
        return len(rows) >= _FEW_ROWS and rows[_FEW_ROWS - 1].elapsed_ms + keep_ms < elapsed_ms

    def write(self, cursor: apsw.Cursor) -> None:
        """Write the rows of the transaction, and delete the forgotten ones, through ``cursor``."""
        for row in self._unwritten:
            if row[0] > self.low_index:
                cursor.execute(self._sql.write, row, prepare_flags=OWN)
        if self.low_index != self._low_before:
            cursor.execute(self._sql.evict, (self.low_index,), prepare_flags=OWN)

    def committed(self) -> None:
        """The transaction is committed: its changes stay."""
        self._unwritten.clear()
        self._added.clear()
        self._dropped.clear()
        self._low_before = self.low_index

    def rolled_back(self) -> None:
        """The transaction is gone: take its changes back, so that no phantom entry stays."""
        self._discard(self._entry_keys)
        self._entry_keys = []
        self._entry_flat = []
        dropped = {row.log_index for row, _ in self._dropped}
        for row in reversed(self._added):
            if row.log_index not in dropped:
                self._rows.pop()
                self._bytes -= row.size
                self._discard(row.keys)
        added = {row.log_index for row in self._added}
        for row, outcomes in reversed(self._dropped):
            if row.log_index in added:
                continue
            self._rows.appendleft(row)
            self._bytes += row.size
            keys = iter(row.keys)
            for client, number, outcome in zip(keys, keys, outcomes, strict=False):
                known = self._outcomes.setdefault(cast(bytes, client), {})
                known[cast(int, number)] = outcome
        self.low_index = self._low_before
        self.committed()

    def __len__(self) -> int:
        """How many outcomes are remembered."""
        return sum(map(len, self._outcomes.values()))

    def _fitted(self, code: int, body: bytes) -> tuple[int, bytes]:
        """A large body, or as much of it as the entry still has room for."""
        if len(body) > self._room_bytes and code == 0:
            code, body = STRIPPED, without_rows(body)
            if len(body) > self._room_bytes:
                body = NOTHING
        self._room_bytes -= len(body)
        return code, body

    def _append(self, row: _Row) -> None:
        self._rows.append(row)
        self._bytes += row.size

    def _forget(self, row: _Row) -> None:
        self._bytes -= row.size
        self.low_index = row.log_index
        self._dropped.append((row, self._discard(row.keys)))

    def _discard(self, keys: list[bytes | int]) -> list[Outcome]:
        outcomes = []
        fields = iter(keys)
        for client, number in zip(fields, fields, strict=True):
            known = self._outcomes[cast(bytes, client)]
            outcomes.append(known.pop(cast(int, number)))
            if not known:
                del self._outcomes[cast(bytes, client)]
        return outcomes
