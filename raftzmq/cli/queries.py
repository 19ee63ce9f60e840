"""raftzmq queries: what every node runs now."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from raftzmq.cli import exit_codes
from raftzmq.cli.options import ConfigOption, open_config
from raftzmq.observe.ask import Asker
from raftzmq.observe.running import Running, look_at_queries
from raftzmq.wire.queries import QueryList, RunningQuery

CLIENT_SHOWN: Final = 8
SQL_SHOWN_MIN: Final = 20
_GAP: Final = "  "
_STATE_STYLE: Final = {"waiting": "dim", "stopping": "yellow"}


def queries(
    node: Annotated[
        str | None, typer.Argument(help="Of one node; of all by default.", show_default=False)
    ] = None,
    config: ConfigOption = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Everything, with the whole SQL, as JSON.")
    ] = False,
    timeout: Annotated[
        float, typer.Option(min=0.01, max=60, metavar="SECONDS", help="Wait for answers.")
    ] = 1.0,
) -> None:
    """List what each node runs: reads, reads that wait for a worker, the write being applied.

    Each node is asked directly. A read stands where it runs, so once; a write is applied on every
    node, so it stands once per node, with its index in the log. "since" counts from when a read
    began to run, or to wait. `raftzmq kill ID` stops a read.

    The exit code is 1 when no node answered.

    Example: raftzmq queries

    Example: raftzmq queries n2 --json
    """
    cluster = open_config(config)
    names = list(cluster.nodes)
    if node is not None and node not in names:
        raise typer.BadParameter(f"{node!r} is none of {', '.join(names)}")
    wanted = names if node is None else [node]
    with Asker({name: cluster.nodes[name].client for name in wanted}) as asker:
        found = look_at_queries(asker, wanted, timeout_ms=int(timeout * 1000))
    if as_json:
        typer.echo(json.dumps(_document(found, wanted), indent=2, ensure_ascii=False))
    else:
        _show(found, Console(highlight=False))
    if not found.lists:
        raise typer.Exit(exit_codes.FAILED)


def _document(found: Running, names: list[str]) -> dict[str, Any]:
    return {
        "nodes": {
            name: asdict(found.lists[name])
            if name in found.lists
            else {"node": name, "error": found.failed[name]}
            for name in names
        }
    }


def _show(found: Running, console: Console) -> None:
    rows = [query for each in found.lists.values() for query in each.queries]
    if rows:
        console.print(_table(rows, console.width), crop=False)
    elif found.lists:
        console.print("nothing runs")
    for each in found.lists.values():
        for line in _remarks(each):
            console.print(line)
    for name, why in found.failed.items():
        console.print(Text(f"{name}: {why}", style="red"))


def _table(rows: list[RunningQuery], width: int) -> Table:
    cells = [
        (query.id, _kind(query), query.state, since_text(query.since_ms), _client(query))
        for query in rows
    ]
    heads = ("id", "kind", "state", "since", "client")
    used = sum(max(map(len, (head, *column))) for head, *column in zip(heads, *cells, strict=True))
    # An id must stay whole, to be copied; SQL is what gives way.
    fixed = used + (len(heads) + 1) * len(_GAP)
    room = max(SQL_SHOWN_MIN, width - fixed)
    table = Table(box=None, padding=(0, len(_GAP), 0, 0), width=fixed + room)
    for head in heads:
        table.add_column(head, no_wrap=True, justify="right" if head == "since" else "left")
    table.add_column("SQL", no_wrap=True)
    for query, row in zip(rows, cells, strict=True):
        style = _STATE_STYLE.get(query.state, "")
        table.add_row(*row, Text(_short(query, room)), style=style)
    return table


def _short(query: RunningQuery, room: int) -> str:
    sql = " ".join(query.sql.split())
    if len(sql) <= room and query.sql_whole:
        return sql
    return sql[: room - 3] + "..."


def _client(query: RunningQuery) -> str:
    return query.client[:CLIENT_SHOWN]


def _kind(query: RunningQuery) -> str:
    if query.index:
        return f"{query.kind} at {query.index}"
    return query.kind if query.requests == 1 else f"{query.requests} {query.kind}"


def _remarks(each: QueryList) -> list[str]:
    lines = []
    if each.left_out:
        lines.append(f"{each.node}: {each.left_out} more")
    if each.reads_waiting:
        lines.append(f"{each.node}: {each.reads_waiting} reads wait for what they must see")
    if each.entries_waiting:
        lines.append(f"{each.node}: {each.entries_waiting} log entries wait to be applied")
    return lines


def since_text(ms: int) -> str:
    """A duration in the unit that suits it."""
    if ms < 1_000:
        return f"{ms} ms"
    if ms < 120_000:
        return f"{ms / 1000:.1f} s"
    return f"{ms / 60_000:.0f} min"
