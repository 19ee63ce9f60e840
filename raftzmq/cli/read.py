"""raftzmq read: run queries."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Annotated

import typer
from rich.console import Console

from raftzmq import limits
from raftzmq.cli.duration import milliseconds
from raftzmq.cli.options import (
    ConfigOption,
    ConnectOption,
    TimeoutOption,
    TokenOption,
    connect_addresses,
)
from raftzmq.cli.requests import Requests
from raftzmq.cli.show import Format, show_rows
from raftzmq.cli.sql_argument import ParamsOption, WordsArgument, statements_given
from raftzmq.wire.client import Level


class LevelName(StrEnum):
    """Levels of reads, as typed."""

    LINEARIZABLE = "linearizable"
    SESSION = "session"
    STALE = "stale"
    LEADER = "leader"


def read(
    sql: Annotated[
        str | None, typer.Argument(help="One or more queries; - or nothing reads them from stdin.")
    ] = None,
    words: WordsArgument = None,
    params: ParamsOption = None,
    form: Annotated[
        Format | None,
        typer.Option("--format", "-f", help="table on a terminal, else csv.", show_default=False),
    ] = None,
    level: Annotated[
        LevelName,
        typer.Option(
            help="linearizable: sees every write acknowledged before. leader: the same, served "
            "by the leader. stale: what the replica has now, see --max-age. session: at least "
            "what the session of --after has seen."
        ),
    ] = LevelName.LINEARIZABLE,
    max_age: Annotated[
        str,
        typer.Option(
            metavar="TIME",
            help="With --level stale: see every write acknowledged up to so long before, for "
            "instance 500ms or 2s; refused where that is not sure. 0 allows any age.",
        ),
    ] = "0",
    after: Annotated[
        int,
        typer.Option(
            min=0,
            max=(1 << 63) - 1,
            metavar="TOKEN",
            help="With --level session: see at least what the session with this token saw.",
        ),
    ] = 0,
    token: TokenOption = False,
    timeout: TimeoutOption = limits.REQUEST_TIMEOUT_MS / 1000,
    connect: ConnectOption = None,
    config: ConfigOption = None,
) -> None:
    """Run queries and print their rows. Several queries see the same snapshot.

    Parameters replace ? in order. 12 and 1.5 are numbers, NULL is null, x'00ff' is a blob,
    everything else is text; '12' in SQL quotes is text too; --params takes JSON.

    Example: raftzmq read "SELECT * FROM t WHERE id > ?" 10 --format json

    Example: raftzmq read --level session --after "$token" "SELECT count(*) FROM t"
    """
    max_age_ms = milliseconds(max_age)
    if max_age_ms and level is not LevelName.STALE:
        raise typer.BadParameter(f"--max-age belongs to --level stale, not to {level.value}")
    if after and level is LevelName.STALE:
        raise typer.BadParameter("--after belongs to --level session; level stale ignores it")
    statements = statements_given(sql, words, params)
    console = Console(soft_wrap=False)
    chosen = form or (Format.TABLE if sys.stdout.isatty() else Format.CSV)
    addresses = connect_addresses(connect, config)
    with Requests(addresses, timeout_ms=int(timeout * 1000), after=after) as requests:
        results = requests.read(statements, level=Level[level.name], max_age_ms=max_age_ms)
    for result in results:
        show_rows(result, chosen, console)
    if token:
        typer.echo(requests.token)
