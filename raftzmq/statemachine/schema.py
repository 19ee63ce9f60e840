"""The tables of the state machine inside state.db, next to the user's.

``_raftzmq_meta`` holds one row: where the content stands. ``_raftzmq_ledger`` holds one row
per entry that carried requests of named clients: their outcomes, for exactly once.
``_raftzmq_keys`` is the same for idempotency keys, which are remembered for longer.
"""

from __future__ import annotations

from typing import Final, NamedTuple

PREFIX: Final = "_raftzmq_"
FORMAT: Final = 1

CREATE: Final = (
    """CREATE TABLE _raftzmq_meta (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        format INTEGER NOT NULL,
        applied_index INTEGER NOT NULL,
        applied_term INTEGER NOT NULL,
        sql_ms INTEGER NOT NULL,
        leader_ms INTEGER NOT NULL,
        elapsed_ms INTEGER NOT NULL,
        ledger_low_index INTEGER NOT NULL,
        keys_low_index INTEGER NOT NULL,
        durable_index INTEGER NOT NULL
    ) STRICT""",
    """CREATE TABLE _raftzmq_ledger (
        log_index INTEGER PRIMARY KEY,
        elapsed_ms INTEGER NOT NULL,
        outcomes BLOB NOT NULL
    ) STRICT""",
    """CREATE TABLE _raftzmq_keys (
        log_index INTEGER PRIMARY KEY,
        elapsed_ms INTEGER NOT NULL,
        outcomes BLOB NOT NULL
    ) STRICT""",
    f"INSERT INTO _raftzmq_meta VALUES (1, {FORMAT}, 0, 0, 0, 0, 0, 0, 0, 0)",
)

READ_META: Final = (
    "SELECT format, applied_index, applied_term, sql_ms, leader_ms, elapsed_ms,"
    " ledger_low_index, keys_low_index FROM _raftzmq_meta"
)
WRITE_META: Final = (
    "UPDATE _raftzmq_meta SET applied_index = ?, applied_term = ?, sql_ms = ?, leader_ms = ?,"
    " elapsed_ms = ?, ledger_low_index = ?, keys_low_index = ?"
)
WRITE_DURABLE: Final = "UPDATE _raftzmq_meta SET durable_index = applied_index"
READ_APPLIED: Final = "SELECT applied_index, applied_term FROM _raftzmq_meta"
NO_CHANGE: Final = "DELETE FROM _raftzmq_ledger WHERE 0"
"""Sets changes() to 0 and touches nothing."""


class LedgerSql(NamedTuple):
    """The statements of one table of outcomes."""

    name: str
    read: str
    read_one: str
    write: str
    evict: str


def _ledger(table: str) -> LedgerSql:
    return LedgerSql(
        table,
        f"SELECT log_index, elapsed_ms, outcomes FROM {table} ORDER BY log_index",
        f"SELECT outcomes FROM {table} WHERE log_index = ?",
        f"INSERT INTO {table} VALUES (?, ?, ?)",
        f"DELETE FROM {table} WHERE log_index <= ?",
    )


LEDGER: Final = _ledger("_raftzmq_ledger")
KEYS: Final = _ledger("_raftzmq_keys")
