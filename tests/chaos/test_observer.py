"""Who led when: from looks, and from logs whose clock may be wrong."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from raftzmq.chaos.observer import Leaderships, shared_terms


def status(node: str, term: int, role: str = "leader") -> Any:
    return SimpleNamespace(node=node, term=term, role=role)


def looks() -> Leaderships:
    found = Leaderships()
    for at_s in (1.0, 2.0, 3.0):
        found.see([status("n1", 1), status("n2", 1, "follower")], at_s)
    for at_s in (5.0, 6.0):
        found.see([status("n2", 3)], at_s)
    return found


def test_one_that_led_too_shortly_for_a_look_is_in_the_logs() -> None:
    found = looks()
    found.see_line("n3", 2, 4.0)
    assert [(each.node, each.term) for each in found.found()] == [("n1", 1), ("n3", 2), ("n2", 3)]
    assert (found.found()[1].from_s, found.found()[1].until_s) == (4.0, 4.0)


@pytest.mark.parametrize("at_s", [0.0, 5_000.0])
def test_a_line_of_a_wrong_clock_keeps_its_place_among_the_terms(at_s: float) -> None:
    found = looks()
    found.see_line("n3", 2, at_s)
    led = found.found()[1]
    assert (led.node, led.term) == ("n3", 2)
    assert 1.0 <= led.from_s <= led.until_s <= 5.0


def test_a_line_of_a_wrong_clock_does_not_lengthen_what_was_seen() -> None:
    found = looks()
    found.see_line("n2", 3, 5_000.0)
    found.see_line("n1", 1, 0.9)
    assert [(each.from_s, each.until_s) for each in found.found()] == [(0.9, 3.0), (5.0, 6.0)]


def test_two_that_lead_one_term_are_found() -> None:
    found = looks()
    assert shared_terms(found.found()) == []
    found.see_line("n3", 3, 5.5)
    assert shared_terms(found.found()) == [3]
