"""The applier thread: the only writer of state.db.

It takes committed entries in order, a group per transaction, and posts what came of them to
the raft thread. An UPDATE that runs for seconds runs here, so neither heartbeats nor reads
notice it; what is done sooner than a thread is woken the raft thread does by itself, while this
one sleeps (``Applier.apply_here``). Where there are fewer processors than threads they would
notice, so a thread that is long at one request is made nice. It stays nice (see niceness.py), so
another one takes over after that.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from raftzmq import limits
from raftzmq.errors import NoRoom, StorageDamaged, StorageFailed
from raftzmq.node.gate import StateGate
from raftzmq.node.niceness import NICE, LongWork, be_nice
from raftzmq.node.short_turns import ShortTurns
from raftzmq.raft.types import Entry, EntryKind, LogPosition, Snapshot
from raftzmq.statemachine.held_file import HeldFile
from raftzmq.statemachine.machine import Doing, EntryResult, LogEntry, Machine
from raftzmq.transport.clock import monotonic_ms

_MAY_BE_SHORT: Final = (EntryKind.COMMAND, EntryKind.NOOP)
NO_ROOM_WAIT_S = 5.0
"""An entry for which there was no room is tried again at the latest after so long."""


@dataclass(frozen=True, slots=True)
class Applied:
    """Results of a group of entries, in log order; readers see them from now on."""

    results: list[EntryResult]


@dataclass(frozen=True, slots=True)
class Checkpointed:
    """state.db holds everything up to ``index`` durably."""

    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """A snapshot from ``sender`` took the place of state.db, or was refused (``why``)."""

    snapshot: Snapshot
    sender: str
    term: int
    why: str | None
    swapped: bool
    """False: refused, or not needed because state.db was as far already."""


@dataclass(frozen=True, slots=True)
class Failed:
    """state.db is of no use. StorageDamaged: until a snapshot took its place, and until then
    the applier passes entries over. Any other error: the process must stop."""

    error: BaseException


@dataclass(frozen=True, slots=True)
class Stuck:
    """There is no room to apply an entry; it is tried again. None: it was applied."""

    why: str | None


@dataclass(frozen=True, slots=True)
class Tired:
    """The thread was made nice and rests between two entries; ``Applier.relieve`` it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallJob:
    """Put a completely received snapshot file in the place of state.db."""

    snapshot: Snapshot
    sender: str
    term: int
    verify: Callable[[], None]
    """Reads the file and compares its digest; raises StorageDamaged when it is not whole."""
    swap: Callable[[], None]
    """Puts the verified file in the place of state.db, durably."""
    rebuild: bool
    """state.db is wrong: it is replaced also where it is ahead of the snapshot."""


@dataclass(frozen=True, slots=True)
class HoldJob:
    """Hold state.db still, to be copied."""

    patience_ms: int
    """See ``Machine.hold_file``."""
    held: Callable[[HeldFile | None], None]
    """Called by the applier's thread, which waits meanwhile. None: it could not be held now."""


_Item: TypeAlias = list[Entry] | InstallJob | HoldJob | str
Report: TypeAlias = Applied | Checkpointed | Installed | Failed | Stuck | Tired


