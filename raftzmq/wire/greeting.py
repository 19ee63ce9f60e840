"""How nodes introduce themselves before they believe each other.

    starting node   Hello      ->   peer      (repeated until it is welcomed)
    starting node   <-   Challenge   peer
    starting node   Hello      ->   peer      (with the number of the challenge)
    starting node   <-   Welcome     peer

The challenge goes to the address that nodes.toml gives for the name in the Hello: who merely
reaches a peer port cannot make others believe that a node was started anew.

A name in nodes.toml is not enough to know a node by: its disk may have been wiped, or replaced
by an older copy. What is exchanged here is which *life* of it this is: the incarnation of its
data folder, and the boot id, which every message carries.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, TypeAlias

from raftzmq.raft.types import NodeId

_LIFE_BYTES: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """Here I am; the boot id is in the envelope.

    Attributes:
        incarnation: of the sender's data folder.
        recovering: the sender knows that it has forgotten promises, and makes none.
        forgot: it is recovering, or its data folder began as that of a node that was.
        echo: number of the receiver's last challenge; 0 before there was one.
        lives: boot ids of earlier lives of the sender's data folder, and of those that it knows to
            have forgotten; the latest first, of eight bytes each (``pack_lives``).
    """

    sender: NodeId
    receiver: NodeId
    term: int
    incarnation: int
    recovering: bool
    forgot: bool
    echo: int
    lives: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """Say Hello again, with this number, if it was you.

    Attributes:
        answers_boot: boot id of the Hello.
        number: 64 bits that nobody else can guess.
    """

    sender: NodeId
    receiver: NodeId
    term: int
    answers_boot: int
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Welcome:
    """What the sender knows of the node that said Hello.

    Attributes:
        answers_boot: boot id of the Hello; an answer to another life means nothing.
        known_boot: highest boot id that was met under this name.
        known: whether the Hello fits what was met before: the same incarnation, started more
            often than known and naming that life among its earlier ones; or never met; or of
            one that is recovering, or began so in a folder that was not met.
        formed: whether the sender's log holds anything: a majority of members has elected a
            leader then, so that the cluster exists.
    """

    sender: NodeId
    receiver: NodeId
    term: int
    answers_boot: int
    known_boot: int
    known: bool
    formed: bool


def pack_lives(boots: Iterable[int]) -> bytes:
    """``Hello.lives`` of these boot ids."""
    return b"".join(boot.to_bytes(_LIFE_BYTES, "big") for boot in boots)


def names_life(lives: bytes, boot: int) -> bool:
    """Whether ``boot`` is one of ``lives``."""
    wanted = boot.to_bytes(_LIFE_BYTES, "big")
    return any(lives[at : at + _LIFE_BYTES] == wanted for at in range(0, len(lives), _LIFE_BYTES))


GreetingMessage: TypeAlias = Hello | Challenge | Welcome

GREETING_CODES: Final[dict[type[GreetingMessage], int]] = {Hello: 40, Welcome: 41, Challenge: 42}
"""Codes on the wire, in one number space with ``raft.messages.MESSAGE_TABLE``; never reused."""
