"""The entry point: commands, exit codes, and no traceback for what is not a bug."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from raftzmq import __version__
from raftzmq.cli import exit_codes
from raftzmq.cli.bench import bench
from raftzmq.cli.chaos import chaos
from raftzmq.cli.check import check
from raftzmq.cli.demo.command import demo
from raftzmq.cli.kill import kill
from raftzmq.cli.queries import queries
from raftzmq.cli.read import read
from raftzmq.cli.rebuild import rebuild
from raftzmq.cli.sim import sim
from raftzmq.cli.start import start
from raftzmq.cli.status import status
from raftzmq.cli.stop import stop
from raftzmq.cli.verify import verify
from raftzmq.cli.write import write
from raftzmq.errors import RequestError, StartError

app = typer.Typer(
    name="raftzmq",
    help="A relational database (SQLite) replicated by Raft over ZeroMQ.",
    epilog="Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not executed (run it again), "
    "4 rejected (the request is wrong), 5 unknown (it may have happened), 78 wrong nodes.toml.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"raftzmq {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """A relational database (SQLite) replicated by Raft over ZeroMQ."""


for _command in (
    start,
    stop,
    status,
    verify,
    write,
    read,
    queries,
    kill,
    rebuild,
    demo,
    bench,
    check,
    chaos,
    sim,
):
    app.command()(_command)


def main() -> None:
    """Run the command line and exit with a documented code (`exit_codes`)."""
    sys.exit(_run())


def _run() -> int:
    try:
        # Exits by itself with 0, with 2 for wrong usage, and with what typer.Exit carries.
        app()
    except RequestError as error:
        typer.echo(exit_codes.explained(error), err=True)
        return exit_codes.of_request(error)
    except StartError as error:
        typer.echo(f"error: {error}", err=True)
        return error.exit_code
    except OSError as error:
        typer.echo(f"error: {error}", err=True)
        return exit_codes.FAILED
    return 0


if __name__ == "__main__":
    main()
