"""A snapshot stands alone, is consistent at its index, and continues as a replica."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from raftzmq.errors import StorageFailed
from raftzmq.statemachine.command import CommandFlags, Request
from raftzmq.statemachine.digest import content_digest
from raftzmq.statemachine.machine import Machine
from raftzmq.statemachine.snapshot import SnapshotAbandoned, take
from tests.statemachine.world import World, anonymous, entry, payload


def test_a_snapshot_is_a_whole_replica(world: World, tmp_path: Path) -> None:
    world.ok("CREATE TABLE t(a)", "CREATE VIRTUAL TABLE f USING fts5(a)")
    world.ok("INSERT INTO t VALUES(randomblob(9000)), (2)", "INSERT INTO f VALUES('word')")
    copy = tmp_path / "copy" / "state.db"
    copy.parent.mkdir()
    copy.write_bytes(b"left over")
    taken = take(world.path, copy)
    assert [item.name for item in copy.parent.iterdir()] == ["state.db"]
    assert taken.size == copy.stat().st_size
    assert taken.digest == hashlib.blake2b(copy.read_bytes(), digest_size=32).digest()
    index, digest = content_digest(world.path)
    assert (taken.applied_index, taken.applied_term) == world.machine.applied
    assert content_digest(copy) == (index, digest) == (taken.applied_index, digest)

    machine = Machine(copy)
    made = entry(index + 1, anonymous("INSERT INTO t VALUES(random())"))
    machine.apply([made])
    world.machine.apply([made])
    assert content_digest(copy) == content_digest(world.path)
    machine.close()


def test_a_replica_made_of_a_snapshot_knows_which_writes_were_applied(
    world: World, tmp_path: Path
) -> None:
    world.ok("CREATE TABLE t(a)")
    insert = payload("INSERT INTO t VALUES(1) RETURNING a")
    named, keyed = Request(b"ann-0123", 1, 0, insert), Request(b"some key", 1, 0, insert)
    first = world.entry(named), world.entry(keyed, flags=CommandFlags.KEYED)
    (tmp_path / "copy").mkdir()
    copy = World(tmp_path / "copy")
    copy.machine.close()
    take(world.path, copy.path)
    copy.machine = Machine(copy.path)
    for replica in (copy, world):
        again = replica.entry(named), replica.entry(keyed, flags=CommandFlags.KEYED)
        assert again == first
        assert replica.rows("SELECT count(*) FROM t") == [[2]]
    assert copy.digest() == world.digest()
    copy.machine.close()


def test_writes_during_the_copy_stay_out(world: World, tmp_path: Path) -> None:
    world.ok("CREATE TABLE t(a)", "INSERT INTO t VALUES(1)")
    before = world.digest()
    world.machine.checkpoint()

    def writes_meanwhile() -> bool:
        world.ok("INSERT INTO t VALUES(2)")
        world.machine.checkpoint()
        return False

    copy = tmp_path / "copy.db"
    applied = world.machine.applied
    taken = take(world.path, copy, stopping=writes_meanwhile)
    assert (taken.applied_index, taken.applied_term) == applied
    assert content_digest(copy) == (applied[0], before)


def test_an_abandoned_snapshot_leaves_nothing(world: World, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    with pytest.raises(SnapshotAbandoned):
        take(world.path, copy, stopping=lambda: True)
    with pytest.raises(StorageFailed):
        take(world.path, tmp_path / "missing" / "copy.db")
    assert list(tmp_path.glob("copy.db*")) == []
