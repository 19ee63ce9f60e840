"""SQL and parameters as typed behind a command."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from raftzmq.cli.splitting import IncompleteStatement, split
from raftzmq.cli.values import ParameterError, from_json, from_word
from raftzmq.wire.payload import Value

WordsArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[PARAMS]...",
        help="Values for ? in the statement; put -- in front when one begins with a minus.",
        show_default=False,
    ),
]

ParamsOption = Annotated[
    str | None,
    typer.Option("--params", "-p", metavar="JSON", help="The parameters as a JSON array."),
]


def statements_given(
    sql: str | None, words: list[str] | None, params: str | None
) -> list[tuple[str, Sequence[Value]]]:
    """The statements to run, from arguments or stdin.

    Raises:
        typer.BadParameter: there is no SQL, it breaks off, or parameters do not fit.
    """
    if sql is None or sql == "-":
        if sql is None and sys.stdin.isatty():
            raise typer.BadParameter("give SQL as an argument, or pipe it in")
        sql = sys.stdin.read()
    try:
        statements = split(sql)
        values: Sequence[Value] = (
            from_json(params) if params is not None else [from_word(word) for word in words or ()]
        )
    except (IncompleteStatement, ParameterError) as error:
        raise typer.BadParameter(str(error)) from None
    if params is not None and words:
        raise typer.BadParameter("parameters come either as words or as --params, not as both")
    if not statements:
        raise typer.BadParameter("there is no statement in the SQL given")
    if values and len(statements) > 1:
        raise typer.BadParameter(
            f"parameters belong to one statement, and these are {len(statements)}; write the "
            f"values into the SQL, or run the statements one by one"
        )
    return [(statement.sql, values) for statement in statements]
