"""State.db is hashed at the very index of a CHECKSUM entry, while later ones are applied."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import msgpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raftzmq.invariants import InvariantBroken
from raftzmq.node import content_checks
from raftzmq.node.applier import Applied, Applier, Failed, Installed, InstallJob, Report
from raftzmq.node.content_checks import ContentChecks, Hashed, HashFailed
from raftzmq.node.gate import StateGate
from raftzmq.raft.types import Configuration, Entry, EntryKind, LogPosition, Snapshot
from raftzmq.replica.judge import NOT_HASHED
from raftzmq.statemachine.bounds import ApplyLimits
from raftzmq.statemachine.command import Request, encode_command
from raftzmq.statemachine.database import damaged
from raftzmq.statemachine.digest import DigestAbandoned, Pinned, content_digest
from raftzmq.statemachine.machine import LogEntry, Machine
from raftzmq.statemachine.snapshot import take

CLOCK_MS = 1_700_000_000_000
WAIT_S = 30.0


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def command(index: int, *sql: str) -> Entry:
    request = Request(b"client", index, 0, msgpack.packb([[one, []] for one in sql]))
    data = encode_command(
        clock_ms=CLOCK_MS + index, seed=index, requests=[request], limits=ApplyLimits()
    )
    return Entry(index, 1, EntryKind.COMMAND, data)


def checksum(index: int) -> Entry:
    return Entry(index, 1, EntryKind.CHECKSUM, b"")


CREATE = command(1, "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT DEFAULT CURRENT_TIMESTAMP, r)")


def insert(index: int) -> Entry:
    return command(index, f"INSERT INTO t (id, r) VALUES ({index}, random())")


class Host:
    """An applier with its checks, in a folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.path = folder / "state.db"
        self.gate = StateGate(self.path)
        self.mail: queue.Queue[Report | Hashed | HashFailed] = queue.Queue()
        self.checks = ContentChecks(self.gate, self.mail.put)
        self.applier = Applier(
            self.path, Machine(self.path), Machine, self.mail.put, self.gate, self.checks.reached
        )
        self.applier.start()
        self.seen: list[Report | Hashed | HashFailed] = []

    def until(self, done: type | int) -> Report | Hashed | HashFailed:
        """Take mail until something of a type came, or an index is applied."""
        while True:
            item = self.mail.get(timeout=WAIT_S)
            self.seen.append(item)
            if isinstance(item, Failed | HashFailed):
                raise item.error
            if isinstance(done, type) and isinstance(item, done):
                return item
            if isinstance(item, Applied) and item.results[-1].index == done:
                return item

    def hashes(self, count: int) -> dict[int, bytes]:
        found: dict[int, bytes] = {}
        for item in self.seen:
            if isinstance(item, Hashed):
                found[item.position.index] = item.digest
        while len(found) < count:
            item = self.until(Hashed)
            assert isinstance(item, Hashed)
            found[item.position.index] = item.digest
        return found

    def close(self) -> None:
        self.applier.stop()
        self.checks.stop()


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    made = Host(tmp_path)
    yield made
    made.close()


