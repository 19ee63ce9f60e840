"""Which fault, when, for how long, on whom: drawn from a seed, the same for the same seed.

Faults come from a bag that holds each kind once and is filled again when it is empty, so that a
long run has all kinds equally often, in ever new order. Between two of them the cluster has a
moment to become whole; now and then a mild one comes on top of another.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from raftzmq.chaos.kinds import KINDS
from raftzmq.errors import ConfigError

HEAD_S: Final = 4.0
"""Undisturbed traffic at the start: the measure of what is usual."""
TAIL_S: Final = 2.0
SLOT_LEAST_S: Final = 3.0
_SLOT_MOST_S: Final = 9.0
_ON_TOP: Final = 0.3


@dataclass(frozen=True, slots=True)
class Planned:
    """A fault to come. Times are seconds since the start.

    Attributes:
        kind: a name of `raftzmq.chaos.kinds.KINDS`.
        at_s: when to inject, or a little later if the cluster is not whole.
        for_s: how long until it is healed.
        lead: hit the leader, if the kind leaves that open.
        choice: picks the victim among those that may be hit.
        numbers: parameters, by name.
    """

    kind: str
    at_s: float
    for_s: float
    lead: bool
    choice: int
    numbers: Mapping[str, int]


def plan(seed: int, seconds: float, kinds: Sequence[str]) -> tuple[Planned, ...]:
    """The faults of a run in order of time; each of ``kinds`` at least once.

    Raises:
        ConfigError: the run is too short for that.
    """
    room = seconds - HEAD_S - TAIL_S
    if not kinds or room / len(kinds) < SLOT_LEAST_S:
        raise ConfigError(
            f"{len(kinds)} kinds of faults do not fit into {seconds:.0f} s: give at least "
            f"{(HEAD_S + TAIL_S + max(1, len(kinds)) * SLOT_LEAST_S) / 60:.2f} minutes, or name "
            f"fewer with --faults"
        )
    rng = random.Random(f"chaos {seed}")
    most = min(_SLOT_MOST_S, room / len(kinds))
    bag = _bag(rng, kinds)
    mild = [kind for kind in kinds if KINDS[kind].mild]
    found: list[Planned] = []
    at = HEAD_S
    while at + SLOT_LEAST_S <= seconds - TAIL_S:
        slot = rng.uniform(max(SLOT_LEAST_S, 0.6 * most), most)
        slot = min(slot, seconds - TAIL_S - at)
        lasts = slot * rng.uniform(0.35, 0.6)
        kind = next(bag)
        found.append(_one(rng, kind, at, lasts))
        others = [each for each in mild if each != kind]
        if others and not KINDS[kind].alone and rng.random() < _ON_TOP:
            begins = lasts * rng.uniform(0.1, 0.5)
            found.append(_one(rng, rng.choice(others), at + begins, (lasts - begins) * 0.9))
        at += slot
    return tuple(sorted(found, key=lambda each: each.at_s))


def _bag(rng: random.Random, kinds: Sequence[str]) -> Iterator[str]:
    while True:
        names = list(kinds)
        rng.shuffle(names)
        yield from names


def _one(rng: random.Random, kind: str, at: float, lasts: float) -> Planned:
    return Planned(
        kind=kind,
        at_s=round(at, 3),
        for_s=round(lasts, 3),
        lead=rng.random() < 0.5,
        choice=rng.randrange(1 << 16),
        numbers={name: rng.choice(values) for name, values in _NUMBERS.get(kind, {}).items()},
    )


_NUMBERS: Final[Mapping[str, Mapping[str, Sequence[int]]]] = {
    "partition-full": {"with_proxy": (0, 1)},
    "partition-one-way": {"deaf": (0, 1)},
    "network-delay": {"delay_ms": (20, 50, 100), "jitter_ms": (5, 20, 50)},
    "network-loss": {"loss_percent": (1, 5, 20)},
    "network-reorder": {"reorder_percent": (10, 30)},
    "network-duplicate": {"duplicate_percent": (10, 30)},
    "slow-disk": {"sync_ms": (20, 150, 600)},
    "fsync-error": {"state": (0, 1)},
    "fill-disk": {"all": (0, 0, 1)},
    "clock-jump": {"jump_s": (-86_400, -3_600, -60, 60, 3_600, 86_400)},
    "clock-drift": {"permille": (500, 900, 1_500, 5_000)},
}
