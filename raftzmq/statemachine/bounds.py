"""The limits that decide what an entry does. They travel in the entry, as its leader had them.

A replica that took them from a file of its own would come to another verdict than the others as
soon as the files differ, and would forget other outcomes: one replica executes again what
another remembers.
"""

from __future__ import annotations

from typing import NamedTuple

from raftzmq import limits


class ApplyLimits(NamedTuple):
    """Bounds of the writes of one entry; the order of the fields is part of the log's format.

    Attributes:
        steps_max: virtual machine steps of SQLite that one request may take.
        result_bytes_max: bytes of the rows that one request may return (RETURNING, SELECT).
        statements_max: statements in one request.
        value_bytes_max: bytes of one value or row.
        expression_depth_max: nesting of one SQL expression.
        parameters_max: parameters of one statement.
        ledger_ms: replicated time for which an outcome is remembered at least.
        ledger_bytes_max: bytes of remembered outcomes.
        key_ledger_ms: the same for the outcomes of writes with an idempotency key.
        key_ledger_bytes_max: bytes of these.
    """

    steps_max: int = limits.WRITE_STEPS_MAX
    result_bytes_max: int = limits.RESULT_BYTES_MAX
    statements_max: int = limits.STATEMENTS_MAX
    value_bytes_max: int = limits.REQUEST_BYTES_MAX
    expression_depth_max: int = limits.SQL_EXPRESSION_DEPTH_MAX
    parameters_max: int = limits.PARAMETERS_MAX
    ledger_ms: int = limits.LEDGER_MS
    ledger_bytes_max: int = limits.LEDGER_BYTES_MAX
    key_ledger_ms: int = limits.KEY_LEDGER_MS
    key_ledger_bytes_max: int = limits.KEY_LEDGER_BYTES_MAX
