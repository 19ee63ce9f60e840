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

from dataclasses import dataclass
from typing import Final, TypeAlias

from raftzmq.raft.types import NodeId


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """Here I am; the boot id is in the envelope.

    Attributes:
        incarnation: of the sender's data folder.
        recovering: the sender knows that it has forgotten promises; it makes none, or has been
            proven since.
        echo: number of the receiver's last challenge; 0 before there was one.
    """

    sender: NodeId
    receiver: NodeId
    term: int
    incarnation: int
    recovering: bool
    echo: int


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
        known: whether the Hello fits what was met before: the same incarnation, not started
            less often than known, or never met.
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


GreetingMessage: TypeAlias = Hello | Challenge | Welcome

GREETING_CODES: Final[dict[type[GreetingMessage], int]] = {Hello: 40, Welcome: 41, Challenge: 42}
"""Codes on the wire, in one number space with ``raft.messages.MESSAGE_TABLE``; never reused."""
