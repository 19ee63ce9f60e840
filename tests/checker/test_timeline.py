"""The picture of a window is well-formed, complete in itself, and shows what is wrong."""

from __future__ import annotations

from xml.etree import ElementTree as Xml

from raftzmq.checker.history import Operation
from raftzmq.checker.linearizability import judge
from raftzmq.checker.timeline import DRAWN_MAX, draw, label
from raftzmq.checker.window import Window


def operation(number: int, **changes: object) -> Operation:
    values: dict[str, object] = {
        "client": f"c{number % 5}",
        "op": "write",
        "key": "k",
        "value": number,
        "expected": None,
        "result": None,
        "call": number * 1_000_000,
        "returned": number * 1_000_000 + 500_000,
        "ok": True,
    }
    return Operation(**{**values, **changes})  # type: ignore[arg-type]


def groups(picture: str) -> list[Xml.Element]:
    return [each for each in Xml.fromstring(picture).iter() if each.tag.endswith("}g")]


def test_each_operation_has_a_bar_and_the_offending_one_is_marked() -> None:
    history = [operation(1), operation(2), operation(3, op="read", value=None, result=1)]
    window = judge("register", history).window
    assert window is not None
    bars = groups(draw(window, "k"))
    assert len(bars) == len(window.operations)
    assert [each.get("class") for each in bars].index("bad") == window.offending


def test_nothing_comes_from_elsewhere_and_everything_is_escaped() -> None:
    nasty = operation(1, client="<script>", value='"><img src=x>', node="&")
    picture = draw(Window((nasty,), 0, "</text><b>"), "<k>")
    Xml.fromstring(picture)
    assert "<script" not in picture
    assert "<img" not in picture
    assert picture.count("http") == 1  # the name of the namespace


def test_a_large_window_is_drawn_in_part_and_says_so() -> None:
    window = Window(tuple(operation(n) for n in range(100)), 99, "why")
    picture = draw(window)
    bars = groups(picture)
    assert len(bars) == DRAWN_MAX
    assert "60 more operations" in picture
    assert bars[-1].get("class") == "bad"


def test_labels() -> None:
    assert label(operation(1)) == "write 1"
    assert label(operation(1, ok=None, returned=None)) == "write 1 ?"
    assert label(operation(1, ok=False)) == "write 1 failed"
    assert label(operation(1, op="read", result=[1, 2])) == "read → [1, 2]"
    assert label(operation(1, op="cas", expected=0, result=False)) == "cas 0 → 1 refused"
    transfer = operation(1, op="transfer", value={"from": "a", "to": "b", "amount": 3})
    assert label(transfer) == "a → b: 3"
