"""An admission whose greetings are over."""

from __future__ import annotations

import random
from collections.abc import Mapping

from raftzmq.raft.raft import Raft
from raftzmq.replica.admission import Admission
from raftzmq.storage.contract import Identity, LogStore
from raftzmq.wire.greeting import Welcome
from raftzmq.wire.peer import Envelope


def introduced(raft: Raft, store: LogStore, boots: Mapping[str, int]) -> Admission:
    """The node has boot id 1; its peers are known by those in ``boots``, and know it."""
    admission = Admission(
        raft=raft,
        store=store,
        identities={peer: Identity(0, boot) for peer, boot in boots.items()},
        incarnation=0,
        boot=1,
        empty=False,
        forgot=False,
        lives=(),
        next_boot=lambda known: known + (1 << 32),
        rng=random.Random(0),
    )
    for peer, boot in boots.items():
        welcome = Welcome(
            sender=peer,
            receiver=raft.node,
            term=0,
            answers_boot=1,
            known_boot=1,
            known=True,
            formed=True,
        )
        assert admission.receive(welcome, Envelope("", peer, boot)) == []
    return admission
