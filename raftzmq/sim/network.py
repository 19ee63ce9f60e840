"""Messages under way: late, lost, doubled, out of order, cut off in one direction, replayed.

A link is a pair (from, to) of names; nodes, brokers and clients are all just names here. By
itself a link delivers in order, as TCP does; the noise of the run says how often it does not.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeAlias

from raftzmq.sim.chance import Chance
from raftzmq.sim.schedule import Schedule

REPLAYS_KEPT: Final = 64
"""Old frames of peers that may come again at any time."""


class Parcel(NamedTuple):
    """One message under way.

    Attributes:
        source: name of the sender.
        life: which start of the sender sent it.
        target: name of the receiver.
        leaves: when it leaves the sender; never, if that crashes before.
        link: which connection it belongs to; empty: whichever there is when it arrives.
        frames: the message.
    """

    source: str
    life: int
    target: str
    leaves: int
    link: bytes
    frames: tuple[bytes, ...]


@dataclass(slots=True)
class Noise:
    """How bad the links of a run are; per mille and microseconds.

    Attributes:
        loss: of messages between nodes.
        twice: messages between nodes that arrive twice.
        overtake: messages that may overtake others or be overtaken.
        client_loss: of messages from and to clients and brokers.
        delay_least: of each message.
        delay_most: of most messages.
        delay_rare: of a few.
    """

    loss: int = 0
    twice: int = 0
    overtake: int = 0
    client_loss: int = 0
    delay_least: int = 100
    delay_most: int = 1_000
    delay_rare: int = 5_000


@dataclass(slots=True)
class NetworkCounts:
    """What happened to messages; a run in which nothing did proves nothing."""

    sent: int = 0
    lost: int = 0
    twice: int = 0
    overtaken: int = 0
    cut: int = 0
    replayed: int = 0


Deliver: TypeAlias = Callable[[Parcel], None]


@dataclass(slots=True)
class Network:
    """All links.

    Args:
        schedule: of the run.
        chance: its own stream.
        deliver: takes a parcel that arrived.
        noise: may be changed at any time.
    """

    schedule: Schedule
    chance: Chance
    deliver: Deliver
    noise: Noise = field(default_factory=Noise)
    cuts: dict[tuple[str, str], int] = field(default_factory=dict)
    """How many faults cut this direction."""
    counts: NetworkCounts = field(default_factory=NetworkCounts)
    _last: dict[tuple[str, str], int] = field(default_factory=dict)
    _old: deque[Parcel] = field(default_factory=lambda: deque(maxlen=REPLAYS_KEPT))

    def send(self, parcel: Parcel, *, peers: bool) -> None:
        """Put a parcel on its way; it leaves at ``parcel.leaves``."""
        chance, noise, counts = self.chance, self.noise, self.counts
        counts.sent += 1
        if chance.hit(noise.loss if peers else noise.client_loss):
            counts.lost += 1
            return
        link = parcel.source, parcel.target
        when = parcel.leaves + self._delay()
        if chance.hit(noise.overtake):
            counts.overtaken += 1
        else:
            when = max(when, self._last.get(link, 0) + 1)
            self._last[link] = when
        self.schedule.at(when, self._arrive, parcel)
        if peers:
            if chance.hit(noise.twice):
                counts.twice += 1
                self.schedule.at(when + self._delay(), self._arrive, parcel)
            if chance.hit(50):
                self._old.append(parcel)

    def replay(self, number: int) -> None:
        """Let an old frame of a peer come again."""
        if self._old:
            self.counts.replayed += 1
            parcel = self._old[number % len(self._old)]
            self.schedule.after(self._delay(), self._arrive, parcel)

    def cut(self, source: str, target: str) -> None:
        """Nothing gets from ``source`` to ``target`` until ``mend`` was called as often."""
        link = source, target
        self.cuts[link] = self.cuts.get(link, 0) + 1

    def mend(self, source: str, target: str) -> None:
        """Undo one ``cut``."""
        link = source, target
        left = self.cuts.get(link, 0) - 1
        if left > 0:
            self.cuts[link] = left
        else:
            self.cuts.pop(link, None)

    def is_cut(self, one: str, other: str) -> bool:
        """Whether a conversation between the two is impossible."""
        return (one, other) in self.cuts or (other, one) in self.cuts

    def heal(self) -> None:
        """No more cuts and no more noise but delay."""
        self.cuts.clear()
        noise = self.noise
        noise.loss = noise.twice = noise.overtake = noise.client_loss = 0

    def _delay(self) -> int:
        noise = self.noise
        if self.chance.hit(20):
            return self.chance.between(noise.delay_most, noise.delay_rare)
        return self.chance.between(noise.delay_least, noise.delay_most)

    def _arrive(self, parcel: Parcel) -> None:
        if (parcel.source, parcel.target) in self.cuts:
            self.counts.cut += 1
            return
        self.deliver(parcel)
