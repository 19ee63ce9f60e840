"""What a user's SQL may touch: SQLite asks here once for each thing a statement would do.

SQLite calls an authorizer while it *prepares* a statement, so a cached statement costs
nothing. The host's own statements are prepared under another flag (``OWN``), which keeps them
apart in the statement cache: a user who sends the very text of one of them is still asked.
"""

from __future__ import annotations

from typing import Final

import apsw

from raftzmq.statemachine.schema import PREFIX

OWN: Final = apsw.SQLITE_PREPARE_PERSISTENT
"""prepare_flags of the host's own statements."""

_ALLOW: Final = frozenset(
    {
        apsw.SQLITE_ANALYZE,
        apsw.SQLITE_CREATE_INDEX,
        apsw.SQLITE_CREATE_TABLE,
        apsw.SQLITE_CREATE_TRIGGER,
        apsw.SQLITE_CREATE_VIEW,
        apsw.SQLITE_DELETE,
        apsw.SQLITE_DROP_INDEX,
        apsw.SQLITE_DROP_TABLE,
        apsw.SQLITE_DROP_TRIGGER,
        apsw.SQLITE_DROP_VIEW,
        apsw.SQLITE_DROP_VTABLE,
        apsw.SQLITE_INSERT,
        apsw.SQLITE_RECURSIVE,
        apsw.SQLITE_REINDEX,
        apsw.SQLITE_SELECT,
        apsw.SQLITE_UPDATE,
    }
)
_TEMPORARY: Final = "temporary objects would not survive a restart of the node"
_REASONS: Final = {
    apsw.SQLITE_TRANSACTION: "a request is one transaction by itself: send its statements"
    " together instead of BEGIN, COMMIT or ROLLBACK",
    apsw.SQLITE_SAVEPOINT: "a request is one transaction by itself: SAVEPOINT and RELEASE are"
    " not available",
    apsw.SQLITE_ATTACH: "ATTACH and VACUUM would touch files that are not replicated",
    apsw.SQLITE_DETACH: "DETACH would touch files that are not replicated",
    apsw.SQLITE_CREATE_TEMP_INDEX: _TEMPORARY,
    apsw.SQLITE_CREATE_TEMP_TABLE: _TEMPORARY,
    apsw.SQLITE_CREATE_TEMP_TRIGGER: _TEMPORARY,
    apsw.SQLITE_CREATE_TEMP_VIEW: _TEMPORARY,
}
_FUNCTIONS_REFUSED: Final = frozenset({"load_extension", "fts3_tokenizer"})
_MODULES: Final = frozenset({"fts5", "fts5vocab", "rtree", "rtree_i32", "geopoly"})
"""Not fts3 and fts4: they merge at COMMIT, by what the whole transaction added, so their
shadow tables would depend on how entries were grouped."""
_CHANGES_SCHEMA: Final = frozenset(
    {
        apsw.SQLITE_ALTER_TABLE,
        apsw.SQLITE_ANALYZE,
        apsw.SQLITE_CREATE_INDEX,
        apsw.SQLITE_CREATE_TABLE,
        apsw.SQLITE_CREATE_TRIGGER,
        apsw.SQLITE_CREATE_VIEW,
        apsw.SQLITE_CREATE_VTABLE,
        apsw.SQLITE_DROP_INDEX,
        apsw.SQLITE_DROP_TABLE,
        apsw.SQLITE_DROP_TRIGGER,
        apsw.SQLITE_DROP_VIEW,
        apsw.SQLITE_DROP_VTABLE,
    }
)
_STATISTICS: Final = "sqlite_stat"
_LAYOUT_TABLES: Final = frozenset({"dbstat", "sqlite_dbpage", "sqlite_stmt"})
"""Show pages or connections, which differ between replicas of equal content."""
_CATALOGUES: Final = frozenset({"sqlite_master", "sqlite_schema"})

_PRAGMAS_ABOUT: Final = frozenset(
    {
        "foreign_key_check",
        "foreign_key_list",
        "index_info",
        "index_list",
        "index_xinfo",
        "table_info",
        "table_xinfo",
    }
)
"""Allowed everywhere, with an argument."""
_PRAGMAS_SHOW: Final = frozenset(
    {"application_id", "encoding", "foreign_keys", "page_size", "user_version"}
)
"""Allowed everywhere, without an argument. fts5 and rtree ask for page_size themselves."""
_PRAGMAS_SET: Final = frozenset({"application_id", "defer_foreign_keys", "user_version"})
"""Allowed to writers, with an argument."""
_PRAGMAS_READER: Final = frozenset(
    {
        "collation_list",
        "compile_options",
        "freelist_count",
        "function_list",
        "integrity_check",
        "module_list",
        "page_count",
        "pragma_list",
        "quick_check",
        "schema_version",
        "table_list",
    }
)
"""Allowed to readers only. Their answers depend on the history of the connection or of the
file (table_list follows a hash table), so a write could carry the difference into a table."""
_CHANGES_ROWS: Final = frozenset({apsw.SQLITE_DELETE, apsw.SQLITE_INSERT, apsw.SQLITE_UPDATE})


