"""What may befall packets from one seat to another, and which of it does: no sockets, no clock.

Faults on links are named, so that several can be on at once, each can be taken back alone, and
each has its own count of packets that it touched: the proof that it fired.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

Link = tuple[str, str]
"""From one seat to another; the other direction is another link."""
OVERTAKEN_MS: Final = (2.0, 20.0)
"""How much later a packet comes that others overtake."""
QUEUE_MS_MAX: Final = 60_000.0


@dataclass(frozen=True, slots=True)
class Rule:
    """Probabilities from 0 to 1; milliseconds."""

    drop: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    delay_ms: float = 0.0
    jitter_ms: float = 0.0


@dataclass(slots=True)
class Counts:
    """Packets that a fault touched."""

    seen: int = 0
    dropped: int = 0
    duplicated: int = 0
    reordered: int = 0
    delayed: int = 0

    def touched(self) -> int:
        """Packets that did not pass as they would have without the fault."""
        return self.dropped + self.duplicated + self.reordered + self.delayed


@dataclass(slots=True)
class _Fault:
    links: frozenset[Link]
    rule: Rule
    counts: Counts = field(default_factory=Counts)


class Links:
    """All faults that are on, and the fate of each packet under them.

    Args:
        seed: of the dice.
    """

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self._faults: dict[str, _Fault] = {}
        self._on: dict[Link, list[_Fault]] = {}
        self._last: dict[Link, float] = {}

    def set(self, name: str, links: Iterable[Link], rule: Rule) -> None:
        """Begin a fault; one of the same name is replaced, and its counts begin anew."""
        self._faults[name] = _Fault(frozenset(links), rule)
        self._sort()

    def clear(self, name: str = "") -> dict[str, Counts]:
        """End the fault of this name, or all; returns what each that ended had touched."""
        ended = [name] if name else list(self._faults)
        found = {each: self._faults.pop(each).counts for each in ended if each in self._faults}
        self._sort()
        return found

    def counts(self) -> dict[str, Counts]:
        """What each fault that is on has touched."""
        return {name: fault.counts for name, fault in self._faults.items()}

    def is_free(self, link: Link) -> bool:
        """No fault is on here, and nothing is under way that a packet could overtake."""
        return link not in self._on and link not in self._last

    def arrivals(self, link: Link, now_ms: float) -> Iterator[float]:
        """When each copy of a packet that was sent now arrives; none if it is lost.

        Order is kept on a link, but for packets that a fault wants to be overtaken.
        """
        faults = self._on.get(link, ())
        copies = 1
        at = now_ms
        overtaken = False
        for fault in faults:
            rule, counts = fault.rule, fault.counts
            counts.seen += 1
            if rule.drop and self._rng.random() < rule.drop:
                counts.dropped += 1
                return
            if rule.duplicate and self._rng.random() < rule.duplicate:
                counts.duplicated += 1
                copies += 1
            if rule.delay_ms or rule.jitter_ms:
                late = rule.delay_ms + self._rng.uniform(-1, 1) * rule.jitter_ms
                at += min(max(0.0, late), QUEUE_MS_MAX)
                counts.delayed += 1
            if rule.reorder and self._rng.random() < rule.reorder:
                counts.reordered += 1
                overtaken = True
        if overtaken:
            at += self._rng.uniform(*OVERTAKEN_MS)
        else:
            at = max(at, self._last.get(link, 0.0))
            if faults and at > now_ms:
                self._last[link] = at
            elif at <= now_ms:
                self._last.pop(link, None)
        for _ in range(copies):
            yield at

    def _sort(self) -> None:
        self._on = {}
        for fault in self._faults.values():
            for link in fault.links:
                self._on.setdefault(link, []).append(fault)
