"""Exactly once (P4): which request is a repetition, and what it is answered.

A write of a session is named by (client, sequence). A write with an idempotency key is named by
the key, which stands in the place of the client; its sequence is drawn anew for each attempt of
a person or script, so that "tried again by itself" and "used before" can be told apart.

Rules:

1. What was applied is remembered with its first result and never applied again.
2. A name whose outcome may have been forgotten (``since`` lies below the highest entry
   forgotten) is not executed: its outcome is UNKNOWN (thesis 6.3).
3. A name that comes back with another payload gets no other write's result: REJECTED.
4. A rejected write of a session keeps its rejection. A key is used up by success alone: what a
   cron job could not do yesterday, it may do today. But the very attempt that was rejected,
   delayed somewhere, stays rejected, since its sender was told so.
"""

from __future__ import annotations

import struct
from typing import Final, TypeAlias
from zlib import crc32

import apsw

from raftzmq.errors import LedgerExpired, NameReused
from raftzmq.statemachine import schema
from raftzmq.statemachine.bounds import ApplyLimits
from raftzmq.statemachine.command import CommandFlags, Request
from raftzmq.statemachine.ledger import NOTHING, STRIPPED, Ledger, Outcome
from raftzmq.statemachine.reply import APPLIED_BEFORE, RESULT_FORGOTTEN, Reply, refusal

EXPIRED: Final = refusal(
    LedgerExpired(
        "the outcome of this write is no longer remembered; it may or may not have been applied",
    )
)
_OTHER_WRITE: Final = refusal(
    NameReused(
        "another write was sent under this client id and sequence before, and this one was not"
        " executed; a client must never use a sequence twice, nor share its id"
    )
)
_OTHER_KEYED: Final = refusal(
    NameReused(
        "this idempotency key was used for other statements before, and these were not executed;"
        " give each piece of work a key of its own"
    )
)
_KEY_MARK: Final = struct.Struct(">IQ")
"""CRC-32 of the payload, sequence of the attempt that succeeded."""
_KEY_NUMBER: Final = 0
_NO_RESULT: Final = Reply(STRIPPED, NOTHING)
_U64: Final = (1 << 64) - 1

LowIndexes: TypeAlias = "tuple[int, int]"


class ExactlyOnce:
    """The two ledgers of a state machine: of sessions, and of idempotency keys."""

    def __init__(self) -> None:
        self.sessions = Ledger(schema.LEDGER)
        self.keys = Ledger(schema.KEYS)
        self._limits = ApplyLimits()
        self._keyed = False
        self._no_result = False

    @property
    def low_indexes(self) -> LowIndexes:
        """Highest entry forgotten by each ledger."""
        return self.sessions.low_index, self.keys.low_index

    def load(self, cursor: apsw.Cursor, low_indexes: LowIndexes) -> None:
        """Read both ledgers.

        Raises:
            StorageDamaged: a row does not decode.
        """
        self.sessions.load(cursor, low_indexes[0])
        self.keys.load(cursor, low_indexes[1])

    def read_through(self, cursor: apsw.Cursor) -> None:
        """From now on outcomes are read through ``cursor``."""
        self.sessions.read_through(cursor)
        self.keys.read_through(cursor)

    def begin(self, index: int, limits: ApplyLimits, flags: int) -> None:
        """The entry at ``index``, which carries ``limits`` and ``flags``, is to be applied."""
        self._limits = limits
        self._keyed = bool(flags & CommandFlags.KEYED)
        self._no_result = bool(flags & CommandFlags.NO_RESULT)
        self.sessions.begin(index, limits.ledger_bytes_max)
        self.keys.begin(index, limits.key_ledger_bytes_max)

    def find(self, request: Request) -> Reply | None:
        """The reply to give without executing ``request``, or None when it is new.

        Raises:
            StorageDamaged, StorageFailed: what is remembered of it cannot be read.
        """
        client, sequence, since, payload = request
        keyed = self._keyed
        if keyed:
            used = self.keys.find(client, _KEY_NUMBER)
            if used is not None:
                return _of_key(used, sequence, payload)
            if since < self.keys.low_index:
                return EXPIRED
        known = self.sessions.find(client, sequence)
        if known is not None:
            if known[2] != crc32(payload):
                return _OTHER_KEYED if keyed else _OTHER_WRITE
            return _first_reply(known)
        return EXPIRED if since < self.sessions.low_index else None

    def record(self, request: Request, reply: Reply) -> None:
        """Remember the reply to ``request``, which was executed."""
        client, sequence, _, payload = request
        if self._no_result and reply.code == 0:
            reply = _NO_RESULT
        if self._keyed and reply.code in (0, STRIPPED):
            mark = _KEY_MARK.pack(crc32(payload), sequence & _U64)
            self.keys.record(client, _KEY_NUMBER, reply, mark)
        else:
            self.sessions.record(client, sequence, reply, crc32(payload))

    def seal(self, elapsed_ms: int) -> None:
        """The entry is applied: forget what its limits do not keep."""
        limits = self._limits
        self.sessions.seal(elapsed_ms, limits.ledger_ms, limits.ledger_bytes_max)
        self.keys.seal(elapsed_ms, limits.key_ledger_ms, limits.key_ledger_bytes_max)

    def has_much_to_forget(self, elapsed_ms: int, limits: ApplyLimits) -> bool:
        """Whether ``seal`` will take long."""
        return self.sessions.has_much_to_forget(
            elapsed_ms, limits.ledger_ms
        ) or self.keys.has_much_to_forget(elapsed_ms, limits.key_ledger_ms)

    def write(self, cursor: apsw.Cursor) -> None:
        """Write what the transaction changed."""
        self.sessions.write(cursor)
        self.keys.write(cursor)

    def committed(self) -> None:
        """The transaction is committed."""
        self.sessions.committed()
        self.keys.committed()

    def rolled_back(self) -> None:
        """The transaction is gone."""
        self.sessions.rolled_back()
        self.keys.rolled_back()


def _first_reply(outcome: Outcome) -> Reply:
    code, body, _, index = outcome
    if code == STRIPPED:
        return Reply(0, body, index, RESULT_FORGOTTEN)
    return Reply(code, body, index)


def _of_key(outcome: Outcome, sequence: int, payload: bytes) -> Reply:
    mark = outcome[2]
    assert isinstance(mark, bytes), "the marks of keys are packed"
    digest, attempt = _KEY_MARK.unpack(mark)
    if digest != crc32(payload):
        return _OTHER_KEYED
    first = _first_reply(outcome)
    if attempt == sequence & _U64:
        return first
    return first._replace(flags=first.flags | APPLIED_BEFORE)
