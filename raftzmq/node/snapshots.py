"""Takes snapshots of state.db in a thread, and opens and installs those of others.

Between two of its transactions the applier copies the WAL into state.db and holds the file still,
which this then copies as a file; see ``statemachine/held_file.py`` and docs/decisions/015.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from raftzmq.errors import NoRoom
from raftzmq.node.applier import Applier, HoldJob, InstallJob
from raftzmq.node.disk import DiskWatch
from raftzmq.node.gate import StateGate
from raftzmq.node.verifying import VerifiedMeanwhile
from raftzmq.replica.transfer import Partial
from raftzmq.statemachine.held_file import HeldFile
from raftzmq.statemachine.snapshot import SnapshotAbandoned, SnapshotTaken, take
from raftzmq.storage.snapshot_file import IncomingSnapshot
from raftzmq.wire.transfer import SnapshotOffer

PATIENCE_MS: Final = 100
"""The applier waits so long for readers of older snapshots before state.db is held. Short reads
are done by then; beside a long one state.db is copied by SQLite's online backup."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A snapshot file is ready to be sent."""

    source: FileSource


@dataclass(frozen=True, slots=True)
class TakeFailed:
    """No snapshot could be taken; the process must stop rather than go on with a bad disk."""

    error: BaseException


@dataclass(frozen=True, slots=True)
class NotTaken:
    """There was no room for a snapshot, or it was given up; it may be asked for again."""

    why: str


class FileSource:
    """An outgoing snapshot file; the name is removed at once, so a crash leaves nothing."""

    def __init__(self, path: Path, index: int, term: int, size: int, digest: bytes) -> None:
        self.index = index
        self.term = term
        self.size = size
        self.digest = digest
        self._file = os.open(path, os.O_RDONLY)
        path.unlink()

    def read(self, offset: int, count: int) -> bytes:
        """Bytes of the file from ``offset``."""
        return os.pread(self._file, count, offset)

    def remove(self) -> None:
        """Give the file's space back."""
        os.close(self._file)


class NodeSnapshots:
    """The SnapshotHost of a node.

    Args:
        folder: the data folder.
        gate: holds off installs while a snapshot is taken.
        post: hands Taken, NotTaken or TakeFailed to the raft thread.
    """

    def __init__(
        self, folder: Path, gate: StateGate, post: Callable[[Taken | NotTaken | TakeFailed], None]
    ) -> None:
        self._folder = folder
        self._gate = gate
        self._post = post
        self._applier: Applier | None = None
        self._disk: DiskWatch | None = None
        self._lock = threading.Lock()
        """Held while the thread is started: after ``stop`` none is."""
        self._thread: threading.Thread | None = None
        self._verifier: VerifiedMeanwhile | None = None
        self._stopping = False

    def bind(self, applier: Applier) -> None:
        """Name the applier, which carries out installs."""
        self._applier = applier

    def watch_room(self, disk: DiskWatch) -> None:
        """Name who knows how much room there is; until then, there is enough."""
        self._disk = disk

    def take(self) -> None:
        """Start a thread that copies state.db and posts Taken.

        A copy that would eat into the reserve is not begun: it would cost this node leadership.
        """
        size = sum(
            path.stat().st_size
            for path in (self._gate.path, self._gate.path.with_name(self._gate.path.name + "-wal"))
            if path.exists()
        )
        if self._disk is not None and not self._disk.free_for(
            "a snapshot for another node", size, self._disk.policy.reserve_bytes
        ):
            self._post(NotTaken("it would not fit"))
            return
        self._begin()

    def _begin(self, patience_ms: int = PATIENCE_MS) -> None:
        assert self._applier is not None
        self._applier.hold_file(HoldJob(patience_ms, self._held))

    def _held(self, held: HeldFile | None) -> None:
        """The applier holds state.db still, or cannot now; it waits until this returns."""
        with self._lock:
            if self._stopping:
                if held is not None:
                    held.close()
                return
            if held is not None:
                # An install before the copy begins, or during it, ends it.
                self._gate.register(held)
            self._run(lambda: self._take(held))

    def _run(self, copy: Callable[[], None]) -> None:
        """Copy in a thread of its own; a host without threads copies when it sees fit."""
        self._thread = threading.Thread(target=copy, name="snapshot")
        self._thread.start()

    @property
    def taking(self) -> bool:
        """Whether state.db is being copied now."""
        return self._thread is not None and self._thread.is_alive()

    def stop(self) -> None:
        """Give up what is being copied or verified, and wait for the threads.

        Before the applier's end: the machine closes the file that is being copied.
        """
        with self._lock:
            self._stopping = True
        if self._thread is not None:
            self._thread.join()
        if self._verifier is not None:
            self._verifier.stop()

    def open_partial(self, offer: SnapshotOffer) -> Partial:
        """The file for ``offer``; continues one with the same digest.

        Raises:
            NoRoom: the rest of it would not fit.
        """
        self._verifier = VerifiedMeanwhile(self._open(offer))
        return self._verifier

    def _open(self, offer: SnapshotOffer) -> IncomingSnapshot:
        partial = IncomingSnapshot.open(
            self._folder,
            index=offer.index,
            term=offer.snapshot_term,
            size=offer.size,
            digest=offer.digest,
        )
        missing = offer.size - partial.received_bytes
        if self._disk is not None and not self._disk.free_for(
            f"the copy of state.db that {offer.sender} offers",
            missing,
            self._disk.policy.critical_bytes,
        ):
            partial.discard()
            raise NoRoom("the offered snapshot does not fit")
        return partial

    def install(self, offer: SnapshotOffer, partial: Partial, *, rebuild: bool = False) -> None:
        """Hand the whole file to the applier, which verifies it and swaps it in."""
        assert isinstance(partial, VerifiedMeanwhile)
        assert self._applier is not None
        self._applier.install(
            InstallJob(
                snapshot=offer.snapshot(),
                sender=offer.sender,
                term=offer.term,
                verify=partial.verify,
                swap=partial.install,
                rebuild=rebuild,
            )
        )

    def _is_stopping(self) -> bool:
        return self._stopping

    def _copy(self, held: HeldFile | None, path: Path) -> SnapshotTaken:
        if held is None:
            return take(self._gate.path, path, stopping=self._is_stopping)
        try:
            return take(self._gate.path, path, held=held, stopping=self._is_stopping)
        finally:
            # Whatever went wrong: the WAL of state.db grows as long as the file is held.
            self._gate.forget(held)
            held.close()

    def _take(self, held: HeldFile | None) -> None:
        path = self._folder / "outgoing.snapshot"
        try:
            with self._gate.reading():
                copy = self._copy(held, path)
            source = FileSource(path, copy.applied_index, copy.applied_term, copy.size, copy.digest)
        except SnapshotAbandoned as error:
            self._post(NotTaken(str(error)))
            return
        except NoRoom as error:
            self._post(NotTaken(str(error)))
            return
        except Exception as error:  # noqa: BLE001 - reported to the raft thread, which stops
            self._post(TakeFailed(error))
            return
        self._post(Taken(source))
