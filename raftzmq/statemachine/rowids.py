"""Which statements can give a row a rowid, and so need to be watched row by row.

After the last rowid SQLite numbers rows at random, out of our reach, so no row may get it: an
update hook watches for it. But a hook is a call into Python for each row, which makes a bulk
UPDATE four times as long and takes the interpreter lock from the raft thread a million times a
second. A statement that inserts nothing, triggers included, and updates no column that can be a
rowid, gives no row another rowid; it runs without the hook.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

import apsw

from raftzmq.statemachine.authorizer import OWN, Authorizer

Noted: TypeAlias = "tuple[int, str, str]"
"""Operation, table and column, as SQLite tells an authorizer while it prepares a statement."""

_ORDINARY: Final = (
    "SELECT 1 FROM pragma_table_list(?1) AS t, pragma_table_info(?1) AS c"
    " WHERE t.schema = 'main' AND t.type = 'table' AND c.pk = 0"
    " AND lower(c.name) = lower(?2) AND lower(?2) <> 'rowid'"
)
"""SQLite tells an authorizer ROWID for whichever name a statement gave the rowid."""


class RowidWatch:
    """Switches the update hook of one writing connection.

    Args:
        connection: the connection.
        authorizer: the one installed on it.
        on_row: the hook.
    """

    def __init__(
        self,
        connection: apsw.Connection,
        authorizer: Authorizer,
        on_row: Callable[[int, str, str, int], None],
    ) -> None:
        self._connection = connection
        self._authorizer = authorizer
        self._on_row = on_row
        self._on = False
        self.switch(on=True)

    @property
    def on(self) -> bool:
        """Whether rows are watched."""
        return self._on

    def switch(self, *, on: bool) -> None:
        """Watch rows, or not; not while a statement runs."""
        if on != self._on:
            self._on = on
            self._connection.set_update_hook(self._on_row if on else None)

    def is_needed(self, noted: Sequence[Noted]) -> bool:
        """Whether a statement with these operations must be watched; when in doubt, yes."""
        if not noted:
            return True  # it was prepared before, unseen
        updated = set()
        for operation, table, column in noted:
            if operation == apsw.SQLITE_INSERT:
                return True
            if operation == apsw.SQLITE_UPDATE:
                updated.add((table, column))
        return not all(self._is_ordinary(table, column) for table, column in updated)

    def _is_ordinary(self, table: str, column: str) -> bool:
        """Whether ``column`` is one of a real table, and no part of its primary key.

        Virtual tables keep rows in tables of their own; a view is whatever its triggers do.
        """
        asked, self._authorizer.asked = self._authorizer.asked, False
        try:
            found = self._connection.execute(_ORDINARY, (table, column), prepare_flags=OWN)
            return found.fetchone() is not None
        finally:
            self._authorizer.asked = asked
