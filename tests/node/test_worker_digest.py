"""A digest over all content must hold up neither an install nor the end of the node."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import msgpack
import pytest

from raftzmq.config import LimitsConfig
from raftzmq.errors import StorageDamaged, Unavailable
from raftzmq.node.gate import StateGate
from raftzmq.node.workers import Workers
from raftzmq.statemachine import digest
from raftzmq.statemachine.machine import Machine
from raftzmq.transport.sockets import Context, open_context


@pytest.fixture
def context() -> Iterator[Context]:
    opened = open_context()
    yield opened
    opened.term()


def test_a_digest_ends_when_a_snapshot_comes(
    tmp_path: Path, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = StateGate(tmp_path / "state.db")
    Machine(gate.path).close()
    begun, installing = threading.Event(), threading.Event()
    chunks = digest._chunks

    def slow(*given: object) -> Iterator[bytes]:
        begun.set()
        installing.wait(10)
        yield from chunks(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(digest, "_chunks", slow)
    workers = Workers(context, gate, LimitsConfig(), lambda error: None)
    answers: list[bytes] = []
    hashing = threading.Thread(target=lambda: answers.append(workers._run_digest()))
    hashing.start()
    assert begun.wait(10)
    (pinned,) = gate._open
    interrupt = pinned.interrupt

    def interrupted() -> None:
        interrupt()
        installing.set()

    monkeypatch.setattr(pinned, "interrupt", interrupted)
    with gate.installing():
        pass
    hashing.join()
    _, ((code, _),) = msgpack.unpackb(answers[0])
    assert code == Unavailable.code


def test_damage_is_told_before_the_file_is_replaced(
    tmp_path: Path, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told later, the replacement would be taken for damaged, and be replaced again."""
    gate = StateGate(tmp_path / "state.db")
    Machine(gate.path).close()
    running: list[int] = []
    workers = Workers(context, gate, LimitsConfig(), lambda error: running.append(gate._running))

    def fail(*_: object) -> None:
        raise StorageDamaged("malformed")

    monkeypatch.setattr(digest, "_digest", fail)
    with pytest.raises(StorageDamaged):
        workers._run_digest()
    assert running == [1]
