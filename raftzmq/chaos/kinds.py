"""The kinds of faults: their names, what they need, and how they may meet each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from raftzmq.errors import ConfigError


class Need(StrEnum):
    """What a cluster must have been started with, or a fault cannot be injected."""

    NETWORK = "its own network namespaces"
    SHIM = "the library for faults of disk and clock"
    DISK = "a small disk per node"


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of fault.

    Attributes:
        name: what ``--faults`` takes.
        says: what it does, for people.
        needs: see Need.
        mild: may come on top of another fault; takes nobody away from the majority.
        alone: nothing may come on top of it.
    """

    name: str
    says: str
    needs: frozenset[Need] = frozenset()
    mild: bool = False
    alone: bool = False


_NETWORK: Final = frozenset({Need.NETWORK})
_SHIM: Final = frozenset({Need.SHIM})

KINDS: Final[Mapping[str, Kind]] = {
    kind.name: kind
    for kind in (
        Kind("kill-leader", "kill -9 of the leader, started again at the end"),
        Kind("kill-random", "kill -9 of any node, started again at the end"),
        Kind("kill-proxy", "kill -9 of a proxy, started again at the end"),
        Kind("kill-all", "kill -9 of all nodes and proxies at once, started again", alone=True),
        Kind("pause", "SIGSTOP of a node, SIGCONT at the end"),
        Kind("rolling-restart", "SIGTERM and start of one node after the other", alone=True),
        Kind("wipe-node", "kill -9, the data folder deleted, started empty", alone=True),
        Kind("partition-full", "a node (with or without a proxy) cut from the rest", _NETWORK),
        Kind("partition-one-way", "a node hears nobody, or nobody hears it", _NETWORK),
        Kind("partition-bridge", "two sides that both reach one node, not each other", _NETWORK),
        Kind("wake-cut-off", "the leader asleep and cut off until replaced, then awake", _NETWORK),
        Kind("network-delay", "packets of all links late", _NETWORK, mild=True),
        Kind("network-loss", "packets of all links lost", _NETWORK, mild=True),
        Kind("network-reorder", "packets of all links overtake each other", _NETWORK, mild=True),
        Kind("network-duplicate", "packets of all links twice", _NETWORK, mild=True),
        Kind("slow-disk", "each fsync of a node takes longer", _SHIM, mild=True),
        Kind("fsync-error", "an fsync of a node fails with EIO; started again", _SHIM),
        Kind("fill-disk", "the disk of a node, or of all, has no room", frozenset({Need.DISK})),
        Kind("clock-jump", "the wall clock of a node jumps by up to a day", _SHIM, mild=True),
        Kind("clock-drift", "the wall clock of a node runs at another speed", _SHIM, mild=True),
    )
}


def expand(words: Iterable[str]) -> tuple[str, ...]:
    """Names of kinds for names and beginnings of names: "partition", "clock", "all".

    Raises:
        ConfigError: a word is none of them.
    """
    found: dict[str, None] = {}
    for word in words:
        names = [
            name
            for name in KINDS
            if word in ("all", name) or (word not in KINDS and name.startswith(word + "-"))
        ]
        if not names:
            raise ConfigError(
                f"no fault is named {word!r}; there are {', '.join(KINDS)}; also all, and the "
                f"beginnings kill, partition, network, clock"
            )
        found.update(dict.fromkeys(names))
    return tuple(found)


def possible(names: Iterable[str], have: frozenset[Need]) -> tuple[tuple[str, ...], dict[str, str]]:
    """Those of ``names`` that a cluster with ``have`` can suffer, and the others with a reason."""
    can: list[str] = []
    cannot: dict[str, str] = {}
    for name in names:
        missing = sorted(KINDS[name].needs - have)
        if missing:
            cannot[name] = "needs " + " and ".join(missing)
        else:
            can.append(name)
    return tuple(can), cannot
