"""raftzmq check: was what clients saw linearizable?"""

from __future__ import annotations

from enum import StrEnum
from html import escape
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.markup import escape as plain_text
from rich.table import Table

from raftzmq.checker.history import HistoryUnreadable, read_history
from raftzmq.checker.linearizability import STATES_MAX, Judgement, KeyVerdict, judge
from raftzmq.checker.timeline import draw, label
from raftzmq.checker.window import Window
from raftzmq.cli import exit_codes

_KEYS_SHOWN: Final = 20
_OPERATIONS_SHOWN: Final = 40
_WORDS: Final = {True: "linearizable", False: "VIOLATED", None: "undecided"}


class Model(StrEnum):
    """See `raftzmq.checker.models`."""

    REGISTER = "register"
    APPEND = "append"
    BANK = "bank"
    COUNTER = "counter"


def check(
    history: Annotated[Path, typer.Argument(help="One JSON object per line, one per operation.")],
    model: Annotated[Model, typer.Option(help="What the operations mean.")] = Model.REGISTER,
    svg: Annotated[
        Path | None, typer.Option(help="Draw the smallest offending window into this file.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option(help="The same, as a page with a table of the operations.")
    ] = None,
    states: Annotated[
        int, typer.Option(min=1, help="How much to try per key before it is given up.")
    ] = STATES_MAX,
) -> None:
    """Judge a history of what clients asked and saw: is there an order that explains it?

    Each line is {"client", "op", "key", "value", "expected", "result", "call", "return", "ok"};
    times in nanoseconds of one clock, ok true, false (it did not happen) or null (unknown).
    Operations: register: read, write, cas. append: read, append. counter: read, add.
    bank: open {account: balance}, transfer {from, to, amount}, read; the key is the whole ledger.

    The exit code is 0 for linearizable, 6 for a violation, 7 for undecided or nothing to judge,
    8 for a file that cannot be read.

    Example: raftzmq check history.jsonl --model register --svg window.svg
    """
    try:
        judgement = judge(model.value, read_history(history), states)
    except (HistoryUnreadable, OSError, UnicodeDecodeError) as error:
        typer.echo(f"error: {history} cannot be judged: {error}", err=True)
        raise typer.Exit(exit_codes.HISTORY_UNREADABLE) from error
    console = Console(highlight=False)
    _print_keys(console, judgement)
    found = _smallest(judgement)
    if found is not None and found.window is not None:
        _print_window(console, found.key, found.window)
        try:
            if svg is not None:
                svg.write_text(draw(found.window, found.key), encoding="utf-8")
            if html is not None:
                html.write_text(_page(found.key, found.window), encoding="utf-8")
        except OSError as error:  # the verdict counts, and the window is printed above
            typer.echo(f"error: the window was not drawn: {error}", err=True)
    elif svg is not None or html is not None:
        typer.echo("nothing was drawn: no window is violated", err=True)
    console.print(f"{_WORDS[judgement.holds]}: {judgement.summary}", markup=False, soft_wrap=True)
    if judgement.holds is False:
        raise typer.Exit(exit_codes.NOT_LINEARIZABLE)
    if judgement.holds is None:
        raise typer.Exit(exit_codes.UNDECIDED)


def _smallest(judgement: Judgement) -> KeyVerdict | None:
    drawn = [each for each in judgement.keys if each.window is judgement.window is not None]
    return drawn[0] if drawn else None


def _print_keys(console: Console, judgement: Judgement) -> None:
    # What is wrong comes first, so that it is among those that are shown.
    keys = sorted(judgement.keys, key=lambda each: {False: 0, None: 1, True: 2}[each.holds])
    table = Table("key", "verdict", box=None, pad_edge=False)
    for name in ("operations", "unknown", "failed", "visited"):
        table.add_column(name, justify="right")
    table.add_column("")
    for each in keys[:_KEYS_SHOWN]:
        table.add_row(
            plain_text(each.key),
            _WORDS[each.holds],
            f"{each.operations:,}",
            f"{each.unknown:,}",
            f"{each.failed:,}",
            f"{each.visited:,}",
            plain_text(each.detail),
        )
    console.print(table)
    if len(keys) > _KEYS_SHOWN:
        console.print(f"and {len(keys) - _KEYS_SHOWN:,} more keys, none of them worse")


def _print_window(console: Console, key: str, window: Window) -> None:
    console.print(f"\nno order explains these, on key {key}: {window.reason}", markup=False)
    table = Table("", "client", "operation", box=None, pad_edge=False)
    table.add_column("call ms", justify="right")
    table.add_column("return ms", justify="right")
    table.add_column("node")
    for mark, each, call, returned in _rows(window):
        table.add_row(
            mark, plain_text(each[0]), plain_text(each[1]), call, returned, plain_text(each[2])
        )
    console.print(table)
    left_out = len(window.operations) - _OPERATIONS_SHOWN
    if left_out > 0:
        console.print(f"and {left_out} more")
    console.print()


def _rows(window: Window) -> list[tuple[str, tuple[str, str, str], str, str]]:
    start = window.operations[0].call
    rows = []
    first = max(0, min(len(window.operations) - _OPERATIONS_SHOWN, window.offending))
    for number, each in enumerate(window.operations[first : first + _OPERATIONS_SHOWN], first):
        rows.append(
            (
                ">" if number == window.offending else "",
                (each.client, label(each), each.node),
                f"{(each.call - start) / 1e6:.3f}",
                "never" if each.returned is None else f"{(each.returned - start) / 1e6:.3f}",
            )
        )
    return rows


def _page(key: str, window: Window) -> str:
    cells = "".join(
        "<tr>"
        + "".join(f"<td>{escape(text)}</td>" for text in (mark, *each, call, returned))
        + "</tr>"
        for mark, each, call, returned in _rows(window)
    )
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Not linearizable</title>'
        "<style>:root{color-scheme:light dark}body{font:14px system-ui,sans-serif;margin:2em}"
        "td,th{padding:.2em .8em;text-align:left}div{overflow-x:auto}</style>"
        f"<h1>Not linearizable: key {escape(key)}</h1><p>No order explains these operations: "
        f"{escape(window.reason)}.</p><div>{draw(window, key)}</div><table><tr><th></th>"
        "<th>client</th><th>operation</th><th>node</th><th>call ms</th><th>return ms</th></tr>"
        f"{cells}</table></html>\n"
    )
