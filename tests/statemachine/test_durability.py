"""Crashes and failing disks: re-applying is exact, and a failure never becomes a reply."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from raftzmq.errors import StorageDamaged, StorageFailed
from raftzmq.statemachine import machine as machine_module
from raftzmq.statemachine.command import Request
from raftzmq.statemachine.digest import content_digest
from raftzmq.statemachine.machine import EntryResult, LogEntry, Machine
from raftzmq.statemachine.readers import Reader
from tests.statemachine.world import World, anonymous, entry, payload

ENTRIES = 300


def _log() -> list[LogEntry]:
    log = [
        entry(
            1,
            anonymous(
                "CREATE TABLE t(a INTEGER PRIMARY KEY, b DEFAULT (random()), c DEFAULT"
                " CURRENT_TIMESTAMP)"
            ),
        )
    ]
    for index in range(2, ENTRIES):
        insert = payload("INSERT INTO t DEFAULT VALUES RETURNING *")
        fails = payload("INSERT OR ROLLBACK INTO t(a) VALUES(1)")
        made = [Request(b"ann-0123", index, index, insert), Request(b"", 0, 0, fails)]
        log.append(entry(index, *made))
    return log


CHILD = """
import sys
from pathlib import Path
from raftzmq.statemachine.machine import Machine
from tests.statemachine.test_durability import _log
machine = Machine(Path(sys.argv[1]))
log = _log()
while machine.applied[0] < len(log):
    machine.apply(log[machine.applied[0] : machine.applied[0] + 3])
    if machine.applied[0] % 50 < 3:
        machine.checkpoint()
    print(machine.applied[0], flush=True)
