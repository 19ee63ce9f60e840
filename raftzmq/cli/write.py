"""raftzmq write: change the database."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from raftzmq import limits
from raftzmq.cli import exit_codes
from raftzmq.cli.dump import DumpLoader, DumpStopped, advice
from raftzmq.cli.dump import Progress as DumpProgress
from raftzmq.cli.options import (
    ConfigOption,
    ConnectOption,
    TimeoutOption,
    TokenOption,
    connect_addresses,
)
from raftzmq.cli.requests import Requests, Written
from raftzmq.cli.show import Format, show_rows
from raftzmq.cli.sql_argument import ParamsOption, WordsArgument, statements_given
from raftzmq.client.session import key_bytes
from raftzmq.errors import RequestError
from raftzmq.wire.client import Flags
from raftzmq.wire.payload import StatementResult, Value


def write(
    sql: Annotated[
        str | None,
        typer.Argument(help="One or more statements; - or nothing reads them from stdin."),
    ] = None,
    words: WordsArgument = None,
    params: ParamsOption = None,
    file: Annotated[
        str | None,
        typer.Option(
            "--file",
            metavar="FILE",
            help="Apply a dump of any size, in many transactions; - is stdin.",
        ),
    ] = None,
    each: Annotated[
        bool, typer.Option("--each", help="Each statement is a transaction of its own.")
    ] = False,
    no_foreign_keys: Annotated[
        bool, typer.Option("--no-foreign-keys", help="Do not enforce foreign keys.")
    ] = False,
    key: Annotated[
        str | None,
        typer.Option(
            "--id",
            metavar="KEY",
            help=f"Idempotency key, at most {limits.KEY_BYTES_MAX} bytes: the same statements "
            "under the same key again, from any machine, are not applied again but give the "
            "first result, for 7 days (key_ledger_ms, key_ledger_bytes_max). After that they "
            "are new work, so let the key name it: nightly-2024-05-01.",
            show_default=False,
        ),
    ] = None,
    token: TokenOption = False,
    form: Annotated[
        Format | None,
        typer.Option(
            "--format",
            "-f",
            help="Of RETURNING rows: table on a terminal, else csv.",
            show_default=False,
        ),
    ] = None,
    timeout: TimeoutOption = limits.REQUEST_TIMEOUT_MS / 1000,
    connect: ConnectOption = None,
    config: ConfigOption = None,
) -> None:
    """Change the database. Several statements are one transaction: all of them or none.

    When it returns without error, a majority of the nodes has the change on disk. Parameters
    replace ? in order: 12 and 1.5 are numbers, NULL is null, x'00ff' is a blob, everything else
    is text; '12' in SQL quotes is text too; --params takes JSON.

    Example: raftzmq write "INSERT INTO t (note) VALUES (?) RETURNING id" hello

    Example: raftzmq write --file dump.sql

    Example: raftzmq write --id "bill-$(date +%F)" "UPDATE account SET due = due + 10"
    """
    flags = Flags.NO_FOREIGN_KEYS if no_foreign_keys else Flags(0)
    addresses_of = (connect, config)
    if file is not None:
        if sql is not None or params is not None:
            raise typer.BadParameter("--file brings its own statements; leave out SQL and --params")
        _write_file(file, addresses_of, timeout, flags, key, token)
        return
    statements = statements_given(sql, words, params)
    console = Console()
    chosen = form or (Format.TABLE if sys.stdout.isatty() else Format.CSV)
    with Requests(connect_addresses(*addresses_of), timeout_ms=int(timeout * 1000)) as requests:
        all_written = _apply(requests, statements, flags, each, key)
    results = [result for written in all_written for result in written.results]
    for result in results:
        show_rows(result, chosen, console)
    # On stderr, so that the rows of RETURNING stay clean for a program.
    if any(result.columns is None for result in results):
        typer.echo(_counted(results), err=True)
    for note in _notes(all_written):
        typer.echo(note, err=True)
    if token:
        typer.echo(requests.token)


def _apply(
    requests: Requests,
    statements: list[tuple[str, Sequence[Value]]],
    flags: int,
    each: bool,
    key: str | None,
) -> list[Written]:
    if not each:
        return [requests.write(statements, flags=flags, key=_part(key, 0))]
    results: list[Written] = []
    for number, statement in enumerate(statements, start=1):
        try:
            results.append(requests.write([statement], flags=flags, key=_part(key, number)))
        except RequestError as error:
            if number > 1:
                typer.echo(f"statements 1 to {number - 1} are applied", err=True)
            typer.echo(f"statement {number}: {statement[0]:.200}", err=True)
            raise error from None
    return results


def _part(key: str | None, number: int) -> bytes:
    return b"" if key is None else key_bytes(key, number)


def _notes(all_written: list[Written]) -> list[str]:
    """What to say about writes whose key was used before."""
    before = [written for written in all_written if written.before]
    notes = []
    if before:
        which = "" if len(before) == len(all_written) else f"{len(before)} of {len(all_written)} "
        notes.append(
            f"{which}applied before, at log index {before[-1].applied_at}: nothing was changed "
            f"now, this is the first result"
        )
    if any(written.forgotten for written in all_written):
        notes.append("the rows of the first time were too large to be remembered")
    return notes


def _counted(results: list[StatementResult]) -> str:
    rows = sum(result.changes for result in results)
    return f"ok: {_number(rows, 'row')} changed by {_number(len(results), 'statement')}"


def _number(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _write_file(
    name: str,
    addresses_of: tuple[str | None, Path | None],
    timeout: float,
    flags: int,
    key: str | None,
    token: bool,
) -> None:
    if key is not None:
        key_bytes(key)
    addresses = connect_addresses(*addresses_of)
    with (
        _open(name) as text,
        Requests(addresses, timeout_ms=int(timeout * 1000)) as requests,
        Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            disable=not sys.stderr.isatty(),
        ) as bar,
    ):
        size = os.fstat(text.fileno()).st_size if name != "-" else None
        task = bar.add_task("0 rows", total=size or None)

        def advance(progress: DumpProgress) -> None:
            # Characters for bytes: exact for ASCII, and a bar needs no more.
            bar.update(task, completed=progress.characters, description=_done(progress))

        try:
            loader = DumpLoader(requests, flags=flags, advance=advance, key=key, ahead=name != "-")
            done = loader.load(text)
        except DumpStopped as stopped:
            bar.stop()
            _say_stopped(name, stopped)
            raise typer.Exit(exit_codes.of_request(stopped.error)) from None
        except UnicodeDecodeError as error:
            raise typer.BadParameter(f"{name} is not UTF-8 text: {error}") from None
    typer.echo(f"ok: {_done(done)}", err=True)
    if token:
        typer.echo(requests.token)


def _open(name: str) -> IO[str]:
    if name == "-":
        return os.fdopen(os.dup(sys.stdin.fileno()), encoding="utf-8-sig", newline="")
    try:
        return Path(name).open(encoding="utf-8-sig", newline="")
    except OSError as error:
        raise typer.BadParameter(f"--file {name}: {error.strerror}") from None


def _done(progress: DumpProgress) -> str:
    return (
        f"{_number(progress.rows, 'row')}, {_number(progress.statements, 'statement')}, "
        f"{_number(progress.transactions, 'transaction')}"
        + (f", {progress.before:,} of them applied before" if progress.before else "")
        + ("; AUTOINCREMENT goes on from the highest rowid" if progress.sequences else "")
    )


def _say_stopped(name: str, stopped: DumpStopped) -> None:
    say = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    first, last = stopped.first, stopped.last
    say.print(exit_codes.explained(stopped.error))
    say.print(f"{name} stopped after: {_done(stopped.progress)}")
    if first.line == last.line:
        say.print(f"at line {first.line}: {first.sql:.200}")
    else:
        say.print(
            f"in the transaction from line {first.line} to the statement on line {last.line}; "
            f"nothing of it is applied"
            if stopped.error.outcome.name != "UNKNOWN"
            else f"in the transaction from line {first.line} to the statement on line "
            f"{last.line}; it may be applied as a whole or not at all"
        )
    hint = advice(stopped.error)
    if hint:
        say.print(f"hint: {hint}")