def test_the_digest_is_that_of_the_index_though_later_entries_came_with_it(host: Host) -> None:
    host.applier.apply([CREATE, insert(2), checksum(3), insert(4), insert(5)])
    host.until(5)
    (digest,) = host.hashes(1).values()
    assert content_digest(host.path)[1] != digest.hex(), "two rows came after the entry"
    alone = Machine(host.path.with_name("alone.db"))
    alone.apply([LogEntry(e.index, e.term, e.data) for e in (CREATE, insert(2))])
    alone.apply([LogEntry(3, 1, b"")])
    alone.close()
    assert content_digest(host.path.with_name("alone.db")) == (3, digest.hex())


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_equal_logs_give_equal_digests_however_they_are_grouped(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    kinds = data.draw(st.lists(st.sampled_from("iiiuudc"), min_size=5, max_size=40))
    log = [CREATE]
    for index, kind in enumerate(kinds, 2):
        log.append(
            {
                "i": insert(index),
                "u": command(index, "UPDATE t SET r = random(), v = datetime('now')"),
                "d": command(index, "DELETE FROM t WHERE id % 3 = 0"),
                "c": checksum(index),
            }[kind]
        )
    log.append(checksum(len(log) + 1))
    found = []
    for _ in range(2):
        host = Host(tmp_path_factory.mktemp("replica"))
        try:
            rest = list(log)
            while rest:
                count = data.draw(st.integers(1, len(rest)))
                host.applier.apply(rest[:count])
                rest = rest[count:]
            host.until(log[-1].index)
            checks = sum(entry.kind is EntryKind.CHECKSUM for entry in log)
            found.append(host.hashes(checks))
        finally:
            host.close()
    first, second = found
    assert first.keys() == second.keys()
    # A check that came while another was hashed is skipped; one of them at least was not.
    both = [i for i in first if NOT_HASHED not in (first[i], second[i])]
    assert all(first[index] == second[index] for index in both)
    assert any(digest != NOT_HASHED for digest in first.values())


class Slow(Pinned):
    """A snapshot whose hash ends when the test says so, or when it is interrupted."""

    go = threading.Event()

    def digest(self, pause: Callable[[], None] = lambda: None) -> str:
        while not self.go.wait(0.01):
            if self._stop:
                raise DigestAbandoned
        return super().digest(pause)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    Slow.go = threading.Event()
    monkeypatch.setattr(content_checks, "Pinned", Slow)
    return Slow.go


def test_entries_are_applied_while_a_hash_runs_and_change_nothing_of_it(
    host: Host, slow: threading.Event
) -> None:
    host.applier.apply([CREATE, insert(2), checksum(3)])
    host.until(3)
    _, expected = content_digest(host.path)
    host.applier.apply([insert(4)])
    host.until(4)
    assert not any(isinstance(item, Hashed) for item in host.seen)
    slow.set()
    assert host.hashes(1) == {3: bytes.fromhex(expected)}


def test_a_check_that_comes_while_one_runs_is_answered_at_once(
    host: Host, slow: threading.Event
) -> None:
    host.applier.apply([CREATE, checksum(2), checksum(3), checksum(4)])
    assert host.hashes(2) == {3: NOT_HASHED, 4: NOT_HASHED}
    slow.set()
    assert host.hashes(3)[2] != NOT_HASHED
    host.applier.apply([checksum(5)])
    assert host.hashes(4)[5] != NOT_HASHED, "the next one is hashed again"


def snapshot_of(host: Host, name: str) -> tuple[Path, int]:
    file = host.path.with_name(name)
    return file, take(host.path, file).applied_index


def job(file: Path, index: int, host: Host, *, rebuild: bool) -> InstallJob:
    def swap() -> None:
        for suffix in ("-wal", "-shm"):
            host.path.with_name(host.path.name + suffix).unlink(missing_ok=True)
        file.replace(host.path)

    return InstallJob(
        snapshot=Snapshot(
            index=index, term=1, configuration=Configuration(voters=frozenset({"n1"}))
        ),
        sender="n2",
        term=1,
        verify=lambda: None,
        swap=swap,
        rebuild=rebuild,
    )


def test_an_install_ends_a_hash_that_runs_and_waits_for_its_end(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A snapshot closed after the swap would take the new file's WAL with it."""
    swapped = threading.Event()
    swapped_too_early: list[bool] = []

    class Stubborn(Pinned):
        def digest(self, pause: Callable[[], None] = lambda: None) -> str:
            while not self._stop:
                swapped.wait(0.01)
            swapped_too_early.append(swapped.wait(0.2))
            raise DigestAbandoned

    monkeypatch.setattr(content_checks, "Pinned", Stubborn)
    host.applier.apply([CREATE, insert(2)])
    host.until(2)
    file, index = snapshot_of(host, "copy.db")
    host.applier.apply([checksum(3)])
    host.until(3)
    plain = job(file, index, host, rebuild=True)

    def swap() -> None:
        swapped.set()
        plain.swap()

    host.applier.install(replace(plain, swap=swap))
    host.until(Installed)
    assert host.hashes(1) == {3: NOT_HASHED}
    assert swapped_too_early == [False]


def test_a_stop_ends_a_hash_that_runs(tmp_path: Path, slow: threading.Event) -> None:
    host = Host(tmp_path)
    host.applier.apply([CREATE, checksum(2)])
    host.until(2)
    host.close()
    assert host.hashes(1) == {2: NOT_HASHED}


def test_content_that_cannot_be_read_differs_from_any(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.applier.apply([CREATE, *[insert(index) for index in range(2, 40)]])
    host.until(39)

    class Damaged(Pinned):
        def digest(self, pause: Callable[[], None] = lambda: None) -> str:
            raise damaged(host.path, "database disk image is malformed")

    monkeypatch.setattr(content_checks, "Pinned", Damaged)
    host.applier.apply([checksum(40)])
    first = host.hashes(1)[40]
    host.applier.apply([checksum(41)])
    second = host.hashes(2)[41]
    assert NOT_HASHED not in (first, second)
    assert first != second


def test_a_rebuild_replaces_a_state_that_is_ahead_and_the_log_is_applied_again(
    host: Host,
) -> None:
    log = [CREATE, *[insert(index) for index in range(2, 9)]]
    host.applier.apply(log[:4])
    host.until(4)
    file, index = snapshot_of(host, "copy.db")
    host.applier.apply(log[4:6])
    host.until(6)
    host.applier.install(job(file, index, host, rebuild=True))
    # Committed before raft heard of the install: it lies beyond a gap now.
    host.applier.apply(log[6:7])
    report = host.until(Installed)
    assert isinstance(report, Installed)
    assert report.swapped
    host.applier.apply(log[4:7])
    host.applier.apply([*log[7:], checksum(9)])
    host.until(9)
    digest = host.hashes(1)[9]
    straight = Machine(host.path.with_name("straight.db"))
    straight.apply([LogEntry(e.index, e.term, e.data) for e in log])
    straight.close()
    assert content_digest(host.path.with_name("straight.db"))[1] == digest.hex()


def test_without_a_rebuild_a_snapshot_that_is_no_news_replaces_nothing(host: Host) -> None:
    host.applier.apply([CREATE, insert(2)])
    host.until(2)
    file, index = snapshot_of(host, "copy.db")
    host.applier.apply([insert(3)])
    host.until(3)
    host.applier.install(job(file, index, host, rebuild=False))
    report = host.until(Installed)
    assert isinstance(report, Installed)
    assert not report.swapped
    assert content_digest(host.path)[0] == 3


def test_a_gap_without_a_rebuild_is_still_a_broken_invariant(host: Host) -> None:
    host.applier.apply([CREATE])
    host.until(1)
    host.applier.apply([insert(3)])
    with pytest.raises(InvariantBroken, match="applied in order"):
        host.until(3)


def test_an_interrupted_snapshot_gives_no_digest(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "state.db")
    machine.apply([LogEntry(CREATE.index, 1, CREATE.data)])
    pinned = Pinned(tmp_path / "state.db")
    assert pinned.applied_index == 1
    pinned.interrupt()
    with pytest.raises(DigestAbandoned):
        pinned.digest()
    pinned.close()
    machine.close()


def test_a_hash_pauses_between_steps_and_comes_to_the_same(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "state.db")
    rows = command(2, "INSERT INTO t (v) SELECT hex(zeroblob(60000)) FROM (VALUES (1), (2), (3))")
    machine.apply([LogEntry(each.index, 1, each.data) for each in (CREATE, rows)])
    pauses: list[None] = []
    pinned = Pinned(tmp_path / "state.db")
    digest = pinned.digest(lambda: pauses.append(None))
    pinned.close()
    machine.close()
    assert (2, digest) == content_digest(tmp_path / "state.db")
    assert len(pauses) >= 3


def test_positions_name_the_entry(host: Host) -> None:
    host.applier.apply([CREATE, Entry(2, 7, EntryKind.CHECKSUM, b"")])
    item = host.until(Hashed)
    assert isinstance(item, Hashed)
    assert item.position == LogPosition(2, 7)


def test_a_digest_is_told_before_what_was_hashed_is_replaced(host: Host) -> None:
    """Told later, it would be taken for the digest of what took its place."""
    held: list[int] = []
    checks = ContentChecks(host.gate, lambda report: held.append(host.gate._running))
    host.applier.apply([CREATE])
    host.until(1)
    checks.reached(LogPosition(1, 1))
    assert checks._thread is not None
    checks._thread.join()
    assert held == [1]
    assert host.gate._running == 0
