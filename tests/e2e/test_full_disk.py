"""Nodes on disks of 64 MiB that somebody else fills: nothing crashes, nothing is lost, and all
goes on by itself when there is room again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from raftzmq.errors import DiskFull, Outcome
from tests.e2e.cluster import Cluster, wait_for
from tests.e2e.load import Load
from tests.small_disk import Ballast, small_disk

pytestmark = pytest.mark.e2e
MIB = 1 << 20
LIMITS = f"log_bytes_max = {4 * MIB}\nlog_keep_bytes = {MIB}\ndisk_reserve_bytes = {16 * MIB}"
NEARLY_FULL = 13 * MIB
"""Low by the reserve above, and so far from critical (4 MiB) that what is written between two looks
does not lead there."""
Disks = dict[str, Ballast]


@pytest.fixture
def on_small_disks(
    make_cluster: Callable[..., Cluster], tmp_path: Path
) -> Iterator[tuple[Cluster, Disks]]:
    """A running cluster, each data folder on a disk of its own, and a ballast for each."""
    cluster = make_cluster(limits=LIMITS)
    with ExitStack() as stack:
        disks = {
            name: Ballast(stack.enter_context(small_disk(cluster.folder / name, megabytes=64)))
            for name in cluster.names
        }
        cluster.start()
        cluster.wait_for_leader()
        yield cluster, disks
        for name, process in cluster.processes.items():
            assert process.poll() is None, f"{name} ended"
        cluster.close()


def condition(cluster: Cluster, name: str) -> str:
    status: dict[str, Any] | None = cluster.status(name)
    return str(status["conditions"].get("disk", "")) if status else ""


def test_a_leader_whose_disk_fills_up_hands_over(
    on_small_disks: tuple[Cluster, Disks],
) -> None:
    cluster, disks = on_small_disks
    full = cluster.wait_for_leader()
    with Load(cluster) as load:
        load.wait_for_writes(100)
        disks[full].fill(leave_bytes=NEARLY_FULL)
        others = [name for name in cluster.names if name != full]
        assert wait_for(lambda: cluster.leader(*others), "another leader") != full
        assert "disk: room is low" in (cluster.folder / f"{full}.log").read_text()
        assert wait_for(lambda: condition(cluster, full), "the condition")
        load.wait_for_writes(100)
        load.wait_for_reads(20)
        disks[full].remove()
        wait_for(lambda: not condition(cluster, full), "the recovery")
        load.wait_for_writes(100)
    assert load.write_errors == []
    assert load.read_errors == []
    load.check()


def test_a_follower_is_filled_to_the_last_byte(on_small_disks: tuple[Cluster, Disks]) -> None:
    cluster, disks = on_small_disks
    leader = cluster.wait_for_leader()
    full = next(name for name in cluster.names if name != leader)
    with Load(cluster, value_bytes=8000) as load:
        load.wait_for_writes(100)
        disks[full].fill()
        wait_for(lambda: "takes no new entries" in condition(cluster, full), "the condition")
        load.wait_for_writes(500)
        disks[full].fill()
        load.wait_for_writes(100)
        log = (cluster.folder / f"{full}.log").read_text()
        assert "disk: room is critical" in log
        assert cluster.processes[full].poll() is None
        disks[full].remove()
        wait_for(lambda: not condition(cluster, full), "the recovery")
        load.wait_for_writes(100)
    assert load.write_errors == []
    assert load.read_errors == []
    load.check()


def test_a_leader_is_filled_to_the_last_byte(on_small_disks: tuple[Cluster, Disks]) -> None:
    cluster, disks = on_small_disks
    full = cluster.wait_for_leader()
    with Load(cluster, value_bytes=8000) as load:
        load.wait_for_writes(100)
        disks[full].fill()
        others = [name for name in cluster.names if name != full]
        wait_for(lambda: cluster.leader(*others) and cluster.leader() != full, "another leader")
        load.wait_for_writes(300)
        disks[full].remove()
        wait_for(lambda: not condition(cluster, full), "the recovery")
        load.wait_for_writes(100)
    assert load.write_errors == []
    assert load.read_errors == []
    load.check()


def test_when_all_disks_are_nearly_full_writes_are_refused_and_reads_go_on(
    on_small_disks: tuple[Cluster, Disks],
) -> None:
    cluster, disks = on_small_disks
    with Load(cluster) as load:
        load.wait_for_writes(100)
        for name in cluster.names:
            disks[name].fill(leave_bytes=NEARLY_FULL)
        wait_for(lambda: load.write_errors, "a refused write")
        refused = len(load.write_errors)
        wait_for(lambda: len(load.write_errors) > refused + 20, "more refused writes")
        load.wait_for_reads(50)
        for name in cluster.names:
            disks[name].remove()
        load.wait_for_writes(100)
        assert cluster.leader() is not None
    assert {type(error) for error in load.write_errors} == {DiskFull}
    assert {error.outcome for error in load.write_errors} == {Outcome.NOT_EXECUTED}
    assert "nearly full" in load.write_errors[0].message
    assert load.read_errors == []
    load.check()


def test_all_disks_filled_to_the_last_byte_under_load(
    on_small_disks: tuple[Cluster, Disks],
) -> None:
    """The worst of all: no reserve is left to anybody. Nobody ends, nothing is lost."""
    cluster, disks = on_small_disks
    with Load(cluster, value_bytes=8000) as load:
        load.wait_for_writes(100)
        for name in cluster.names:
            disks[name].fill()
        wait_for(lambda: load.write_errors, "a refused write")
        for name in cluster.names:
            disks[name].remove()
        load.wait_for_writes(100)
        load.wait_for_reads(20)
    for error in load.write_errors:
        # A write that was in the log when the room ended has no outcome until there is room.
        assert isinstance(error, DiskFull) or error.outcome is Outcome.UNKNOWN, error
    load.check()


def test_a_leader_that_dies_while_all_are_full_is_replaced(
    on_small_disks: tuple[Cluster, Disks],
) -> None:
    """Nobody wants to lead, and somebody must, or reads end."""
    cluster, disks = on_small_disks
    for name in cluster.names:
        disks[name].fill(leave_bytes=NEARLY_FULL)
    for name in cluster.names:
        wait_for(partial(condition, cluster, name), f"the condition of {name}")
    dead = cluster.wait_for_leader()
    cluster.kill(dead)
    others = [name for name in cluster.names if name != dead]
    cluster.wait_for_leader(*others)
    assert cluster.read("SELECT 1") == [(1,)]
    disks[dead].remove()
    cluster.start(dead)
    # It alone has room: leadership goes there, and with it writes go on.
    wait_for(lambda: cluster.leader() == dead, "the node with room to lead")
    code, _, body = cluster.write("CREATE TABLE t (v)")
    assert code == 0, body
