"""Which requests are all or nothing by themselves, and need no savepoint around them.

A request of one INSERT of one row, into a schema where nothing else can happen in consequence,
either adds its row or leaves nothing behind (https://sqlite.org/lang_conflict.html, ABORT). The
savepoint, and the statement that sets changes() to 0 before it, cost a quarter of such a request;
it is the most frequent one there is, and each replica applies it.

Decided by looks, on the safe side: what is not recognised gets its savepoint.
"""

from __future__ import annotations

import re
from typing import Final

import apsw

from raftzmq.statemachine.authorizer import OWN

_LONE: Final = re.compile(
    r"\s*insert\s+into\s+\w+\s*(?:\([\w\s,]*\))?\s*values\s*\([\w\s?:@$,.+-]*\)\s*",
    re.IGNORECASE,
)
"""One row, nothing about conflicts, and no brackets within: no call and no sub-query."""
_CONSEQUENCES: Final = re.compile(
    r"trigger|references|conflict|fail|rollback|virtual|changes", re.IGNORECASE
)
"""Triggers, foreign keys, other ways to fail than ABORT, tables that keep rows in other tables,
and defaults that look at what was changed before."""
_TEXTS: Final = "SELECT sql FROM sqlite_schema WHERE sql NOT NULL"


def is_lone(sql: str) -> bool:
    """Whether ``sql``, alone in its request, adds one row or fails without a trace.

    As long as ``has_consequences`` does not hold.
    """
    return _LONE.fullmatch(sql) is not None


def has_consequences(connection: apsw.Connection) -> bool:
    """Whether an INSERT may do more than to add its row, in the schema as it is.

    Raises:
        apsw.Error: the schema cannot be read.
    """
    texts = connection.execute(_TEXTS, prepare_flags=OWN)
    return any(_CONSEQUENCES.search(str(text)) for (text,) in texts)
