"""Faults on the links between nodes and proxies, at the switch that carries their packets."""

from __future__ import annotations

from collections.abc import Iterable

from raftzmq.chaos.faults.fault import Fault
from raftzmq.chaos.links import Counts, Link, Rule
from raftzmq.chaos.network import OUTSIDE
from raftzmq.chaos.stand import Stand


class LinkFault(Fault):
    """A rule on some links, taken back at the end; it fired if it touched a packet."""

    def links(self) -> Iterable[Link]:
        """Which links; sets ``target``."""
        raise NotImplementedError

    def rule(self) -> Rule:
        """What happens there."""
        raise NotImplementedError

    def inject(self) -> None:
        links = list(self.links())
        self._name = f"{self.planned.kind}-{id(self)}"
        self.stand.switch().set(self._name, links, self.rule())

    def heal(self) -> None:
        name = getattr(self, "_name", "")
        if not name:
            return
        switch = self.stand.switch()
        try:
            self.wait_for(lambda: switch.counts().get(name, Counts()).touched() > 0)
        finally:
            counts = switch.clear(name).get(name, Counts())
            self._name = ""
        told = f"{counts.touched()} of {counts.seen} packets {self.what(counts)}"
        if counts.touched():
            self.proven(told)
        else:
            self.note(told)

    def what(self, counts: Counts) -> str:
        """What befell packets."""
        parts = {
            "dropped": counts.dropped,
            "late": counts.delayed,
            "overtaken": counts.reordered,
            "doubled": counts.duplicated,
        }
        return " and ".join(name for name, count in parts.items() if count) or "touched"


class _Cut(LinkFault):
    def rule(self) -> Rule:
        return Rule(drop=1.0)


class PartitionFull(_Cut):
    """A node alone, or with a proxy that takes requests for it, and nothing passes."""

    def links(self) -> Iterable[Link]:
        node = self.pick_node()
        side = {node}
        if self.planned.numbers.get("with_proxy") and self.stand.proxies:
            side.add(self.stand.proxies[self.planned.choice % len(self.stand.proxies)])
        rest = set(self.stand.seats) - side
        self.target = ",".join(sorted(side))
        # Clients reach both sides: they have to be told the truth on either.
        return both_ways((a, b) for a in side for b in rest)


class PartitionOneWay(_Cut):
    """A node that hears nobody, or that nobody hears; connections are as they were."""

    def links(self) -> Iterable[Link]:
        node = self.pick_node()
        others = [seat for seat in self.stand.seats if seat != node]
        if self.planned.numbers.get("deaf"):
            self.target = f"*>{node}"
            return [(other, node) for other in others]
        self.target = f"{node}>*"
        return [(node, other) for other in others]


class PartitionBridge(_Cut):
    """Two sides that do not reach each other, and one node in the middle that reaches both."""

    def links(self) -> Iterable[Link]:
        bridge = self.pick_node()
        others = [name for name in self.stand.nodes if name != bridge]
        turn = self.planned.choice % max(1, len(others))
        others = others[turn:] + others[:turn]
        half = len(others) // 2
        left, right = others[:half], others[half:]
        self.target = f"{'+'.join(left)}|{bridge}|{'+'.join(right)}"
        return both_ways((a, b) for a in left for b in right)


class _Everywhere(LinkFault):
    """All links between nodes, proxies and clients, or those of one node."""

    wants_whole = False

    def links(self) -> Iterable[Link]:
        self.target = self.victim or "all links"
        return all_links(self.stand, self.victim, str(self.planned.numbers.get("one_way", "")))

    def number(self, name: str) -> int:
        """A parameter; noted for people."""
        value = self.planned.numbers.get(name, 0)
        self.note(f"{name} {value}")
        return value


class NetworkDelay(_Everywhere):
    """Late packets."""

    def rule(self) -> Rule:
        return Rule(delay_ms=self.number("delay_ms"), jitter_ms=self.number("jitter_ms"))


class NetworkLoss(_Everywhere):
    """Lost packets, which TCP sends again."""

    def rule(self) -> Rule:
        return Rule(drop=self.number("loss_percent") / 100)


class NetworkReorder(_Everywhere):
    """Packets that others overtake."""

    def rule(self) -> Rule:
        return Rule(reorder=self.number("reorder_percent") / 100)


class NetworkDuplicate(_Everywhere):
    """Packets that come twice."""

    def rule(self) -> Rule:
        return Rule(duplicate=self.number("duplicate_percent") / 100)


def both_ways(pairs: Iterable[Link]) -> list[Link]:
    """Each pair and its reverse."""
    return [link for a, b in pairs for link in ((a, b), (b, a))]


def all_links(stand: Stand, node: str = "", one_way: str = "") -> list[Link]:
    """All links, or those of ``node``; of those only "1" what it sends, "2" what it hears."""
    seats = (*stand.seats, OUTSIDE)
    links = [(a, b) for a in seats for b in seats if a != b]
    if not node:
        return links
    sent = [link for link in links if link[0] == node and one_way != "2"]
    return sent + [link for link in links if link[1] == node and one_way != "1"]
