"""A node's snapshots: state.db is held by the applier, copied in a thread, and let go whatever
comes; one that comes in is verified meanwhile."""

from __future__ import annotations

import hashlib
import queue
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from raftzmq.errors import StorageDamaged
from raftzmq.node import snapshots as node_snapshots
from raftzmq.node.applier import Applied, Applier, InstallJob, Report
from raftzmq.node.gate import StateGate
from raftzmq.node.snapshots import FileSource, NodeSnapshots, NotTaken, TakeFailed, Taken
from raftzmq.node.verifying import VerifiedMeanwhile
from raftzmq.raft.types import Configuration, Entry, EntryKind, Snapshot
from raftzmq.statemachine.digest import Pinned, content_digest
from raftzmq.statemachine.held_file import HeldFile
from raftzmq.statemachine.machine import LogEntry, Machine
from raftzmq.storage.snapshot_file import IncomingSnapshot

WAIT_S = 30.0


class Host:
    """An applier without its thread, and copies that are made when the test says."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "state.db"
        self.gate = StateGate(self.path)
        self.reports: queue.SimpleQueue[Report] = queue.SimpleQueue()
        self.mail: queue.SimpleQueue[Taken | NotTaken | TakeFailed] = queue.SimpleQueue()
        self.machine = Machine(self.path)
        self.applier = Applier(self.path, self.machine, Machine, self.reports.put, self.gate)
        self.snapshots = LaterSnapshots(folder, self.gate, self.mail.put)
        self.snapshots.bind(self.applier)
        self.index = 0

    def write(self, count: int = 1) -> None:
        first = self.index + 1
        self.index += count
        self.applier.apply(
            [Entry(at, 1, EntryKind.NOOP, b"") for at in range(first, self.index + 1)]
        )
        assert self.applier.work()

    def take(self) -> HeldFile | None:
        """Ask for one, and let the applier come to it."""
        self.snapshots.take()
        while self.applier.work():
            pass
        return self.snapshots.holding

    def copied(self) -> FileSource:
        self.snapshots.copy()
        found = self.mail.get_nowait()
        assert isinstance(found, Taken), found
        return found.source

    def close(self) -> None:
        self.snapshots.stop()
        self.applier.stop()


class LaterSnapshots(NodeSnapshots):
    """Copies when ``copy`` is called."""

    holding: HeldFile | None = None
    copy: Callable[[], None]

    def _held(self, held: HeldFile | None) -> None:
        self.holding = held
        super()._held(held)

    def _run(self, copy: Callable[[], None]) -> None:
        self.copy = copy


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    made = Host(tmp_path)
    made.write(5)
    yield made
    made.close()


def test_the_copy_is_of_the_moment_when_the_applier_held_the_file(
    host: Host, tmp_path: Path
) -> None:
    digest = content_digest(host.path)
    held = host.take()
    assert held is not None
    for _ in range(3):
        host.write(3)
        host.applier.checkpoint()
        host.applier.work()
    source = host.copied()
    assert (source.index, source.term) == (digest[0], 1)
    content = source.read(0, source.size)
    assert hashlib.blake2b(content, digest_size=32).digest() == source.digest
    (tmp_path / "copy.db").write_bytes(content)
    assert content_digest(tmp_path / "copy.db") == digest
    assert not held.is_open
    source.remove()


def test_it_is_taken_after_what_was_committed_before(host: Host) -> None:
    host.applier.apply([Entry(6, 1, EntryKind.NOOP, b"")])
    host.snapshots.take()
    while host.applier.work():
        pass
    host.index = 6
    source = host.copied()
    assert source.index == 6
    source.remove()


def test_beside_a_long_read_it_is_copied_by_sqlite(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_snapshots, "PATIENCE_MS", 20)
    reader = Pinned(host.path)
    host.write()
    assert host.take() is None
    host.write()
    source = host.copied()
    # As of the copy and not of the request, since nothing held it.
    assert source.index == 7
    source.remove()
    reader.close()


@pytest.mark.parametrize("when", ["before", "during"])
def test_an_install_ends_a_copy(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    other = tmp_path / "other.db"
    machine = Machine(other)
    machine.apply([LogEntry(at, 1, b"") for at in range(1, 21)])
    machine.close()
    held = host.take()
    assert held is not None

    def install() -> None:
        host.applier.install(
            InstallJob(
                snapshot=Snapshot(
                    index=20, term=1, configuration=Configuration(voters=frozenset(("n1",)))
                ),
                sender="n2",
                term=1,
                verify=lambda: None,
                swap=lambda: swap(other, host.path),
                rebuild=False,
            )
        )
        while host.applier.work():
            pass

    if when == "before":
        install()
        assert not held.is_open
        host.snapshots.copy()
    else:
        # The install waits for the copy, which it interrupts.
        installing = threading.Thread(target=install)
        copy = HeldFile.copy

        def begun(self: HeldFile, path_out: Path, stopping: Callable[[], bool]) -> bool:
            installing.start()
            while not self._stop:
                pass
            return copy(self, path_out, stopping)

        monkeypatch.setattr(HeldFile, "copy", begun)
        host.snapshots.copy()
        installing.join(WAIT_S)
    assert isinstance(host.mail.get_nowait(), NotTaken)
    assert content_digest(host.path)[0] == 20
    # And the next one is of the new state.
    monkeypatch.undo()
    assert host.take() is not None
    source = host.copied()
    assert source.index == 20
    source.remove()


def swap(source: Path, target: Path) -> None:
    for suffix in ("-wal", "-shm"):
        target.with_name(target.name + suffix).unlink(missing_ok=True)
    source.replace(target)


def test_a_copy_that_fails_lets_the_file_go(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    held = host.take()
    assert held is not None

    def fail(*_: object) -> bool:
        raise MemoryError

    monkeypatch.setattr(HeldFile, "copy", fail)
    host.snapshots.copy()
    assert isinstance(host.mail.get_nowait(), TakeFailed)
    assert not held.is_open


def test_a_copy_that_cannot_begin_lets_the_file_go(host: Host) -> None:
    held = host.take()
    assert held is not None
    (host.path.parent / "outgoing.snapshot").mkdir()
    host.snapshots.copy()
    assert isinstance(host.mail.get_nowait(), TakeFailed)
    assert not held.is_open
    host.write()
    assert host.take() is not None


def test_after_a_stop_nothing_is_held(host: Host) -> None:
    host.snapshots.take()
    host.snapshots.stop()
    while host.applier.work():
        pass
    held = host.snapshots.holding
    assert held is not None
    assert not held.is_open


def test_a_stop_ends_a_copy_in_its_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = threading.Event()

    def copy(self: HeldFile, path_out: Path, stopping: Callable[[], bool]) -> bool:
        begun.set()
        while not stopping():
            pass
        return False

    monkeypatch.setattr(HeldFile, "copy", copy)
    host = Host(tmp_path)
    host.snapshots = NodeSnapshots(tmp_path, host.gate, host.mail.put)  # type: ignore[assignment]
    host.snapshots.bind(host.applier)
    host.write()
    host.applier.start()
    host.snapshots.take()
    assert begun.wait(WAIT_S)
    host.close()
    assert isinstance(host.mail.get_nowait(), NotTaken)
    assert isinstance(host.reports.get_nowait(), Applied)


# --- one that comes in ------------------------------------------------------------------------

CONTENT = bytes(range(256)) * 20_000


def incoming(folder: Path, content: bytes = CONTENT) -> IncomingSnapshot:
    digest = hashlib.blake2b(CONTENT, digest_size=32).digest()
    return IncomingSnapshot.open(folder, index=1, term=1, size=len(content), digest=digest)


def receive(partial: VerifiedMeanwhile, content: bytes = CONTENT, piece: int = 300_000) -> None:
    while partial.received_bytes < len(content):
        at = partial.received_bytes
        data = content[at : at + piece]
        partial.append(at, data, zlib.crc32(data))


def test_it_is_read_while_it_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = threading.Event()
    inner = incoming(tmp_path)
    more, read = inner.verify_more, 0

    def counted() -> bool:
        nonlocal read
        found = more()
        read += found
        if inner._hashed == len(CONTENT):
            whole.set()
        return found

    monkeypatch.setattr(inner, "verify_more", counted)
    partial = VerifiedMeanwhile(inner)
    receive(partial)
    assert whole.wait(WAIT_S)
    assert read >= len(CONTENT) >> 18
    partial.verify()
    partial.discard()


@pytest.mark.parametrize("at", [0, 3_000_000, len(CONTENT) - 1])
def test_a_wrong_byte_is_found(tmp_path: Path, at: int) -> None:
    wrong = bytearray(CONTENT)
    wrong[at] ^= 1
    partial = VerifiedMeanwhile(incoming(tmp_path))
    receive(partial, bytes(wrong))
    with pytest.raises(StorageDamaged):
        partial.verify()
    assert list((tmp_path / "incoming").iterdir()) == []


def test_what_was_here_before_is_read_as_well(tmp_path: Path) -> None:
    wrong = b"\1" + CONTENT[1:1_500_000]
    partial = VerifiedMeanwhile(incoming(tmp_path))
    receive(partial, wrong)
    partial.close()
    partial = VerifiedMeanwhile(incoming(tmp_path))
    assert partial.received_bytes == 1_500_000
    receive(partial)
    with pytest.raises(StorageDamaged):
        partial.verify()


def test_what_cannot_be_read_meanwhile_is_said_by_verify(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = incoming(tmp_path)

    def fail() -> bool:
        raise OSError(5, "no")

    monkeypatch.setattr(inner, "verify_more", fail)
    partial = VerifiedMeanwhile(inner)
    receive(partial)
    partial.verify()
    partial.discard()
