"""raftzmq verify: compares the content of all replicas at one log index, now."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Annotated, Any, Final

import typer
from rich.console import Console

from raftzmq.cli import exit_codes
from raftzmq.cli.options import ConfigOption, TimeoutOption, open_config
from raftzmq.errors import NotExecuted, error_from_wire
from raftzmq.observe.ask import Asker
from raftzmq.observe.survey import leader_of, look
from raftzmq.wire.client import Kind
from raftzmq.wire.codec import DecodeError
from raftzmq.wire.payload import decode_error
from raftzmq.wire.verify import Comparison, decode_comparison, encode_verify

INCOMPLETE: Final = 3
_ASK_MS: Final = 500
_PAUSE_S: Final = 0.1
_WAITING: Final = "waiting"
_SKIPPED: Final = "skipped"
_EQUAL: Final = "equal"
_WRONG: Final = frozenset({"differs", "in doubt"})
_WORDS: Final = {_WAITING: "no answer", _SKIPPED: "busy with an earlier comparison"}


def verify(
    config: ConfigOption = None,
    timeout: TimeoutOption = 60.0,
    as_json: Annotated[bool, typer.Option("--json", help="Everything, as JSON.")] = False,
) -> None:
    """Compare the content of all replicas at the same log index, while writes go on.

    A replica that differs from the majority is taken out of service and rebuilt by itself; see
    `raftzmq status`. The exit code is 0 when all nodes answered and are equal, 1 when one differs,
    3 when none differs but not all answered within --timeout.

    Example: raftzmq verify

    Example: raftzmq verify --json --timeout 600
    """
    cluster = open_config(config)
    console = Console(highlight=False)
    progress = Console(stderr=True, highlight=False)
    began = time.monotonic()
    with Asker({name: node.client for name, node in cluster.nodes.items()}) as asker:
        found = Comparing(asker, began + timeout, progress.print).run()
    seconds = time.monotonic() - began
    findings = {each.node: each for each in found.findings}
    equal = bool(findings) and all(each.finding == _EQUAL for each in found.findings)
    if as_json:
        typer.echo(json.dumps(_document(found, equal, seconds), indent=2))
    else:
        console.print(f"compared at log index {found.index}, in {seconds:.1f} s")
        for name, each in findings.items():
            what = _WORDS.get(each.finding, each.finding)
            console.print(f"{name:<8} {what:<10} {each.digest[:16]}".rstrip())
    if equal:
        return
    wrong = _wrong(found)
    if wrong:
        typer.echo(f"not equal: {', '.join(wrong)}; see `raftzmq status`", err=True)
        raise typer.Exit(exit_codes.FAILED)
    missing = ", ".join(name for name, each in findings.items() if each.finding != _EQUAL)
    typer.echo(f"no difference was found, but not all were compared: {missing}", err=True)
    raise typer.Exit(INCOMPLETE)


class Comparing:
    """One comparison, through leader changes, until it is complete or time runs out.

    Args:
        asker: of all nodes.
        deadline_s: on the monotonic clock.
        say: takes a line about what is waited for.
    """

    def __init__(self, asker: Asker, deadline_s: float, say: Callable[[str], None]) -> None:
        self._asker = asker
        self._deadline_s = deadline_s
        self._say = say
        self._said = ""
        self._leader: str | None = None

    def run(self) -> Comparison:
        """The comparison as far as it came.

        Raises:
            NotExecuted: none could begin in time.
        """
        found: Comparison | None = None
        why = "no node leads"
        while True:
            over = found is not None and _is_over(found)
            if found is not None and over and (_wrong(found) or not _skipped(found)):
                return found
            # Where a node was busy with an earlier comparison, another one is begun.
            goes_on = found is not None and not over
            answer = self._ask(
                encode_verify(found.index, found.entry_term) if found and goes_on else b""
            )
            if isinstance(answer, str):
                why = answer
            elif answer.known:
                found = answer
                self._tell(answer)
            else:
                found = None  # lost with its leader; begin anew
            if time.monotonic() >= self._deadline_s:
                break
            time.sleep(_PAUSE_S)
        if found is None:
            raise NotExecuted(f"the replicas were not compared: {why}")
        return found

    def _ask(self, payload: bytes) -> Comparison | str:
        """The leader's answer, or why there is none yet."""
        if self._leader is None:
            leader = leader_of(look(self._asker, timeout_ms=_ASK_MS))
            if leader is None:
                return "no node leads"
            self._leader = leader.node
        name, self._leader = self._leader, None
        reply = self._asker.ask(Kind.VERIFY, names=[name], payload=payload, timeout_ms=_ASK_MS).get(
            name
        )
        if reply is None:
            return f"{name} leads and does not answer"
        if reply.code:
            error = error_from_wire(reply.code, *decode_error(reply.body))
            if not isinstance(error, NotExecuted):
                raise error
            return error.message
        try:
            comparison = decode_comparison(reply.body)
        except DecodeError as error:
            return f"the answer of {name} cannot be read: {error}"
        self._leader = name
        return comparison

    def _tell(self, found: Comparison) -> None:
        waiting = [each.node for each in found.findings if each.finding == _WAITING]
        line = f"log index {found.index}: waiting for {', '.join(waiting)}"
        if waiting and line != self._said:
            self._said = line
            self._say(line)


def _is_over(found: Comparison) -> bool:
    return found.known and all(each.finding != _WAITING for each in found.findings)


def _wrong(found: Comparison) -> list[str]:
    return [each.node for each in found.findings if each.finding in _WRONG]


def _skipped(found: Comparison) -> bool:
    return any(each.finding == _SKIPPED for each in found.findings)


def _document(found: Comparison, equal: bool, seconds: float) -> dict[str, Any]:
    return {
        "equal": equal,
        "index": found.index,
        "seconds": round(seconds, 3),
        "nodes": {
            each.node: {"finding": each.finding, "digest": each.digest} for each in found.findings
        },
    }
