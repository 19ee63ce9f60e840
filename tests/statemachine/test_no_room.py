"""Without room nothing of an entry is kept; applied again later it is what it would have been."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from raftzmq.errors import NoRoom, StorageFailed
from raftzmq.statemachine import machine as machine_module
from raftzmq.statemachine.command import Request
from raftzmq.statemachine.digest import content_digest
from raftzmq.statemachine.machine import EntryResult, LogEntry, Machine
from raftzmq.statemachine.readers import Reader
from raftzmq.statemachine.snapshot import take
from tests.small_disk import Ballast, small_disk
from tests.statemachine.world import World, entry, payload


class Disk(apsw.VFS):
    """Refuses the write number ``refuse_at`` and all after it; fails syncs of ``no_sync``."""

    def __init__(self, name: str) -> None:
        super().__init__(name, "")
        self.writes = 0
        self.refuse_at = 1 << 60
        self.refused = 0
        self.no_sync = ""
        self.failed_syncs = 0
        self.written: dict[str, int] = {}

    def xOpen(self, name: object, flags: list[int]) -> apsw.VFSFile:
        return File(self, name, flags)


class File(apsw.VFSFile):
    def __init__(self, disk: Disk, name: object, flags: list[int]) -> None:
        super().__init__("", name, flags)  # type: ignore[arg-type]
        self._disk = disk
        self._name = str(name.filename() if isinstance(name, apsw.URIFilename) else name)

    def xWrite(self, data: bytes, offset: int) -> None:
        disk = self._disk
        disk.writes += 1
        if disk.writes >= disk.refuse_at:
            disk.refused += 1
            raise apsw.FullError("full")
        disk.written[self._name] = disk.written.get(self._name, 0) + 1
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:
        if self._disk.no_sync and self._name.endswith(self._disk.no_sync):
            self._disk.failed_syncs += 1
            raise apsw.IOError("fsync failed")
        super().xSync(flags)


@pytest.fixture
def disk() -> Iterator[Disk]:
    made = Disk("refusing")
    yield made
    made.unregister()


def _log() -> list[LogEntry]:
    """Writes of all kinds, among them some that need a connection of their own."""
    made = [entry(1, _by(1, "CREATE TABLE t(id INTEGER PRIMARY KEY, v, w)"))]
    for index in range(2, 14):
        requests = [
            _by(index * 10 + n, f"INSERT INTO t(v, w) VALUES(random(), zeroblob({3000 * n}))")
            for n in range(3)
        ]
        if index == 6:
            requests.append(_by(69, "CREATE INDEX i ON t(v)"))
        if index == 8:
            requests.append(_by(89, "INSERT OR ROLLBACK INTO t(id) VALUES(1), (1)"))
        if index == 9:
            requests.append(_by(99, "PRAGMA defer_foreign_keys = ON", "DELETE FROM t WHERE id = 4"))
        made.append(entry(index, *requests))
    return made


def _by(number: int, *statements: str) -> Request:
    return Request(b"client", number, 0, payload(*statements))


def test_every_write_may_be_the_one_that_finds_no_room(disk: Disk, tmp_path: Path) -> None:
    log = _log()
    healthy = Machine(tmp_path / "healthy.db", vfs="refusing")
    began = disk.writes
    expected = healthy.apply(log)
    writes = disk.writes - began
    healthy.close()
    digest = content_digest(tmp_path / "healthy.db")
    refusals = partial = 0
    for place in range(1, writes + 1, 3):
        path = tmp_path / f"full{place}.db"
        machine = Machine(path, vfs="refusing")
        results: list[EntryResult] = []
        disk.refuse_at = disk.writes + place
        while len(results) < len(log):
            try:
                some = machine.apply(log[len(results) :])
                partial += 0 < len(some) < len(log) - len(results)
                results += some
            except NoRoom:
                refusals += 1
            assert machine.applied[0] == len(results), "what is applied and what was told agree"
            disk.refuse_at = 1 << 60
        machine.close()
        assert results == expected
        assert content_digest(path) == digest
    assert disk.refused >= len(range(1, writes + 1, 3)) > 10, "each of them found no room"
    assert refusals > 0
    assert partial > 0, "some were applied in part, and the results of that part not lost"


def test_a_checkpoint_without_room_promises_nothing_or_the_truth(
    disk: Disk, tmp_path: Path
) -> None:
    machine = Machine(tmp_path / "state.db", vfs="refusing")
    machine.apply(_log())
    disk.refuse_at = disk.writes
    with pytest.raises(NoRoom):
        machine.checkpoint()
    # The commit of step 1 fits, the copy into the database does not: durable is durable.
    disk.refuse_at = disk.writes + 5
    assert machine.checkpoint() == 13
    assert disk.refused >= 2
    disk.refuse_at = 1 << 60
    assert machine.checkpoint() == 13
    machine.close()


@pytest.mark.parametrize("file", ["state.db", "state.db-wal"])
def test_no_failed_sync_is_hidden_or_repeated(
    disk: Disk, tmp_path: Path, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite's automatic checkpoint would do both."""
    monkeypatch.setattr(machine_module, "WAL_PAGES_MAX", 10)
    machine = Machine(tmp_path / "state.db", vfs="refusing")
    log = _log()
    disk.no_sync = file
    with pytest.raises(StorageFailed) as failure:
        machine.apply(log)
    assert not isinstance(failure.value, NoRoom)
    assert disk.failed_syncs == 1
    disk.no_sync = ""
    with pytest.raises(StorageFailed):
        machine.apply(log[machine.applied[0] :])
    with pytest.raises(StorageFailed):
        machine.checkpoint()
    machine.close()


def test_the_write_ahead_log_of_an_earlier_life_is_written_once_more(
    disk: Disk, tmp_path: Path
) -> None:
    first = Machine(tmp_path / "state.db")
    first.apply(_log())
    left = tmp_path / "left"
    left.mkdir()
    for name in ("state.db", "state.db-wal"):
        (left / name).write_bytes((tmp_path / name).read_bytes())
    first.close()
    again = Machine(left / "state.db", vfs="refusing")
    assert disk.written.get(str(left / "state.db"), 0) >= 10, "pages went into the database"
    # As if no byte of the old write-ahead log had reached the disk.
    content = (left / "state.db").read_bytes()
    again.close()
    alone = tmp_path / "alone.db"
    alone.write_bytes(content)
    last = Machine(alone)
    assert last.applied[0] == 13
    last.close()


def test_a_real_full_disk(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", megabytes=12) as folder:
        world = World(folder)
        twin = World(tmp_path)
        for each in (world, twin):
            each.ok("CREATE TABLE t(v)")
        ballast = Ballast(folder)
        ballast.fill(leave_bytes=400_000)
        big = entry(2, _by(1, "INSERT INTO t VALUES(randomblob(2000000))"))
        for _ in range(3):
            with pytest.raises(NoRoom, match="no room on the disk"):
                world.machine.apply([big])
        reader = Reader(world.path)
        reply = reader.run(payload("SELECT count(*) FROM t"), timeout_ms=1000, monotonic=float)
        assert reply.code == 0, "reads go on"
        ballast.fill()
        with pytest.raises(NoRoom):
            take(twin.path, folder / "copy.db")
        assert not (folder / "copy.db").exists()
        ballast.remove()
        assert world.apply([big]) == twin.apply([big])
        assert world.digest() == twin.digest()
        reader.close()
        for each in (world, twin):
            each.machine.close()
