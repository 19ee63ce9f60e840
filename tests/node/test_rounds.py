"""What the raft thread makes of what its helpers could not do."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from raftzmq.config import LimitsConfig
from raftzmq.errors import StorageDamaged, StorageFailed
from raftzmq.node.conditions import Conditions
from raftzmq.node.rounds import Rounds
from raftzmq.node.snapshots import TakeFailed
from raftzmq.raft.types import Configuration, Entry, EntryKind
from raftzmq.replica.persist import Round


class Host:
    """Rounds of one node of so many, that writes down what its replica is told."""

    def __init__(self, *nodes: str) -> None:
        self.told: list[str] = []
        replica = SimpleNamespace(
            raft=SimpleNamespace(configuration=Configuration(voters=frozenset(nodes))),
            transfers=SimpleNamespace(not_taken=lambda: self.told.append("not taken")),
            damaged=self.told.append,
        )
        nobody = cast(Any, None)
        self.rounds = Rounds(
            replica=cast(Any, replica),
            service=nobody,
            applier=nobody,
            disk=nobody,
            conditions=Conditions(),
            bounds=LimitsConfig(),
            log=self.told.append,
            on_ready=lambda: None,
        )


def test_a_node_that_found_damage_while_copying_can_copy_again_once_it_is_rebuilt() -> None:
    host = Host("n1", "n2", "n3")
    host.rounds.take(TakeFailed(StorageDamaged("malformed")))
    assert host.told == ["not taken", "malformed"]


@pytest.mark.parametrize(
    ("nodes", "error"),
    [(("n1", "n2", "n3"), StorageFailed("EIO")), (("n1",), StorageDamaged("malformed"))],
)
def test_what_no_copy_repairs_ends_the_node(nodes: tuple[str, ...], error: Exception) -> None:
    with pytest.raises(type(error)):
        Host(*nodes).rounds.take(TakeFailed(error))


def test_the_log_in_memory_is_cut_whenever_entries_are_committed() -> None:
    told: list[object] = []
    committed = (Entry(1, 1, EntryKind.COMMAND, b"data"),)
    rounds = [Round(), Round(committed=committed)]
    replica = SimpleNamespace(
        flush=lambda: rounds.pop(0),
        transfers=SimpleNamespace(retention=SimpleNamespace(abandoned=frozenset())),
        bound_memory=told.append,
        applied_index=0,
    )
    applier = SimpleNamespace(apply_here=lambda *_: None, apply=told.append)
    host = Rounds(
        replica=cast(Any, replica),
        service=cast(Any, None),
        applier=cast(Any, applier),
        disk=cast(Any, None),
        conditions=Conditions(),
        bounds=LimitsConfig(log_memory_bytes=1_234),
        log=cast(Any, told.append),
        on_ready=lambda: None,
    )
    host.flush()
    assert told == []
    host.flush()
    assert told == [1_234, list(committed)]