"""


def test_kill_and_apply_again(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    root = Path(__file__).parents[2]
    for kill_at in (30, 110, 190):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(path)], cwd=root, stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        for line in child.stdout:
            if int(line) >= kill_at:
                os.kill(child.pid, signal.SIGKILL)
                break
        child.wait()
        child.stdout.close()
    log = _log()
    survivor = Machine(path)
    reached = survivor.applied[0]
    assert 190 <= reached <= len(log)
    survivor.apply(log[reached:])
    survivor.close()
    other = tmp_path / "other.db"
    machine = Machine(other)
    machine.apply(log)
    machine.close()
    assert content_digest(path) == content_digest(other)


class FaultyDisk(apsw.VFS):
    """The default VFS until ``fault`` is set; then writes or syncs of the WAL raise it."""

    def __init__(self, name: str) -> None:
        super().__init__(name, "")
        self.fault: Exception | None = None
        self.reads_fail_from = 1 << 40
        self.syncs = 0
        self.synced: dict[Path, bytes] = {}

    def xOpen(self, name: object, flags: list[int]) -> apsw.VFSFile:
        return FaultyFile(self, name, flags)


class FaultyFile(apsw.VFSFile):
    def __init__(self, disk: FaultyDisk, name: object, flags: list[int]) -> None:
        super().__init__("", name, flags)  # type: ignore[arg-type]
        self._disk = disk
        self._wal = bool(flags[0] & apsw.SQLITE_OPEN_WAL)
        named = name.filename() if isinstance(name, apsw.URIFilename) else name
        self._path = Path(str(named))

    def xWrite(self, data: bytes, offset: int) -> None:
        if self._wal and self._disk.fault:
            raise self._disk.fault
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:
        if self._wal:
            self._disk.syncs += 1
        super().xSync(flags)
        self._disk.synced[self._path] = self._path.read_bytes()

    def xRead(self, amount: int, offset: int) -> bytes:
        if offset >= self._disk.reads_fail_from:
            raise apsw.IOError("unreadable")
        return super().xRead(amount, offset)


@pytest.fixture
def disk() -> Iterator[FaultyDisk]:
    made = FaultyDisk("faulty")
    yield made
    made.unregister()


@pytest.mark.parametrize("fault", [apsw.IOError("broken"), apsw.NoMemError("broken")])
def test_a_failing_disk_stops_the_machine(
    disk: FaultyDisk, tmp_path: Path, fault: Exception
) -> None:
    path = tmp_path / "state.db"
    machine = Machine(path, vfs="faulty")
    machine.apply([entry(1, anonymous("CREATE TABLE t(a)"))])
    disk.fault = fault
    made = entry(2, anonymous("INSERT INTO t VALUES(1)"))
    with pytest.raises(StorageFailed):
        machine.apply([made])
    disk.fault = None
    with pytest.raises(StorageFailed):
        machine.apply([made])
    with pytest.raises(StorageFailed):
        machine.checkpoint()
    machine.close()
    machine = Machine(path, vfs="faulty")
    assert machine.applied[0] == 1
    machine.apply([made])
    machine.close()


def test_an_unreadable_page_never_becomes_a_reply(disk: FaultyDisk, tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    machine = Machine(path, vfs="faulty")
    machine.apply(
        [
            entry(
                1,
                anonymous("CREATE TABLE t(a)", *["INSERT INTO t VALUES(randomblob(4000))"] * 50),
            )
        ]
    )
    machine.checkpoint()
    machine.close()
    machine = Machine(path, vfs="faulty")
    disk.reads_fail_from = 20 * 4096
    with pytest.raises(StorageFailed):
        machine.apply([entry(2, anonymous("UPDATE t SET a = 1"))])
    assert machine.applied[0] == 1
    machine.close()


@pytest.mark.parametrize("with_reader", [False, True])
def test_a_power_cut_keeps_what_was_checkpointed(
    disk: FaultyDisk, tmp_path: Path, with_reader: bool
) -> None:
    """The worst disk: of each file only what the last sync covered survives."""
    path = tmp_path / "state.db"
    machine = Machine(path, vfs="faulty")
    machine.apply([entry(1, anonymous("CREATE TABLE t(a)"))])
    machine.checkpoint()
    reader = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    if with_reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM t").fetchall()
    durable = 0
    for index in range(2, 60):
        machine.apply([entry(index, anonymous("INSERT INTO t VALUES(randomblob(2000))"))])
        if index % 7 == 0:
            durable = machine.checkpoint()
        if index % 5 == 0 and durable:
            folder = tmp_path / f"cut{index}"
            folder.mkdir()
            for file, content in disk.synced.items():
                if file.exists():  # the journal of the very first transaction is deleted
                    (folder / file.name).write_bytes(content)
            survivor = Machine(folder / "state.db")
            assert durable <= survivor.applied[0] <= index
            rows = survivor.apply(
                [entry(survivor.applied[0] + 1, anonymous("SELECT count(*) FROM t"))]
            )
            assert rows[0].replies[0].code == 0
            survivor.close()
    reader.close()
    machine.close()


def test_checkpoint_syncs_even_while_a_reader_holds_the_wal(
    disk: FaultyDisk, tmp_path: Path
) -> None:
    """A reader on an old snapshot stops the PASSIVE checkpoint; the promise still holds."""
    path = tmp_path / "state.db"
    machine = Machine(path, vfs="faulty")
    machine.apply([entry(1, anonymous("CREATE TABLE t(a)"))])
    machine.checkpoint()
    reader = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM t").fetchall()
    for index in range(2, 5):
        machine.apply([entry(index, anonymous("INSERT INTO t VALUES(1)"))])
        before = disk.syncs
        assert machine.checkpoint() == index
        assert disk.syncs > before
    reader.close()
    machine.close()


def test_a_commit_is_told_before_anything_else_takes_time(
    disk: FaultyDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Readers see it already, and would ask for an index that nobody knows yet."""
    monkeypatch.setattr(machine_module, "WAL_PAGES_MAX", 1)
    path = tmp_path / "state.db"
    machine = Machine(path, vfs="faulty")
    told: list[tuple[list[int], int, int]] = []

    def committed(results: list[EntryResult]) -> None:
        reader = Reader(path)
        told.append(([result.index for result in results], reader.begin(), disk.syncs))
        reader.close()

    # Changes of the schema are applied alone: three transactions.
    statements = ("CREATE TABLE t(a)", "INSERT INTO t VALUES(1)", "CREATE TABLE u(a)")
    entries = [entry(index, anonymous(sql)) for index, sql in enumerate(statements, 1)]
    results = machine.apply(entries, committed)
    assert [result.index for result in results] == [1, 2, 3]
    assert [(indexes, seen) for indexes, seen, _ in told] == [([1], 1), ([2], 2), ([3], 3)]
    # Each was told before the copy of the WAL that followed it, which syncs the WAL.
    syncs = [count for _, _, count in told]
    assert syncs[0] < syncs[1] < syncs[2] < disk.syncs
    machine.close()


def test_files_that_are_no_state_db(tmp_path: Path) -> None:
    garbage = tmp_path / "garbage.db"
    garbage.write_bytes(b"no database " * 1000)
    foreign = tmp_path / "foreign.db"
    apsw.Connection(str(foreign)).execute("CREATE TABLE t(a)")
    for path in (garbage, foreign):
        with pytest.raises(StorageDamaged, match="raftzmq rebuild NODE"):
            Machine(path)
    with pytest.raises(StorageFailed):
        Machine(tmp_path / "missing" / "state.db")


def test_a_newer_format_is_refused(world: World) -> None:
    world.machine._connection.execute("UPDATE _raftzmq_meta SET format = 99")
    with pytest.raises(StorageDamaged, match="format 99"):
        world.reopen()


def test_local_time_must_be_utc(tmp_path: Path) -> None:
    code = "import sys, pathlib; from raftzmq.statemachine.machine import Machine;" + (
        "Machine(pathlib.Path(sys.argv[1]))"
    )
    root = Path(__file__).parents[2]
    ran = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "state.db")],
        cwd=root,
        env={**os.environ, "TZ": "EST5EDT"},
        capture_output=True,
        text=True,
    )
    assert ran.returncode != 0
    assert "TZ=UTC" in ran.stderr
