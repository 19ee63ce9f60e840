"""Whether this node is the one its peers know, and whether they are the ones it knows.

A node that lost its disk has forgotten votes and acknowledgements that others build on, and so
has one that runs on an older copy of its disk. Its name does not show it; its *life* does: the
incarnation of the data folder, and the number of its starts in the boot id. Every node keeps,
durably, which life of each peer it met last, and before a node promises anything after a start
it asks its peers whether they know a later life of it:

========================================  ==================================================
what the peers say                        what follows
========================================  ==================================================
known, or never met; enough answers       member: it votes and acknowledges
another incarnation, more starts, or a    recovering: it has forgotten (raft/standing.py)
life that this folder has not had
the cluster exists, and this node's       recovering: it may be new, or wiped and unknown to
disk is empty                             this peer; nobody can tell, and it costs nothing
========================================  ==================================================

Enough answers are those that make a majority with this node. An empty disk waits for all the
peers first, for ALL_ANSWERS_TICKS: the one that knows better may be slow.

What this cannot find: a node that went back in time while the only peers that met its later
life are down or have forgotten too. That is more than a minority of faulty nodes.

Messages of a peer count only under the boot id it introduced itself with, and only after it
welcomed this life: what an earlier life of either sent, or was told, may still be under way.

Pure: time enters as ``tick``, the disk through ``LogStore``.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

from raftzmq.raft.raft import Raft
from raftzmq.raft.types import NodeId, Standing
from raftzmq.storage.contract import Identity, LogStore
from raftzmq.wire.greeting import (
    Challenge,
    GreetingMessage,
    Hello,
    Welcome,
    names_life,
    pack_lives,
)
from raftzmq.wire.peer import Envelope

REPEAT_TICKS = 5
"""An unanswered Hello is said again after so long."""
ALL_ANSWERS_TICKS = 100
"""How long a node with an empty disk waits for every peer before a majority will do."""
_STARTS_SHIFT = 32
"""The upper half of a boot id counts the starts (storage/folder.py)."""


class Admission:
    """Greets and is greeted.

    Args:
        raft: the core, with standing UNKNOWN, or RECOVERING when the disk says so.
        store: remembers the lives of peers, and that this node recovers.
        identities: what the store remembered at start.
        incarnation: of this node's data folder.
        boot: boot id of this start.
        lives: boot ids of earlier starts of the folder, the latest first. A peer looks for the one
            that it met last: the number of starts alone would not show that a folder was set
            back, and then started again more often than it had been (simulator seed 3465).
        empty: whether this node's disk holds nothing yet.
        forgot: whether this data folder once was that of a node that had forgotten, proven since
            or not. A peer that hears of it only now must not take it for news: the node would
            recover once more for nothing, and with another that lost its disk meanwhile, for ever.
        next_boot: makes a boot id with more starts than the one given and all before, durably, and
            keeps the one given among the lives.
        rng: source of the numbers of challenges; nobody else may be able to guess it.
    """

    def __init__(
        self,
        *,
        raft: Raft,
        store: LogStore,
        identities: dict[NodeId, Identity],
        incarnation: int,
        boot: int,
        lives: Iterable[int],
        empty: bool,
        forgot: bool,
        next_boot: Callable[[int], int],
        rng: random.Random,
    ) -> None:
        self.boot = boot
        self._raft = raft
        self._store = store
        self._identities = dict(identities)
        self._incarnation = incarnation
        self._lives = pack_lives(lives)
        self._empty = empty
        self._next_boot = next_boot
        self._rng = rng
        self._challenges: dict[NodeId, int] = {}
        self._ticks = 0
        self._forgot = forgot
        self._agreed: set[NodeId] = set()
        self._unanswered = set(raft.configuration.members() - {raft.node})
        if not self._unanswered:
            raft.admit("there are no peers")

    def objection(self, envelope: Envelope) -> str | None:
        """Why a message of a member cannot be taken: it or we are not who the other thinks.

        A peer that does not know this life yet may build on what an earlier one promised: a
        leader would tell it of commits that its log has lost.
        """
        identity = self._identities.get(envelope.sender)
        if identity is None or identity.boot != envelope.boot:
            return "another life of the sender"
        if envelope.sender not in self._agreed:
            return "the sender knows another life of this node"
        return None

    def tick(self) -> list[Hello]:
        """One tick passed; returns the greetings that are due."""
        self._ticks += 1
        self._decide()
        if self._ticks % REPEAT_TICKS:
            return []
        return [self._hello(peer) for peer in sorted(self._unanswered)]

    def connected(self, peer: NodeId) -> list[Hello]:
        """The connection to ``peer`` came up: no need to wait for a tick."""
        return [self._hello(peer)] if peer in self._unanswered else []

    def receive(self, message: GreetingMessage, envelope: Envelope) -> list[GreetingMessage] | str:
        """A greeting arrived from a member of the cluster.

        Returns:
            What to send; or why the greeting was dropped.
        """
        if isinstance(message, Hello):
            return self._greeted(message, envelope.boot)
        if message.answers_boot != self.boot:
            return "an answer to another life of this node"
        if isinstance(message, Challenge):
            return [self._hello(message.sender, message.number)]
        self._welcomed(message)
        return []

    def _greeted(self, hello: Hello, boot: int) -> list[GreetingMessage] | str:
        peer = hello.sender
        met = self._identities.get(peer)
        life = Identity(hello.incarnation, boot)
        if met != life and hello.echo != self._challenges.get(peer):
            # Wrong numbers are dropped, so that guessing makes nobody busy but the guesser.
            return "a greeting with a wrong number" if hello.echo else [self._challenge(peer, boot)]
        self._challenges.pop(peer, None)
        is_later = met is None or boot >> _STARTS_SHIFT > met.boot >> _STARTS_SHIFT
        fits = met is None or (is_later and _continues(hello, met))
        forgot = self._raft.standing is Standing.RECOVERING
        answers: list[GreetingMessage] = []
        if met != life and (fits or (is_later and forgot)):
            # Durable before it is answered: who was told "known" promises things from then on.
            self._store.remember(peer, life)
            self._identities[peer] = life
            self._raft.peer_restarted(peer)
            if met is not None:
                # It may have lost what it knew of this node as well.
                self._unanswered.add(peer)
                answers.append(self._hello(peer))
        now = self._identities[peer]
        if forgot and now != life:
            # What it remembers may date from before the peer lost its disk and was proven
            # again; two that recover because of one would be one too many, for good.
            return "a life that a recovering node cannot judge"
        answers.append(
            Welcome(
                sender=self._raft.node,
                receiver=peer,
                term=0,
                answers_boot=boot,
                known_boot=now.boot,
                known=now == life,
                formed=self._raft.last_position.index > 0,
            )
        )
        return answers

    def _welcomed(self, welcome: Welcome) -> None:
        peer = welcome.sender
        if welcome.known:
            self._unanswered.discard(peer)
            self._agreed.add(peer)
            if welcome.formed and self._empty and self._raft.standing is Standing.UNKNOWN:
                self._recover("the cluster exists and this data folder is empty")
            self._decide()
        else:
            later = welcome.known_boot >> _STARTS_SHIFT >= self.boot >> _STARTS_SHIFT
            which = "a later life of this node" if later else "another life of this node"
            self._recover(f"{peer} knows {which}: its data were lost or set back")
            self._start_over(welcome.known_boot)

    def _recover(self, why: str) -> None:
        if self._raft.standing is Standing.RECOVERING:
            return
        self._store.set_recovering(True)
        self._forgot = True
        self._raft.recover(why)

    def _start_over(self, known_boot: int) -> None:
        """Take a boot id that peers believe: the life that they know must be in the past.

        This folder owns up to that life from now on. Another peer, which was away when it was
        proven, would else take it for a folder that was set back once more.
        """
        self._lives = pack_lives((self.boot, known_boot)) + self._lives
        self.boot = self._next_boot(known_boot)
        self._agreed.clear()
        self._unanswered = set(self._raft.configuration.members() - {self._raft.node})

    def _decide(self) -> None:
        if self._raft.standing is not Standing.UNKNOWN:
            return
        if self._empty and self._unanswered and self._ticks < ALL_ANSWERS_TICKS:
            return
        if self._raft.is_majority(self._agreed | {self._raft.node}):
            self._raft.admit("enough peers know this node")

    def _challenge(self, peer: NodeId, boot: int) -> Challenge:
        """The same number until it comes back: over a slow link several may be under way."""
        number = self._challenges.get(peer)
        if number is None:
            number = self._challenges[peer] = self._rng.getrandbits(63) + 1
        return Challenge(
            sender=self._raft.node, receiver=peer, term=0, answers_boot=boot, number=number
        )

    def _hello(self, peer: NodeId, echo: int = 0) -> Hello:
        return Hello(
            sender=self._raft.node,
            receiver=peer,
            term=0,
            incarnation=self._incarnation,
            recovering=self._raft.standing is Standing.RECOVERING,
            forgot=self._forgot,
            echo=echo,
            lives=self._lives,
        )


def _continues(hello: Hello, met: Identity) -> bool:
    """Whether who says Hello remembers what the life that was met last has promised.

    Or promises nothing before it is proven, or was proven in a folder that came after that life. A
    folder that names no life was last started by a version that did not keep them.
    """
    if hello.recovering:
        return True
    if hello.incarnation != met.incarnation:
        return hello.forgot
    return not hello.lives or names_life(hello.lives, met.boot)
