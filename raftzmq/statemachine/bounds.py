"""The limits that decide what an entry does; they must be equal on every replica."""

from __future__ import annotations

from dataclasses import dataclass

from raftzmq import limits


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyLimits:
    """Bounds of one write. Two replicas with different bounds diverge: never tune one node.

    Attributes:
        steps_max: virtual machine steps of SQLite that one request may take.
        result_bytes_max: bytes of the rows that one request may return (RETURNING, SELECT).
        statements_max: statements in one request.
        value_bytes_max: bytes of one value or row.
        expression_depth_max: nesting of one SQL expression.
        parameters_max: parameters of one statement.
        ledger_ms: replicated time for which an outcome is remembered.
        ledger_bytes_max: bytes of remembered outcomes.
    """

    steps_max: int = limits.WRITE_STEPS_MAX
    result_bytes_max: int = limits.RESULT_BYTES_MAX
    statements_max: int = limits.STATEMENTS_MAX
    value_bytes_max: int = limits.REQUEST_BYTES_MAX
    expression_depth_max: int = limits.SQL_EXPRESSION_DEPTH_MAX
    parameters_max: int = limits.PARAMETERS_MAX
    ledger_ms: int = limits.LEDGER_MS
    ledger_bytes_max: int = limits.LEDGER_BYTES_MAX
