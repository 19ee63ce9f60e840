"""What a round of the raft thread does between two of its parts when they have taken long."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from raftzmq.config import default_config
from raftzmq.limits import HEARTBEAT_TICKS
from raftzmq.node import loop
from raftzmq.node.long_rounds import LongRounds
from raftzmq.node.startup import open_folder

PEERS, CLIENTS, WORKERS, MAIL = range(4)
LONG_MS = 500


class RaftThread:
    """The raft thread of a node that leads nobody; its parts take the time that the test sets.

    Attributes:
        sleep_ms: how long it sleeps before each round.
        script: what is ready in each round, and how long each part of it takes.
        events: what was done, in this order.
    """

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(folder)
        config = default_config()
        self.now_ms = 1_000
        self.part_ms = self.sleep_ms = 0
        self.script: list[tuple[set[int], int]] = []
        self.events: list[str | int] = []
        parts = open_folder(config, config.nodes["n1"])
        self.node = loop.Node(config, "n1", parts, lambda line: None, lambda: None)
        monkeypatch.setattr(loop, "monotonic_ms", self.clock)
        monkeypatch.setattr(loop, "LongRounds", partial(LongRounds, clock_ms=self.clock))
        names = iter((PEERS, CLIENTS, WORKERS))
        readiness = SimpleNamespace(
            watch=lambda socket, **_: next(names, -1),
            watch_descriptor=lambda descriptor: MAIL,
            wait=self.wait,
            ask_next=lambda name: self.events.append(f"asks {name}"),
            close=self.node._readiness.close,
        )
        rounds = SimpleNamespace(flush=self.noting("flush"), ready=True, take=lambda item: None)
        fakes: dict[str, object] = {
            "_readiness": readiness,
            "_rounds": rounds,
            "_disk": SimpleNamespace(tick=lambda now_ms: self.events.append("keeps house")),
            "_take_peers": self.noting("peers"),
            "_take_clients": lambda now_ms: self.part("clients"),
            "_take_workers": lambda: self.part("workers"),
            "_count_ticks": lambda ticks: self.events.append(ticks) if ticks else None,
        }
        for name, fake in fakes.items():
            monkeypatch.setattr(self.node, name, fake)

    def clock(self) -> int:
        return self.now_ms

    def noting(self, event: str) -> Callable[[], None]:
        return lambda: self.events.append(event)

    def part(self, event: str) -> None:
        self.events.append(event)
        self.now_ms += self.part_ms

    def wait(self, timeout_ms: int) -> set[int]:
        self.events.append("waits")
        self.now_ms += self.sleep_ms
        ready, self.part_ms = self.script.pop(0)
        if not self.script:
            self.node.stop()
        return ready

    def run(self, *script: tuple[set[int], int]) -> list[str | int]:
        self.script = list(script)
        self.node.run()
        return self.events


@pytest.fixture
def raft(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RaftThread:
    return RaftThread(tmp_path, monkeypatch)


INTERRUPTED = ["peers", f"asks {PEERS}", HEARTBEAT_TICKS, "flush"]
"""Peers are heard before time is counted: what they sent came before."""


def test_after_each_long_part_peers_are_heard_time_is_counted_and_what_came_of_it_sent(
    raft: RaftThread,
) -> None:
    done = raft.run(({CLIENTS, WORKERS}, LONG_MS))
    parts = ["waits", "clients", *INTERRUPTED, "workers", *INTERRUPTED]
    assert done[: len(parts)] == parts


def test_house_is_kept_though_every_tick_was_counted_between_two_parts(raft: RaftThread) -> None:
    """The rest of the round finds none that is due, nor does the round behind it."""
    done = raft.run(({CLIENTS}, LONG_MS), ({CLIENTS}, 0))
    assert done[-5:] == ["keeps house", "flush", "waits", "clients", "flush"]


def test_a_short_round_is_not_interrupted(raft: RaftThread) -> None:
    assert raft.run(({CLIENTS, WORKERS}, 1)) == ["waits", "clients", "workers", "flush"]


def test_what_was_slept_through_makes_no_round_long(raft: RaftThread) -> None:
    raft.sleep_ms = LONG_MS
    done = raft.run(({CLIENTS}, 0), ({CLIENTS, WORKERS}, 0))
    assert done.count("flush") == 2
    assert "peers" not in done