class Applier:
    """Owns the machine; all methods are called by the raft thread.

    Args:
        path: state.db.
        machine: the machine opened on it at start.
        open_machine: opens another one on the same path, after an install.
        post: hands a Report to the raft thread; must not block.
        gate: keeps readers away from state.db during an install.
        reached_checksum: called by the applier's thread right after the transaction that ended
            with a CHECKSUM entry; nothing later is written before it returns.
        clock_ms: monotonic.
    """

    def __init__(
        self,
        path: Path,
        machine: Machine,
        open_machine: Callable[[Path], Machine],
        post: Callable[[Report], None],
        gate: StateGate,
        reached_checksum: Callable[[LogPosition], None] = lambda position: None,
        clock_ms: Callable[[], int] = monotonic_ms,
    ) -> None:
        self._reached_checksum = reached_checksum
        self._turns = ShortTurns(clock_ms)
        self._given = self._taken = self._done = 0
        self._awaits_next = False
        self._was_replaced = False
        self._path = path
        self._machine = machine
        self._open_machine = open_machine
        self._post = post
        self._gate = gate
        self._inbox: queue.SimpleQueue[_Item] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._room_again = threading.Event()
        self._is_stuck = False
        self._long_work = LongWork()
        self._is_nice = False
        self._relieved = threading.Event()
        self._next: deque[_Item] = deque()
        self._is_damaged = False
        self._thread = threading.Thread(target=self._run, name="applier")

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def tick(self, now_ms: int) -> None:
        """Make the thread nice if it has been at one request for long. Call it once per tick."""
        doing = self._machine.doing
        is_long = self._long_work.is_long(None if doing is None else doing[0], now_ms)
        thread = self._thread.native_id
        if is_long and not self._is_nice and thread is not None:
            # It lives: before it ends it waits for ``_relieved``, which is set by this thread.
            be_nice(NICE, thread)
            self._is_nice = True

    def relieve(self) -> None:
        """After ``Tired``: go on with a thread that is as nice as the calling one."""
        self._relieved.set()
        self._thread.join()
        self._relieved.clear()
        self._is_nice = False
        self._thread = threading.Thread(target=self._run, name="applier")
        self._thread.start()

    def apply(self, entries: list[Entry]) -> None:
        """Queue committed entries, in log order."""
        self._give(entries)

    def apply_here(self, entries: Sequence[Entry], heard_index: int) -> Applied | None:
        """Apply committed entries in the calling thread, if that is quickly done.

        The applier's thread must have nothing to do, and then has nothing before the next call:
        whoever calls this is the only one to give it work. And the caller must have heard of all
        that it did: else it would hear of earlier entries after later ones (simulator seed 854 on
        5 nodes).

        Args:
            entries: as for ``apply``.
            heard_index: applied index as of the reports that the caller has taken.

        Returns:
            None: nothing happened, ``apply`` them.

        Raises:
            StorageFailed: the process must stop.
        """
        if self._given != self._done or not self._may_apply_here(entries, heard_index):
            return None
        try:
            with self._turns.measured():
                results = self._machine.apply_short([_log_entry(entry) for entry in entries])
        except NoRoom:
            return None  # whose wait for room is the business of the applier's thread
        except StorageDamaged as error:
            self._damaged(error)
            return None
        return None if results is None else Applied(results)

    def checkpoint(self) -> None:
        """Queue a checkpoint of state.db; answered by Checkpointed."""
        self._give("checkpoint")

    def install(self, job: InstallJob) -> None:
        """Queue an install; entries up to the snapshot's index are skipped from then on."""
        self._give(job)

    def hold_file(self, job: HoldJob) -> None:
        """Queue it; answered by ``job.held``, unless the applier stops before."""
        self._give(job)

    def work(self) -> bool:
        """Carry out what is queued, in the caller's thread; for a host that never starts this one.

        Returns:
            False when nothing was queued.

        Raises:
            RaftzmqError: the applier cannot go on; the process must stop.
        """
        if not self._next and self._inbox.empty():
            return False
        self._work_on_next()
        return True

    @property
    def doing(self) -> tuple[Doing, int] | None:
        """``Machine.doing`` of the machine in use."""
        return self._machine.doing

    def try_again(self) -> None:
        """There may be room for the entry that did not fit."""
        self._room_again.set()

    def stop(self) -> None:
        """Stop after the transaction that runs now, interrupting it; waits for the thread.

        What was not applied is applied again from the log at the next start.
        """
        self._stopping.set()
        self._room_again.set()
        self._relieved.set()
        self._machine.interrupt()
        self._inbox.put("stop")
        if self._thread.ident is not None:  # else it could not be started
            self._thread.join()
        self._close_machine()

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._work_on_next()
                if self._is_nice:
                    self._post(Tired())
                    self._relieved.wait()
                    return
        except Exception as error:  # noqa: BLE001 - reported to the raft thread, which stops
            if not self._stopping.is_set():
                if isinstance(error, StorageDamaged):
                    # Nobody carries out what is queued any more, so no snapshot helps.
                    error = StorageFailed(str(error))
                self._post(Failed(error))
                self._relieved.wait()

    def _give(self, item: _Item) -> None:
        self._given += 1
        self._inbox.put(item)

    def _work_on_next(self) -> None:
        if self._next:
            item = self._next.popleft()
        else:
            item = self._inbox.get()
            self._taken += 1
        self._take(item)
        if not self._next:
            # Last: from here on the machine may be used by ``apply_here``.
            self._done = self._taken

    def _may_apply_here(self, entries: Sequence[Entry], heard_index: int) -> bool:
        return (
            not (self._is_damaged or self._was_replaced)
            and self._turns.allowed
            and entries[0].index == heard_index + 1 == self._machine.applied[0] + 1
            and all(entry.kind in _MAY_BE_SHORT for entry in entries)
        )

    def _close_machine(self) -> None:
        try:
            self._machine.close()
        except StorageFailed as error:
            self._post(Failed(error))

    def _take(self, item: _Item) -> None:
        if isinstance(item, list):
            group, after = self._gather(item)
            left = self._apply(group)
            self._next.extendleft(each for each in (after, left) if each)
        elif isinstance(item, InstallJob):
            self._install(item)
        elif isinstance(item, HoldJob):
            self._hold_file(item)
        elif item == "checkpoint":
            self._checkpoint()

    def _gather(self, first: list[Entry]) -> tuple[list[Entry], InstallJob | HoldJob | str | None]:
        """Join what else is committed already; a bigger transaction costs less per entry."""
        group = list(first)
        while not self._next and len(group) < limits.APPLY_GROUP_ENTRIES_MAX:
            try:
                item = self._inbox.get_nowait()
            except queue.Empty:
                return group, None
            self._taken += 1
            if not isinstance(item, list):
                return group, item
            group.extend(item)
        return group, None

    def _apply(self, entries: Sequence[Entry]) -> list[Entry]:
        """Apply them; returns those that are left to another thread."""
        if self._is_damaged:
            return []
        try:
            return self._apply_fresh(entries)
        except StorageDamaged as error:
            self._damaged(error)
            return []

    def _apply_fresh(self, entries: Sequence[Entry]) -> list[Entry]:
        fresh = self._fresh(entries)
        for group in _transactions(fresh):
            if self._is_nice:
                return [entry for entry in fresh if entry.index >= group[0].index]
            rest = [_log_entry(entry) for entry in group]
            while rest:
                if self._stopping.is_set():
                    return []
                rest = rest[self._apply_group(rest) :]
            last = group[-1]
            if last.kind is EntryKind.CHECKSUM:
                self._reached_checksum(LogPosition(last.index, last.term))
        return []

    def _fresh(self, entries: Sequence[Entry]) -> list[Entry]:
        """Those of ``entries`` that are not applied, each once.

        After an install the same entries may come twice, and within one group: what was
        committed before raft heard of the install, and what it handed out again after. If
        state.db went back, the former lie beyond a gap that the latter fill.
        """
        fresh: list[Entry] = []
        last = self._machine.applied[0]
        for entry in entries:
            if entry.index <= last or (self._awaits_next and entry.index != last + 1):
                continue
            fresh.append(entry)
            last = entry.index
        self._awaits_next = self._awaits_next and not fresh
        self._was_replaced = self._was_replaced and not fresh
        return fresh

    def _apply_group(self, group: list[LogEntry]) -> int:
        """Apply them, some of them, or wait a while for room and apply none; says how many.

        Nothing of an entry was promised before it is applied, and nothing of it is kept when
        there is no room, so it may be tried as often as it takes (docs/decisions/006).
        """
        self._room_again.clear()
        try:
            return len(self._machine.apply(group, self._committed))
        except NoRoom as error:
            if not self._is_stuck:
                self._is_stuck = True
                self._post(Stuck(str(error)))
            self._room_again.wait(NO_ROOM_WAIT_S)
            return 0

    def _committed(self, results: list[EntryResult]) -> None:
        if self._is_stuck:
            self._is_stuck = False
            self._post(Stuck(None))
        self._post(Applied(results))

    def _damaged(self, error: StorageDamaged) -> None:
        self._is_damaged = True
        if self._is_stuck:
            # Entries are passed over from now on, so nothing waits for room.
            self._is_stuck = False
            self._post(Stuck(None))
        self._post(Failed(error))

    def _checkpoint(self) -> None:
        if self._is_damaged:
            return
        try:
            self._post(Checkpointed(self._machine.checkpoint()))
        except NoRoom:
            return  # the log is not compacted, and the next checkpoint makes up for this one
        except StorageDamaged as error:
            self._damaged(error)

    def _hold_file(self, job: HoldJob) -> None:
        held = None
        if not self._is_damaged:
            try:
                held = self._machine.hold_file(job.patience_ms)
            except NoRoom:
                pass  # for the commit of a checkpoint; the copy asks for itself
            except StorageDamaged as error:
                self._damaged(error)
        job.held(held)

    def _install(self, job: InstallJob) -> None:
        applied = self._machine.applied[0]
        if applied >= job.snapshot.index and not job.rebuild:
            self._report(job, None, swapped=False)
            return
        try:
            job.verify()
        except StorageDamaged as error:
            self._report(job, str(error), swapped=False)
            return
        with self._gate.installing():
            self._machine.close()
            job.swap()
            try:
                self._machine = self._open_machine(self._path)
            except StorageDamaged as error:
                # It came whole, but what it was copied from was malformed already.
                self._damaged(error)
                self._report(job, str(error), swapped=False)
                return
        # What was committed and not applied meanwhile comes again, see Replica.installed.
        self._awaits_next = self._is_damaged or applied > job.snapshot.index
        # Until a report of later entries: who has heard that one has heard of the install.
        self._was_replaced = True
        self._is_damaged = False
        self._report(job, None, swapped=True)

    def _report(self, job: InstallJob, why: str | None, *, swapped: bool) -> None:
        self._post(
            Installed(
                snapshot=job.snapshot,
                sender=job.sender,
                term=job.term,
                why=why,
                swapped=swapped,
            )
        )


def _transactions(entries: Sequence[Entry]) -> Iterator[list[Entry]]:
    """Split entries into transactions; a CHECKSUM entry ends one, to be hashed just there."""
    group: list[Entry] = []
    for entry in entries:
        group.append(entry)
        if len(group) == limits.APPLY_GROUP_ENTRIES_MAX or entry.kind is EntryKind.CHECKSUM:
            yield group
            group = []
    if group:
        yield group


def _log_entry(entry: Entry) -> LogEntry:
    data = entry.data if entry.kind is EntryKind.COMMAND else b""
    return LogEntry(entry.index, entry.term, data)
