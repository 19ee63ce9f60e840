"""raftzmq verify: what it waits for, when it begins anew, and what it says in the end."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import pytest

from raftzmq.cli.verify import Comparing
from raftzmq.errors import Forbidden, NotExecuted, NotLeader, RequestError, Unavailable
from raftzmq.observe.ask import Asker
from raftzmq.wire.client import Kind, Reply
from raftzmq.wire.payload import encode_error
from raftzmq.wire.status import encode_status
from raftzmq.wire.verify import NodeFinding, decode_verify, encode_comparison
from tests.wire.samples import STATUS

FAR = 1e12


def body(index: int, *findings: str, known: bool = True) -> bytes:
    rows = [NodeFinding(f"n{n}", each, "") for n, each in enumerate(findings, 1)]
    return encode_comparison(index, 1, known, rows)


class Script:
    """Answers in turn; the last one again and again. None: no answer."""

    def __init__(self, answers: Iterable[bytes | RequestError | None]) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[int, int] | None] = []

    def ask(self, kind: Kind, **options: Any) -> dict[str, Reply]:
        if kind is Kind.STATUS:
            return {"n1": Reply(b"", 0, 0, 0, encode_status(STATUS), "n1")}
        assert kind is Kind.VERIFY
        assert options["names"] == ["n1"]
        self.asked.append(decode_verify(options["payload"]))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer is None:
            return {}
        if isinstance(answer, RequestError):
            return {"n1": Reply(b"", 0, answer.code, 0, encode_error(answer.message, ""), "n1")}
        return {"n1": Reply(b"", 0, 0, 0, answer, "n1")}


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raftzmq.cli.verify.time.sleep", lambda seconds: None)


def comparing(script: Script, deadline_s: float = FAR) -> Comparing:
    return Comparing(cast(Asker, script), deadline_s, lambda line: None)


def test_it_asks_about_the_comparison_it_began_until_nobody_is_waited_for() -> None:
    script = Script([body(7, "waiting", "waiting"), body(7, "equal", "waiting"), body(7, *"ee")])
    assert comparing(script).run().index == 7
    assert script.asked == [None, (7, 1), (7, 1)]


def test_it_begins_anew_where_a_node_was_busy_or_the_entry_was_lost() -> None:
    script = Script(
        [
            body(7, "waiting"),
            body(7, "skipped"),
            body(9, "waiting"),
            body(9, known=False),
            body(11, "equal"),
        ]
    )
    assert comparing(script).run().index == 11
    assert script.asked == [None, (7, 1), None, (9, 1), None]


def test_a_difference_is_told_though_another_node_was_busy() -> None:
    """The next comparison may find it mended already."""
    script = Script([body(7, "skipped", "differs", "equal"), body(9, "equal", "equal", "equal")])
    assert comparing(script).run().index == 7


def test_it_goes_on_over_a_change_of_leader() -> None:
    script = Script(
        [
            Unavailable("one is under way"),
            body(7, "waiting"),
            None,
            NotLeader("n2 leads"),
            body(7, "equal"),
        ]
    )
    assert comparing(script).run().index == 7
    assert script.asked == [None, None, (7, 1), (7, 1), (7, 1)]


def test_what_will_not_change_is_raised_at_once() -> None:
    with pytest.raises(Forbidden):
        comparing(Script([Forbidden("no")])).run()


def test_out_of_time_it_returns_what_it_has_or_says_why_it_has_nothing() -> None:
    assert comparing(Script([body(7, "waiting")]), 0.0).run().index == 7
    with pytest.raises(NotExecuted, match="one is under way"):
        comparing(Script([Unavailable("one is under way")]), 0.0).run()
