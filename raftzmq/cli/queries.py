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
        console.print(_table(rows))
    elif found.lists:
        console.print("nothing runs")
    for each in found.lists.values():
        for line in _remarks(each):
            console.print(line)
    for name, why in found.failed.items():
        console.print(Text(f"{name}: {why}", style="red"))


def _table(rows: list[RunningQuery]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("id", "kind", "state"):
        table.add_column(name, no_wrap=True)
    table.add_column("since", justify="right", no_wrap=True)
    table.add_column("client", no_wrap=True)
    table.add_column("SQL", no_wrap=True, overflow="ellipsis", ratio=1)
    for query in rows:
        table.add_row(
            query.id,
            _kind(query),
            Text(query.state, style=_STATE_STYLE.get(query.state, "")),
            since_text(query.since_ms),
            query.client[:CLIENT_SHOWN],
            Text(" ".join(query.sql.split()) + ("" if query.sql_whole else " ...")),
        )
    return table


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
