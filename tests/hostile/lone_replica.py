"""One replica without a network: what it sends is caught, and its peers are the test."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import cast

from raftzmq.raft.raft import Raft
from raftzmq.raft.state import RaftConfig
from raftzmq.raft.types import Configuration, Standing
from raftzmq.replica.admission import Admission
from raftzmq.replica.replica import Replica
from raftzmq.replica.transfer import SnapshotHost, Transfers
from raftzmq.storage.memory_log import MemoryLogStore
from raftzmq.wire.greeting import Challenge, Hello, Welcome
from raftzmq.wire.peer import PeerMessage, decode_peer, encode_peer

BOOTS = {"n1": 5 << 32 | 11, "n2": 3 << 32 | 22, "n3": 9 << 32 | 33}


class Node:
    """Replica n1 of three; its messages are kept in ``sent``, with the name of the receiver."""

    def __init__(self, snapshots: SnapshotHost | None = None) -> None:
        self.sent: list[tuple[str, bytes]] = []
        store = MemoryLogStore()
        stored = store.load()
        raft = Raft(
            RaftConfig(node="n1", configuration=Configuration(voters=frozenset(BOOTS))),
            hard_state=stored.hard_state,
            base=stored.base,
            entries=stored.entries,
            applied_index=0,
            rng=random.Random(0),
            standing=Standing.UNKNOWN,
        )
        self.replica = Replica(
            raft=raft,
            store=store,
            cluster="orders",
            send=lambda peer, data: self.sent.append((peer, data)),
            transfers=Transfers(snapshots or cast(SnapshotHost, None)),
            applied_index=0,
            admission=Admission(
                raft=raft,
                store=store,
                identities={},
                incarnation=1,
                boot=BOOTS["n1"],
                empty=True,
                forgot=False,
                lives=(),
                next_boot=lambda known: known + (1 << 32),
                rng=random.Random("nobody knows"),
            ),
        )

    def hear(self, message: PeerMessage, boot: int) -> None:
        self.replica.receive(encode_peer(message, "orders", boot))

    def said(self) -> list[PeerMessage]:
        sent, self.sent = self.sent, []
        return [decode_peer(data)[1] for _, data in sent]

    def believe(self, peer: str, boot: int) -> None:
        """Let the real peer introduce itself, and welcome this node."""
        hello = Hello(
            sender=peer,
            receiver="n1",
            term=0,
            incarnation=2,
            recovering=False,
            forgot=False,
            echo=0,
            lives=b"",
        )
        self.said()
        self.hear(hello, boot)
        [challenge] = [each for each in self.said() if isinstance(each, Challenge)]
        self.hear(replace(hello, echo=challenge.number), boot)
        welcome = Welcome(
            sender=peer,
            receiver="n1",
            term=0,
            answers_boot=BOOTS["n1"],
            known_boot=BOOTS["n1"],
            known=True,
            formed=False,
        )
        self.hear(welcome, boot)
        assert any(isinstance(each, Welcome) for each in self.said())
