"""What befalls packets, and that it is counted."""

from __future__ import annotations

from raftzmq.chaos.links import Links, Rule

AB, BA = ("a", "b"), ("b", "a")


def times(links: Links, link: tuple[str, str], now_ms: float) -> list[float]:
    return list(links.arrivals(link, now_ms))


def test_a_cut_link_drops_all_one_way_and_counts_it() -> None:
    links = Links(1)
    links.set("cut", [AB], Rule(drop=1))
    assert [times(links, AB, at) for at in range(10)] == [[]] * 10
    assert times(links, BA, 0) == [0]
    assert links.is_free(BA)
    ended = links.clear("cut")["cut"]
    assert (ended.seen, ended.dropped, ended.touched()) == (10, 10, 10)
    assert links.is_free(AB)
    assert links.clear("cut") == {}


def test_a_rule_that_met_no_packet_has_touched_none() -> None:
    links = Links(1)
    links.set("loss", [AB], Rule(drop=0.5))
    times(links, BA, 0)
    assert links.clear()["loss"].touched() == 0


def test_late_packets_keep_their_order_also_after_the_end_of_the_fault() -> None:
    links = Links(1)
    links.set("late", [AB], Rule(delay_ms=50, jitter_ms=50))
    found = [times(links, AB, at)[0] for at in range(200)]
    assert found == sorted(found)
    assert max(at - sent for sent, at in enumerate(found)) > 50
    assert links.clear()["late"].delayed == 200
    # One that is sent now must not come before one that is under way.
    assert times(links, AB, 200)[0] >= found[-1]


def test_some_packets_are_overtaken() -> None:
    links = Links(1)
    links.set("mess", [AB], Rule(reorder=0.3))
    found = [times(links, AB, at)[0] for at in range(200)]
    assert found != sorted(found)
    assert 20 < links.counts()["mess"].reordered < 120


def test_some_packets_come_twice() -> None:
    links = Links(1)
    links.set("echo", [AB], Rule(duplicate=0.5))
    found = [times(links, AB, at) for at in range(200)]
    assert {len(each) for each in found} == {1, 2}
    assert links.counts()["echo"].duplicated == sum(len(each) == 2 for each in found)


def test_two_faults_on_one_link_each_have_their_counts_and_ends() -> None:
    links = Links(1)
    links.set("late", [AB, BA], Rule(delay_ms=10))
    links.set("cut", [AB], Rule(drop=1))
    assert times(links, AB, 0) == []
    links.clear("cut")
    assert times(links, AB, 1) == [11]
    assert links.counts()["late"].seen == 2