class Authorizer:
    """Callable for ``apsw.Connection.authorizer``.

    Attributes:
        asked: False while the host prepares its own statements; then everything is allowed.
        running: True once the user's statement runs. Virtual tables prepare statements of
            their own then (fts5 reads PRAGMA data_version), which no user could send.
        sql: the text being prepared, for rules that the arguments cannot express.
        refused: why the last statement was refused; empty when none was.
        fresh: the schema may be changed. Otherwise a change is refused and ``needs_fresh`` set.
        needs_fresh: a statement would have changed the schema or its statistics.
        defers: PRAGMA defer_foreign_keys was used since the host last cleared this.
        noted: takes the changes of rows that are being prepared, see ``rowids.py``; or None.
    """

    __slots__ = (
        "_reader",
        "asked",
        "defers",
        "fresh",
        "needs_fresh",
        "noted",
        "refused",
        "running",
        "sql",
    )

    def __init__(self, *, reader: bool, fresh: bool = True) -> None:
        self._reader = reader
        self.fresh = fresh
        self.needs_fresh = False
        self.asked = False
        self.running = False
        self.sql = ""
        self.refused = ""
        self.defers = False
        self.noted: list[tuple[int, str, str]] | None = None

    def __call__(
        self,
        operation: int,
        first: str | None,
        second: str | None,
        database: str | None,
        source: str | None,
    ) -> int:
        """Answer SQLITE_OK, SQLITE_DENY or SQLITE_IGNORE; arguments as SQLite defines them."""
        if not self.asked:
            return apsw.SQLITE_OK
        if operation == apsw.SQLITE_READ:
            return self._read((first or "").lower(), (second or "").lower())
        if self.noted is not None and operation in _CHANGES_ROWS:
            self.noted.append((operation, first or "", second or ""))
        if operation == apsw.SQLITE_ANALYZE and _internal(first or ""):
            # A plain ANALYZE visits every table. How many ledger rows are written at this
            # moment depends on how entries were grouped, so those tables are passed over.
            return apsw.SQLITE_IGNORE
        why = self._objection(operation, first or "", second, database or "")
        if not why and (first or "").lower().startswith(_STATISTICS):
            why = self._statistics(operation, source)
        if why:
            self.refused = self.refused or why
            return apsw.SQLITE_DENY
        if operation in _CHANGES_SCHEMA and not self.fresh:
            self.needs_fresh = True
            return apsw.SQLITE_DENY
        return apsw.SQLITE_OK

    def _statistics(self, operation: int, source: str | None) -> str:
        """ANALYZE and DROP change these tables as well; only users name them in the text.

        SQLite loads them when it opens the file: rows put there by hand would take effect on
        the replicas that restart, and not on the others.
        """
        changes = operation in (
            apsw.SQLITE_DELETE,
            apsw.SQLITE_DROP_TABLE,
            apsw.SQLITE_INSERT,
            apsw.SQLITE_UPDATE,
        )
        if changes and (source is not None or _STATISTICS in self.sql.lower()):
            return "the statistics of the planner are changed by ANALYZE only"
        return ""

    def _read(self, table: str, column: str) -> int:
        if table in _CATALOGUES and column == "rootpage" and not self._reader:
            # Page numbers depend on how entries were grouped: NULL instead.
            return apsw.SQLITE_IGNORE
        why = _internal(table)
        if table in _LAYOUT_TABLES and not self._reader:
            why = f"{table} shows the layout of the file, which differs between replicas"
        elif table.startswith("pragma_"):
            why = self._pragma(table[len("pragma_") :], None)
        if why:
            self.refused = self.refused or why
            return apsw.SQLITE_DENY
        return apsw.SQLITE_OK

    def _objection(self, operation: int, first: str, second: str | None, database: str) -> str:
        if operation == apsw.SQLITE_PRAGMA:
            return self._pragma(first.lower(), second)
        if operation == apsw.SQLITE_FUNCTION:
            name = (second or "").lower()
            return f"{name}() is not available" if name in _FUNCTIONS_REFUSED else ""
        if database == "temp" and operation == apsw.SQLITE_INSERT:
            # CREATE TABLE temp.x and CREATE TRIGGER temp.x do not come as CREATE_TEMP_*, but
            # each temporary object is inserted into the temporary catalogue.
            return _TEMPORARY
        if operation == apsw.SQLITE_CREATE_VTABLE:
            if (second or "").lower() not in _MODULES:
                return f"virtual tables of module {second} are not available"
            return _internal(first)
        if operation == apsw.SQLITE_ALTER_TABLE:
            # The arguments hold the old name only; the new one is in the text.
            return _internal(second or "") or (
                f"names with {PREFIX} belong to raftzmq" if PREFIX in self.sql.lower() else ""
            )
        if operation not in _ALLOW:
            return _REASONS.get(operation, f"operation {operation} is not available")
        if first.lower() == "sqlite_sequence" and (
            operation == apsw.SQLITE_INSERT
            or (operation == apsw.SQLITE_UPDATE and (second or "").lower() == "seq")
        ):
            return "sqlite_sequence cannot be set; rows may be deleted from it"
        on_table = operation in (apsw.SQLITE_CREATE_INDEX, apsw.SQLITE_CREATE_TRIGGER)
        return _internal(first) or (_internal(second or "") if on_table else "")

    def _pragma(self, name: str, argument: str | None) -> str:
        if name in _PRAGMAS_ABOUT:
            return ""
        if argument is None and name in _PRAGMAS_SHOW:
            return ""
        if not self._reader and argument is not None and name in _PRAGMAS_SET:
            self.defers = self.defers or name == "defer_foreign_keys"
            return ""
        if self._reader and name in _PRAGMAS_READER:
            return ""
        if self.running and name == "data_version" and argument is None:
            return ""
        shown = f" = {argument}" if argument is not None else ""
        return f"PRAGMA {name}{shown} is not available in a replicated database"


def _internal(name: str) -> str:
    if name.lower().startswith(PREFIX):
        return f"{name} belongs to raftzmq"
    return ""
