"""Exactly once: what became of each named client's writes, for as long as it is remembered.

One row per entry in ``_raftzmq_ledger``, written in the transaction of the entry's effects; a
dictionary client -> sequence -> reply is derived from the rows when the file is opened. Rows
are forgotten by replicated time and by bytes, after each entry, so that every replica forgets
the same rows at the same index. ``low_index`` is the highest entry forgotten.

A request that is not in the dictionary and whose ``since`` lies below ``low_index`` may be a
retry of a forgotten one: it must not be executed (thesis 6.3).
"""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple, cast

import apsw
import msgpack

from raftzmq.errors import LedgerExpired, StorageDamaged
from raftzmq.statemachine import schema
from raftzmq.statemachine.authorizer import OWN
from raftzmq.statemachine.reply import Reply, refusal

_ROW_OVERHEAD_BYTES: Final = 32

EXPIRED: Final = refusal(
    LedgerExpired(
        "the outcome of this write is no longer remembered; it may or may not have been applied",
    )
)


class _Row(NamedTuple):
    log_index: int
    clock_ms: int
    size: int
    keys: list[bytes | int]  # client, sequence, client, sequence, ...


class Ledger:
    """The remembered outcomes; changes of one transaction can be taken back as a whole.

    Args:
        keep_ms: replicated milliseconds for which an outcome is kept.
        bytes_max: bound on the bytes of all rows.
    """

    def __init__(self, keep_ms: int, bytes_max: int) -> None:
        self._keep_ms = keep_ms
        self._bytes_max = bytes_max
        # Plain tuples of atoms, not Reply: the garbage collector leaves those alone, and with
        # half a million of them that is a seventh of the time a request takes.
        self._outcomes: dict[bytes, dict[int, tuple[int, bytes]]] = {}
        self._rows: deque[_Row] = deque()
        self._bytes = 0
        self.low_index = 0
        self._entry_keys: list[bytes | int] = []
        self._entry_flat: list[bytes | int] = []
        self._unwritten: list[tuple[int, int, bytes]] = []
        self._added: list[_Row] = []
        self._dropped: list[tuple[_Row, list[tuple[int, bytes]]]] = []
        self._low_before = 0

    def load(self, connection: apsw.Connection, low_index: int) -> None:
        """Derive the dictionary from the rows of ``connection``.

        Raises:
            StorageDamaged: a row does not decode.
        """
        self.low_index = self._low_before = low_index
        for index, clock_ms, blob in connection.execute(schema.READ_LEDGER, prepare_flags=OWN):
            try:
                flat = msgpack.unpackb(blob, use_list=False)
                keys: list[bytes | int] = []
                fields = iter(flat)
                for client, sequence, code, body in zip(
                    fields, fields, fields, fields, strict=True
                ):
                    keys += (client, sequence)
                    self._outcomes.setdefault(client, {})[sequence] = (code, body)
            except (ValueError, TypeError) as error:
                raise StorageDamaged(
                    f"state.db: the ledger row of entry {index} is damaged ({error});"
                    " remove the file to have it rebuilt from the other nodes"
                ) from error
            self._append(_Row(index, clock_ms, len(blob) + _ROW_OVERHEAD_BYTES, keys))

    def find(self, client: bytes, sequence: int, since: int) -> Reply | None:
        """The reply to give without executing the request, or None when it is new."""
        known = self._outcomes.get(client)
        if known is not None:
            reply = known.get(sequence)
            if reply is not None:
                return Reply(*reply)
        return EXPIRED if since < self.low_index else None

    def record(self, client: bytes, sequence: int, reply: Reply) -> None:
        """Remember the outcome of a request of the entry being applied."""
        known = self._outcomes.get(client)
        if known is None:
            known = self._outcomes[client] = {}
        code, body = reply
        known[sequence] = (code, body)
        self._entry_keys += (client, sequence)
        self._entry_flat += (client, sequence, code, body)

    def seal(self, index: int, clock_ms: int) -> None:
        """The entry at ``index`` is applied: make its row and forget what is too old."""
        if self._entry_keys:
            blob = cast(bytes, msgpack.packb(self._entry_flat))
            row = _Row(index, clock_ms, len(blob) + _ROW_OVERHEAD_BYTES, self._entry_keys)
            self._unwritten.append((index, clock_ms, blob))
            self._append(row)
            self._added.append(row)
            self._entry_keys = []
            self._entry_flat = []
        rows = self._rows
        while rows and (
            self._bytes > self._bytes_max or rows[0].clock_ms + self._keep_ms < clock_ms
        ):
            self._forget(rows.popleft())

    def write(self, cursor: apsw.Cursor) -> None:
        """Write the rows of the transaction, and delete the forgotten ones, through ``cursor``."""
        for row in self._unwritten:
            if row[0] > self.low_index:
                cursor.execute(schema.WRITE_LEDGER, row, prepare_flags=OWN)
        if self.low_index != self._low_before:
            cursor.execute(schema.EVICT_LEDGER, (self.low_index,), prepare_flags=OWN)

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
        for row, replies in reversed(self._dropped):
            if row.log_index in added:
                continue
            self._rows.appendleft(row)
            self._bytes += row.size
            keys = iter(row.keys)
            for client, sequence, reply in zip(keys, keys, replies, strict=False):
                known = self._outcomes.setdefault(cast(bytes, client), {})
                known[cast(int, sequence)] = reply
        self.low_index = self._low_before
        self.committed()

    def __len__(self) -> int:
        """How many outcomes are remembered."""
        return sum(map(len, self._outcomes.values()))

    def _append(self, row: _Row) -> None:
        self._rows.append(row)
        self._bytes += row.size

    def _forget(self, row: _Row) -> None:
        self._bytes -= row.size
        self.low_index = row.log_index
        self._dropped.append((row, self._discard(row.keys)))

    def _discard(self, keys: list[bytes | int]) -> list[tuple[int, bytes]]:
        replies = []
        fields = iter(keys)
        for client, sequence in zip(fields, fields, strict=True):
            known = self._outcomes[cast(bytes, client)]
            replies.append(known.pop(cast(int, sequence)))
            if not known:
                del self._outcomes[cast(bytes, client)]
        return replies
