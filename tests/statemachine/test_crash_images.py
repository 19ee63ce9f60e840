"""What lies on the disk between any two commits of the machine leads to the same content.

kill -9 at a random moment falls between two commits far too seldom to find a second transaction.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import apsw

from raftzmq.statemachine.command import Request, decode_command
from raftzmq.statemachine.digest import content_digest
from raftzmq.statemachine.machine import LogEntry, Machine
from tests.statemachine.world import anonymous, entry, payload


class Photographed(Machine):
    """Copies state.db and its write-ahead log after each commit, as a kill -9 there leaves them."""

    def __init__(self, path: Path, images: Path) -> None:
        self.images = images
        self.count = 0
        super().__init__(path)

    def _note_wal_pages(self, connection: apsw.Connection, name: str, pages: int) -> int:
        image = self.images / str(self.count)
        image.mkdir(parents=True)
        for suffix in ("", "-wal"):
            shutil.copy(f"{self._path}{suffix}", f"{image / 'state.db'}{suffix}")
        self.count += 1
        return super()._note_wal_pages(connection, name, pages)


def _log() -> list[LogEntry]:
    """Entries whose effects show it when one of them is applied twice, or not at all."""
    create = "CREATE TABLE t(a INTEGER PRIMARY KEY, b DEFAULT (random()))"
    log = [entry(1, anonymous(create, "CREATE TABLE total(n)", "INSERT INTO total VALUES(0)"))]
    for index in range(2, 12):
        named = Request(b"ann-0123", index, index, payload("INSERT INTO t DEFAULT VALUES"))
        log.append(entry(index, named, anonymous(f"UPDATE total SET n = 2 * n + {index}")))
    return log


def test_a_crash_after_any_commit_ends_in_the_same_content(tmp_path: Path) -> None:
    log = _log()
    # All named writes come again, as after a change of leaders: none may be applied twice.
    retries = [command for each in log for command in decode_command(each.data).requests]
    last = entry(len(log) + 1, *(retry for retry in retries if retry.client))
    machine = Photographed(tmp_path / "state.db", tmp_path / "images")
    for start in range(0, len(log), 3):
        machine.apply(log[start : start + 3])
    machine.apply([last])
    machine.close()
    right = content_digest(tmp_path / "state.db")
    assert machine.count > len(log) / 3
    for number in range(machine.count):
        path = tmp_path / "images" / str(number) / "state.db"
        again = Machine(path)
        again.apply([*log, last][again.applied[0] :])
        again.close()
        assert content_digest(path) == right, "applied once each, in spite of a crash"
