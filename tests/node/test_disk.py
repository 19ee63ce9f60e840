"""When a node without room hands over, refuses and recovers; without a disk or a clock."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from raftzmq import limits
from raftzmq.config import LimitsConfig
from raftzmq.errors import DiskFull, Unavailable
from raftzmq.node.conditions import Conditions
from raftzmq.node.disk import DiskWatch
from raftzmq.node.disk_policy import Room, RoomPolicy
from raftzmq.replica.replica import Replica

MIB = 1 << 20


def test_room_goes_down_at_once_and_comes_back_with_a_distance() -> None:
    policy = RoomPolicy(100)
    seen = [
        policy.measured(free, 0, failed=False)
        for free in (101, 100, 99, 100, 124, 125, 99, 25, 24, 49, 50, 124, 24, 125)
    ]
    low, critical, enough = Room.LOW, Room.CRITICAL, Room.ENOUGH
    assert seen == [
        *[enough, enough, low, low, low, enough, low, low],
        *[critical, critical, low, low, critical, enough],
    ]


def test_what_a_long_write_ahead_log_owes_counts() -> None:
    policy = RoomPolicy(100)
    assert policy.measured(150, 60, failed=False) is Room.LOW
    assert policy.measured(150, 10, failed=False) is Room.ENOUGH


def test_a_write_without_room_counts_whatever_the_file_system_says() -> None:
    policy = RoomPolicy(100)
    assert policy.measured(10_000, 0, failed=True) is Room.CRITICAL
    assert policy.measured(10_000, 0, failed=False) is Room.ENOUGH


class World:
    """A DiskWatch between a disk and a replica that are plain attributes."""

    def __init__(self, tmp_path: Path) -> None:
        self.path = tmp_path
        self.free = 1000 * MIB
        self.asked: list[str] = []
        self.woken = 0
        self.raft = SimpleNamespace(
            long_without_leader=False,
            electable=True,
            configuration=SimpleNamespace(voters={"n1", "n2", "n3"}),
            commit_index=7,
            transferring=False,
        )
        self.raft.set_electable = lambda on, why: setattr(self.raft, "electable", on)
        self.raft.progress = lambda: {
            "n2": SimpleNamespace(recent_active=True, match_index=7),
            "n3": SimpleNamespace(recent_active=False, match_index=9),
        }
        self.raft.propose_refusal = lambda: "transfer" if self.raft.transferring else None
        self.raft.transfer_leadership = self.ask
        self.replica = SimpleNamespace(
            raft=self.raft,
            is_leader=False,
            stalled=False,
            lacks_entries=False,
            applied_index=7,
            held_back=False,
            tries=0,
        )
        self.replica.hold_back = lambda on: setattr(self.replica, "held_back", on)
        self.replica.try_again = lambda: setattr(self.replica, "tries", self.replica.tries + 1)
        self.conditions = Conditions()
        self.lines: list[str] = []
        self.now_ms = 0
        self.watch = DiskWatch(
            cast(Any, self),
            tmp_path / "state.db",
            LimitsConfig(disk_reserve_bytes=100 * MIB),
            cast(Replica, self.replica),
            self.conditions,
            self.wake,
            self.lines.append,
        )

    def free_bytes(self) -> int:
        return self.free

    def ask(self, peer: str) -> bool:
        self.asked.append(peer)
        self.raft.transferring = True
        return True

    def wake(self) -> None:
        self.woken += 1

    def tick(self, milliseconds: int = 10) -> None:
        self.now_ms += milliseconds
        self.watch.tick(self.now_ms)


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    made.tick()
    return made


def test_enough_room_changes_nothing(world: World) -> None:
    world.tick(1000)
    assert (world.conditions.sentences(), world.lines, world.asked) == ({}, [], [])
    assert world.raft.electable


def test_a_follower_with_little_room_does_not_stand_unless_nobody_leads(world: World) -> None:
    world.free = 90 * MIB
    world.tick(10)
    assert world.raft.electable, "it looks once a second"
    world.tick(1000)
    assert not world.raft.electable
    assert not world.replica.held_back
    assert world.conditions.refusing_reads is None
    assert world.conditions.refusing_writes is None
    world.raft.long_without_leader = True
    world.tick()
    assert world.raft.electable
    world.raft.long_without_leader = False
    world.tick()
    assert not world.raft.electable
    world.free = 200 * MIB
    world.tick(1000)
    assert world.raft.electable
    assert world.conditions.sentences() == {}


def test_a_leader_with_little_room_asks_the_live_and_then_refuses_writes(world: World) -> None:
    world.replica.is_leader = True
    world.free = 90 * MIB
    world.tick(1000)
    assert world.asked == ["n2"]
    world.tick()
    assert world.conditions.refusing_writes is None, "the attempt is under way"
    world.raft.transferring = False
    world.tick()
    refusing = world.conditions.refusing_writes
    assert refusing is not None
    assert refusing.write_error is DiskFull
    assert "90 MiB free" in refusing.sentence
    assert world.conditions.refusing_reads is None
    world.replica.is_leader = False
    world.tick()
    assert world.conditions.refusing_writes is None
    world.replica.is_leader = True
    world.tick()
    assert world.asked == ["n2", "n2"], "a new leadership, a new attempt"


def test_a_follower_with_hardly_any_room_holds_back(world: World) -> None:
    world.free = 20 * MIB
    world.tick(1000)
    assert world.replica.held_back
    assert world.conditions.refusing_reads is None, "as long as it lacks nothing"
    world.replica.lacks_entries = True
    world.tick(1000)
    assert world.conditions.refusing_reads is not None
    world.free = 60 * MIB
    world.replica.lacks_entries = False
    world.tick(1000)
    assert not world.replica.held_back
    assert world.conditions.refusing_reads is None


def test_a_log_without_room_is_tried_at_each_look_and_all_is_refused(world: World) -> None:
    world.replica.is_leader = world.replica.stalled = True
    world.tick()
    assert world.replica.tries == 1, "at once"
    for _ in range(limits.DISK_LOOK_MS // 10 - 1):
        world.tick()
    assert world.replica.tries == 1
    world.tick()
    assert world.replica.tries == 2
    refusing = world.conditions.refusing_writes
    assert refusing is not None
    assert refusing.write_error is Unavailable, "another one leads soon: brokers ask again"
    assert world.conditions.refusing_reads is not None
    assert world.asked == [], "it could not send the request"
    world.replica.stalled = False
    world.tick()
    assert world.conditions.refusing_reads is None
    assert "raft.db has room again" in world.lines


def test_an_applier_without_room_is_woken_and_stale_reads_are_refused(world: World) -> None:
    world.watch.applier_stuck("state.db: no room")
    world.raft.commit_index = 8
    world.tick()
    assert world.woken == 1
    assert world.watch.policy.room is Room.CRITICAL
    assert world.conditions.refusing_reads is not None
    world.replica.applied_index = 8
    world.tick(1000)
    assert world.conditions.refusing_reads is None
    world.watch.applier_stuck(None)
    world.tick()
    assert world.conditions.sentences() == {}


def test_files_that_do_not_fit_are_named_as_long_as_they_are_asked_for(world: World) -> None:
    assert world.watch.free_for("a snapshot", 500 * MIB, 400 * MIB)
    assert not world.watch.free_for("a snapshot", 700 * MIB, 400 * MIB)
    world.tick(1000)
    assert "a snapshot needs 700 MiB" in world.conditions.sentences()["no room for a snapshot"]
    world.tick(1000)
    assert world.conditions.sentences() == {}
