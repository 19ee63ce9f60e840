"""Whom a broker asks for its status, and when: who tells it unasked is left alone."""

from __future__ import annotations

from raftzmq.broker.health import OBSERVE_MS, RENEW_MS, SILENCE_MS_MAX, ClusterView
from raftzmq.limits import OBSERVER_TTL_MS
from raftzmq.wire.status import decode_status
from tests.broker.fake_cluster import status

NODES = {"n1": "tcp://h:1", "n2": "tcp://h:2"}


def asked(view: ClusterView, until_ms: int, telling: str = "", each_ms: int = 200) -> list[int]:
    """When n1 is asked, while ``telling`` pushes its status."""
    told = decode_status(status(telling, "n1", 1))
    at = []
    for now_ms in range(until_ms):
        if telling and now_ms % each_ms == 0:
            view.status(telling, told, now_ms)
        if "n1" in view.unobserved(now_ms):
            at.append(now_ms)
    return at


def test_everybody_is_asked_at_once() -> None:
    assert ClusterView(NODES).unobserved(0) == ["n1", "n2"]


def test_who_says_nothing_is_asked_again_well_before_it_counts_as_silent() -> None:
    assert asked(ClusterView(NODES), 4 * OBSERVE_MS) == [0, *range(OBSERVE_MS, 1600, OBSERVE_MS)]
    assert 2 * OBSERVE_MS < SILENCE_MS_MAX


def test_who_tells_unasked_is_asked_only_to_go_on() -> None:
    assert asked(ClusterView(NODES), 3 * RENEW_MS, telling="n1") == [0, RENEW_MS, 2 * RENEW_MS]
    assert 2 * RENEW_MS < OBSERVER_TTL_MS, "one that gets lost is made up for"


def test_what_others_tell_is_no_answer() -> None:
    assert len(asked(ClusterView(NODES), 4 * OBSERVE_MS, telling="n2")) == 4


def test_answers_to_reads_say_nothing_of_who_leads() -> None:
    view = ClusterView(NODES)
    view.unobserved(0)
    for now_ms in range(OBSERVE_MS):
        view.heard("n1", now_ms)
    assert "n1" in view.unobserved(OBSERVE_MS)
