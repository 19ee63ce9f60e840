"""The clock of SQL, and that the file work of state.db goes past Python."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from raftzmq.statemachine import replicated_clock
from raftzmq.statemachine.replicated_clock import ReplicatedClock

NAME = "clock-under-test"
METHODS = ("xOpen", "xDelete", "xAccess", "xFullPathname", "xRandomness", "xSleep")


@pytest.fixture
def clock() -> Iterator[ReplicatedClock]:
    made = ReplicatedClock(NAME)
    yield made
    made.unregister()


def details(name: str) -> dict[str, int | str]:
    return next(each for each in apsw.vfs_details() if each["zName"] == name)


def now_in(path: Path) -> str:
    connection = apsw.Connection(str(path), vfs=NAME)
    found = connection.execute("SELECT strftime('%Y-%m-%d %H:%M:%f', 'now')").fetchall()
    connection.close()
    return str(found[0][0])


def write_and_read(path: Path) -> None:
    connection = apsw.Connection(str(path), vfs=NAME)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("CREATE TABLE t(at DEFAULT CURRENT_TIMESTAMP, a)")
    connection.execute("INSERT INTO t(a) VALUES(zeroblob(100000))")
    connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
    assert connection.execute("SELECT at, length(a) FROM t").fetchall() == [
        ("1970-01-01 00:00:01", 100000)
    ]
    connection.close()


def test_the_methods_for_files_are_those_of_the_vfs_below(clock: ReplicatedClock) -> None:
    assert clock.native
    mine, below = details(NAME), details(apsw.vfs_names()[0])
    assert [mine[method] for method in METHODS] == [below[method] for method in METHODS]
    assert mine["szOsFile"] == below["szOsFile"]
    assert mine["xCurrentTimeInt64"] != below["xCurrentTimeInt64"]


def test_time_stands_where_it_was_set(clock: ReplicatedClock, tmp_path: Path) -> None:
    assert now_in(tmp_path / "a.db") == "1970-01-01 00:00:00.000"
    clock.ms = 1_700_000_000_123
    assert now_in(tmp_path / "a.db") == "2023-11-14 22:13:20.123"
    clock.ms = 1_000
    write_and_read(tmp_path / "b.db")


def test_a_structure_that_is_not_known_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(replicated_clock, "_VERSION", 4)
    clock = ReplicatedClock(NAME)
    assert not clock.native
    assert details(NAME)["xOpen"] != details(apsw.vfs_names()[0])["xOpen"]
    clock.ms = 1_000
    write_and_read(tmp_path / "a.db")
    clock.unregister()


def test_a_base_made_of_python_still_sees_every_file(tmp_path: Path) -> None:
    opened = []

    class Base(apsw.VFS):
        def xOpen(self, name: object, flags: list[int]) -> apsw.VFSFile:
            opened.append(name)
            return apsw.VFSFile("", name, flags)  # type: ignore[arg-type]

    base = Base("base-under-test", "")
    clock = ReplicatedClock(NAME, "base-under-test")
    clock.ms = 1_000
    write_and_read(tmp_path / "a.db")
    assert len(opened) >= 2
    clock.unregister()
    base.unregister()


def test_it_may_come_and_go_and_be_forgotten(tmp_path: Path) -> None:
    for _ in range(20):
        clock = ReplicatedClock(NAME)
        clock.ms = 1_000
        write_and_read(tmp_path / "a.db")
        (tmp_path / "a.db").unlink()
        clock.unregister()
        clock.unregister()
        assert NAME not in apsw.vfs_names()
    connection = [apsw.Connection(str(tmp_path / "b.db"), vfs=ReplicatedClock(NAME).name)]
    connection[0].execute("PRAGMA journal_mode = WAL")
    connection[0].execute("CREATE TABLE t(a)")
    gc.collect()
    # Closing removes the WAL by way of the VFS.
    connection.clear()
    gc.collect()
    assert not (tmp_path / "b.db-wal").exists()
