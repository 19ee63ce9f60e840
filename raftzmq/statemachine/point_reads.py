"""Which SELECTs find one row by its key, so that they take much less than a tick.

Waking a worker for such a read, and being woken by it, takes longer than to run it
(docs/decisions/016). Known by what SQLite compiled them to: whoever runs a text first looks at its
program, and remembers it here if nothing in it repeats, calls a function, sorts or counts. It then
reads as many pages as its trees are deep, and those of the values it returns.
"""

from __future__ import annotations

from typing import Final

import apsw

from raftzmq.errors import RequestError
from raftzmq.statemachine.authorizer import OWN
from raftzmq.statemachine.statements import Parameters, decode_payload

KNOWN_MAX: Final = 500
_STEPS: Final = frozenset(
    (
        "Init", "Transaction", "Goto", "Halt", "Noop", "Close",
        "OpenRead", "SeekRowid", "NotExists", "SeekGE", "SeekGT", "IdxGT", "IdxGE",
        "DeferredSeek", "FinishSeek", "Found", "NotFound",
        "Column", "Rowid", "IdxRowid", "ResultRow",
        "Variable", "Integer", "Int64", "Real", "String8", "Blob", "Null",
        "Copy", "SCopy", "Move", "Affinity", "RealAffinity", "MustBeInt", "IsNull", "NotNull",
        "DecrJumpZero",
    )
)  # fmt: skip
"""Opcodes (https://sqlite.org/opcode.html) that take constant time, or that of finding one key.
Without Next and Prev nothing is done twice."""
PAYLOAD_BYTES_MAX: Final = 4 << 10
"""To decode what is longer is not short."""


class PointReads:
    """The texts known to be point reads; shared by the readers of one state.db, in any thread.

    Attributes:
        schema_version: the schema under which they are; a text may be another thing under the next.
    """

    def __init__(self) -> None:
        self.schema_version = -1
        self._texts: frozenset[str] = frozenset()

    def learn(self, sql: str, schema_version: int) -> None:
        """``sql`` is one, under this schema."""
        if schema_version != self.schema_version or len(self._texts) >= KNOWN_MAX:
            self._texts = frozenset()
        # Texts last: between the two, texts of one schema must not pass for those of another.
        texts = self._texts | {sql}
        self._texts = frozenset()
        self.schema_version = schema_version
        self._texts = texts

    def is_one(self, payload: bytes) -> bool:
        """Whether ``payload``, of a READ request, is one of them and nothing else."""
        if len(payload) > PAYLOAD_BYTES_MAX:
            return False
        try:
            statements = decode_payload(payload, 1)
        except RequestError:
            return False
        return len(statements) == 1 and statements[0][0] in self._texts


def is_point_read(connection: apsw.Connection, sql: str, parameters: Parameters) -> bool:
    """Whether SQLite has compiled ``sql``, a single statement that reads, to a point read."""
    try:
        program = connection.execute(
            f"EXPLAIN {sql}", parameters, prepare_flags=OWN, can_cache=False
        )
        return all(step[1] in _STEPS for step in program)
    except apsw.Error:
        return False
