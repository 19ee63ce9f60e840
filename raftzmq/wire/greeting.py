"""How nodes introduce themselves before they believe each other.

    starting node   Hello   ->   peer      (repeated until it is answered)
    starting node   <-   Welcome   peer

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
        recovering: the sender knows that it has forgotten promises, and makes none.
    """

    sender: NodeId
    receiver: NodeId
    term: int
    incarnation: int
    recovering: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Welcome:
    """What the sender knows of the node that said Hello.

    Attributes:
        answers_boot: boot id of the Hello; an answer to another life means nothing.
        known_boot: highest boot id that was met under this name.
        known: whether the Hello fits what was met before: the same incarnation, not started
            less often than known, or never met.
        formed: whether the sender knows of any committed entry, so that the cluster exists.
    """

    sender: NodeId
    receiver: NodeId
    term: int
    answers_boot: int
    known_boot: int
    known: bool
    formed: bool


GreetingMessage: TypeAlias = Hello | Welcome

GREETING_CODES: Final[dict[type[GreetingMessage], int]] = {Hello: 40, Welcome: 41}
"""Codes on the wire, in one number space with ``raft.messages.MESSAGE_TABLE``; never reused."""
