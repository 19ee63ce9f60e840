"""What a node is running: the body of a reply to QUERIES, and the payload of KILL.

Like the status it is a map that people read with foreign tools: unknown keys are ignored, a
missing one is an error. It is bounded, however much a node has to do and however long the SQL:
a node answers it from its raft thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Final

from raftzmq.wire.codec import DecodeError, pack, unpack_map

STATEMENTS_LISTED_MAX: Final = 200
"""Longest list; the oldest come first, and ``QueryList.left_out`` counts the others."""
ANSWER_SQL_BYTES_MAX: Final = 1 << 20
"""SQL in one answer; what comes after that is listed without its text."""
WHO_LENGTH_MAX: Final = 64
ID_LENGTH_MAX: Final = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningQuery:
    """One thing that a node works on or has queued.

    Attributes:
        id: what ``raftzmq kill`` takes: node, run of the node, number; never given again.
        kind: ``fast reads`` (a batch of short reads, each stopped by itself after
            FAST_READ_MS), ``read``, ``write`` (being applied), ``digest`` or ``snapshot``.
        state: ``waiting`` for a worker, ``running``, or ``stopping`` after a kill.
        since_ms: how long it has been in this state; after a kill, since it began to run.
        client: client id of the request in hexadecimal; empty for an anonymous one.
        index: log index of the entry that is being applied; 0 for everything else.
        requests: how many requests are run together under this id.
        steps: of a write, virtual machine steps taken, which WRITE_STEPS_MAX bounds; else 0.
        sql: its statements, one after the other; of several requests, those of the first.
        sql_whole: ``sql`` is all of it.
    """

    id: str
    kind: str
    state: str
    since_ms: int
    client: str
    index: int
    requests: int
    steps: int
    sql: str
    sql_whole: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryList:
    """What one node runs at one moment.

    Attributes:
        node: its name.
        queries: longest running first, then what waits for a worker.
        left_out: how many more there are.
        reads_waiting: reads that wait for a leader's confirmation or an applied index.
        entries_waiting: proposed log entries of this node that are not applied yet.
    """

    node: str
    queries: tuple[RunningQuery, ...]
    left_out: int
    reads_waiting: int
    entries_waiting: int


_SCALARS: Final[dict[str, type[Any]]] = {"str": str, "int": int, "bool": bool}
_QUERY_TYPES: Final = {each.name: _SCALARS[str(each.type)] for each in fields(RunningQuery)}
_LIST_TYPES: Final = {each.name: _SCALARS.get(str(each.type), list) for each in fields(QueryList)}
_ENTRIES_MAX: Final = 1_024


def encode_queries(found: QueryList) -> bytes:
    """Body of a reply to QUERIES."""
    return pack({**asdict(found), "queries": [asdict(query) for query in found.queries]})


def decode_queries(body: bytes) -> QueryList:
    """The list in ``body``.

    Raises:
        DecodeError: not such a list.
    """
    known = _typed(unpack_map(body, _ENTRIES_MAX), _LIST_TYPES)
    queries = []
    for each in known.pop("queries"):
        if type(each) is not dict:
            raise DecodeError("a running query is a map")
        queries.append(RunningQuery(**_typed(each, _QUERY_TYPES)))
    return QueryList(queries=tuple(queries), **known)


def encode_kill(query: str, who: str = "") -> bytes:
    """Payload of KILL: the id, and on a second line who wants it, for people to read."""
    return f"{query}\n{who}".encode() if who else query.encode()


def decode_kill(payload: bytes) -> tuple[str, str]:
    """(id, who) of a payload of KILL, without control characters and cut to a bound."""
    head = payload[: 4 * (ID_LENGTH_MAX + WHO_LENGTH_MAX)].decode("utf-8", "replace")
    query, _, who = head.partition("\n")
    return _printable(query, ID_LENGTH_MAX), _printable(who, WHO_LENGTH_MAX)


def _typed(found: dict[str, Any], types: dict[str, type[Any]]) -> dict[str, Any]:
    for name, kind in types.items():
        value: Any = found.get(name)
        if type(value) is not kind or (kind is int and value < 0):
            raise DecodeError(f"field {name} of the running queries is missing or wrong")
    return {name: found[name] for name in types}


def _printable(text: str, length_max: int) -> str:
    return "".join(each for each in text if each.isprintable())[:length_max].strip()


def bounded(queries: Sequence[RunningQuery]) -> tuple[tuple[RunningQuery, ...], int]:
    """As many of ``queries`` as an answer may hold, and how many are left out."""
    kept: list[RunningQuery] = []
    room = ANSWER_SQL_BYTES_MAX
    for query in queries[:STATEMENTS_LISTED_MAX]:
        room -= len(query.sql)
        kept.append(query if room >= 0 else replace(query, sql="", sql_whole=False))
    return tuple(kept), max(0, len(queries) - STATEMENTS_LISTED_MAX)
