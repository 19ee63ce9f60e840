"""The state machine: the only writer of state.db.

Invariants:
    * ``applied_index`` is committed in the same transaction as the effects of the entries up
      to it, so after a crash the entries above it are applied again to the very content they
      were applied to before.
    * Effects and replies depend on content and entry alone: not on how entries are grouped in
      transactions, on statement caches, on this machine's clock or configuration, or on a crash
      in between.
    * A failure that belongs to this machine (disk, memory) never becomes a reply: the transaction
      is rolled back, and StorageFailed raised, or StorageDamaged when SQLite finds the file
      malformed; the machine is dead. Without room on the disk it raises NoRoom, the transaction
      is rolled back, and the same entries may come again.

A group of entries normally is one transaction. It is repeated when a request destroyed it (its
reply is then known and the request is left out), and split when an entry needs foreign keys
off or a fresh connection (``statements.NeedsFresh`` says when).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, TypeAlias

import apsw

from raftzmq.errors import NoRoom, RaftzmqError, StorageDamaged, StorageFailed
from raftzmq.invariants import InvariantBroken, check
from raftzmq.sqlite_errors import ADVICE, is_no_room
from raftzmq.statemachine import schema
from raftzmq.statemachine.authorizer import OWN, Authorizer
from raftzmq.statemachine.bounds import ApplyLimits
from raftzmq.statemachine.command import Command, CommandError, CommandFlags, decode_command
from raftzmq.statemachine.database import (
    BUSY_MS,
    WAL_PAGES_MAX,
    damaged,
    open_writer,
    read_meta,
)
from raftzmq.statemachine.determinism import SeededRandom, require_utc
from raftzmq.statemachine.exactly_once import ExactlyOnce
from raftzmq.statemachine.held_file import HeldFile
from raftzmq.statemachine.outcomes import storage_failed
from raftzmq.statemachine.replicated_clock import ReplicatedClock
from raftzmq.statemachine.replicated_time import ReplicatedTime
from raftzmq.statemachine.reply import Reply
from raftzmq.statemachine.short_work import SHORT_BYTES_MAX, is_short
from raftzmq.statemachine.statements import (
    Executor,
    Interrupted,
    NeedsFresh,
    TransactionLost,
)


class ApplyInterrupted(RaftzmqError):
    """``Machine.interrupt`` was called; nothing of the interrupted transaction is applied."""


@dataclass(frozen=True, slots=True)
class LogEntry:
    """A committed entry; ``data`` is a command of ``command.py``, or empty: nothing to do."""

    index: int
    term: int
    data: bytes


@dataclass(frozen=True, slots=True)
class EntryResult:
    """Replies of one entry, in the order of its requests."""

    index: int
    term: int
    replies: list[Reply]


Doing: TypeAlias = "tuple[int, int, bytes, bytes]"
"""Index of an entry, position of a request in it, its client and its payload."""
_SHORT_WAL_PAGES: Final = 256
"""More than short work ever writes; a checkpoint is nothing for ``apply_short``."""
_Work: TypeAlias = "tuple[LogEntry, Command | None]"
_Place: TypeAlias = "tuple[int, int]"
"""Index of an entry and position of a request in it."""


class Mark(Protocol):
    """A second place for how far state.db has come; see ``storage.state_mark``."""

    def require(self, applied_index: int) -> None:
        """Raise StorageDamaged if state.db was further once."""

    def raise_to(self, applied_index: int) -> None:
        """Remember, durably, that state.db holds this durably."""

    def close(self) -> None:
        """Close its file."""


class _NoMark:
    """For a state.db that nobody but a test looks at."""

    def require(self, applied_index: int) -> None:
        """Nothing is known."""

    def raise_to(self, applied_index: int) -> None:
        """Nothing is remembered."""

    def close(self) -> None:
        """Nothing is open."""


class Machine:
    """state.db and everything needed to apply entries to it.

    One thread calls everything but ``interrupt``.

    Args:
        path: of state.db; created when missing.
        vfs: name of the SQLite VFS that does the file work; empty for the default.
        mark: raised before frames of the write-ahead log are copied; closed with the machine.
        rest: called now and then while ``apply`` is at a request of many steps; may sleep for a
            moment.

    Raises:
        ConfigError: the process does not run in UTC.
        StorageDamaged: the file is not a sound state.db.
        StorageFailed: the file cannot be opened or written.
    """

    def __init__(
        self,
        path: Path,
        *,
        vfs: str = "",
        mark: Mark | None = None,
        rest: Callable[[], None] = lambda: None,
    ) -> None:
        self._path = path
        self._rest = rest
        self._may_rest = False
        self._mark = mark or _NoMark()
        self._limits = ApplyLimits()
        self._time = ReplicatedTime()
        self._clock = ReplicatedClock(f"raftzmq-clock-{id(self):x}", vfs)
        self._random = SeededRandom()
        self._stop = False
        self._dead = ""
        self._doing: Doing | None = None
        self._file = -1
        """state.db itself, once ``hold_file`` needed it; open as long as the connection is."""
        self._is_copied = False
        """Whether the last checkpoint copied all of the WAL."""
        self._wal_pages = 0
        self._wal_pages_tried = 0
        self._once = ExactlyOnce()
        try:
            self._open(fresh=False)
            require_utc(self._connection)
            self._applied = self._load()
            # What is refused stays as it is: it is evidence. SQLite copies the log when it closes.
            self._connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            self._mark.require(self._applied[0])
            self._connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0)
            self._write_once_more()
        except BaseException:
            self._release()
            raise

    @property
    def applied(self) -> tuple[int, int]:
        """Index and term of the last entry whose effects are committed in state.db."""
        return self._applied

    @property
    def doing(self) -> tuple[Doing, int] | None:
        """The request that is being applied and the steps it has taken; from any thread."""
        doing = self._doing
        return None if doing is None else (doing, self._executor.steps)

    @property
    def clock_ms(self) -> int:
        """What ``now`` meant in SQL in the last applied entry."""
        return self._time.sql_ms

    def apply(
        self,
        entries: Sequence[LogEntry],
        committed: Callable[[list[EntryResult]], None] = lambda results: None,
    ) -> list[EntryResult]:
        """Apply committed entries that follow the applied index without a gap.

        Args:
            entries: the entries.
            committed: is given the results of each transaction as soon as it is committed.
                Readers see it from then on, so whoever counts what is applied must hear of it
                before the next transaction, or a copy of a long WAL, takes its time.

        Returns:
            One result per entry. The effects are committed, not yet safe from a power cut:
            see ``checkpoint``. Fewer than ``entries`` when there was no room for the rest, which
            is applied by another call.

        Raises:
            ApplyInterrupted: see ``interrupt``. Transactions completed before it stay.
            InvariantBroken: a gap in the indexes, or bytes that are no command.
            NoRoom: no room even for the first entry; nothing was applied, call again.
            StorageDamaged: the file is malformed; the machine is of no use any more.
            StorageFailed: the disk failed; every later call raises it again.
        """
        self._require_alive()
        work = self._decode(entries)
        results: list[EntryResult] = []
        fresh: set[int] = set()
        with self._working(may_rest=True):
            while len(results) < len(work):
                group = _next_group(work, len(results), fresh)
                try:
                    settled = self._settle(group, fresh=group[0][0].index in fresh)
                except _Apart as apart:
                    fresh.add(apart.index)
                    continue
                except NoRoom:
                    # What was applied before it is, and those who wait for it must hear of it.
                    if results:
                        return results
                    raise
                results += settled
                committed(settled)
                self._bound_wal()
        return results

    def apply_short(self, entries: Sequence[LogEntry]) -> list[EntryResult] | None:
        """Apply entries as ``apply`` does, if that surely takes much less than a tick.

        Returns:
            None: it may take longer, and nothing happened; ``apply`` them.

        Raises:
            What ``apply`` raises, for the same reasons.
        """
        self._require_alive()
        if (
            sum(len(entry.data) for entry in entries) > SHORT_BYTES_MAX
            or self._wal_pages - self._wal_pages_tried + _SHORT_WAL_PAGES > WAL_PAGES_MAX
        ):
            return None
        work = self._decode(entries)
        commands = [command for _, command in work if command is not None]
        if not is_short(commands, self._limits, self._time, self._once, self._executor.runs_short):
            return None
        with self._working(may_rest=False):
            try:
                return self._settle(work, fresh=False)
            except _Apart:
                return None

    def checkpoint(self) -> int:
        """Make all applied entries safe from a power cut, and move them out of the WAL.

        Durable means: after a power cut SQLite recovers a state at or above the returned
        index. Two steps, since neither gives both:

        1. One commit with ``synchronous=FULL``. In WAL mode FULL adds a sync of the WAL after
           each transaction (https://sqlite.org/pragma.html#pragma_synchronous); the sync
           covers the whole file, hence every earlier commit. From here on all is durable.
        2. A PASSIVE checkpoint copies what it can into the database file and waits for
           nobody. It syncs the WAL before and, only if *all* frames were copied, the database
           file after (https://sqlite.org/c3ref/wal_checkpoint_v2.html). A reader on an old
           snapshot, or a full disk, may stop it half way, so by itself it promises nothing.

        Returns:
            The applied index that is now durable; the log may be compacted up to it.

        Raises:
            NoRoom: no room for the commit of step 1; call again.
            StorageDamaged: the file is malformed; the machine is of no use any more.
            StorageFailed: the disk failed; every later call raises it again.
        """
        self._require_alive()
        connection = self._connection
        try:
            connection.execute("PRAGMA synchronous = FULL")
            try:
                self._executor.own(schema.WRITE_DURABLE)
            finally:
                connection.execute("PRAGMA synchronous = NORMAL")
            self._mark.raise_to(self._applied[0])
            self._copy_wal()
        except NoRoom:
            self._roll_back()
            raise
        except (apsw.Error, StorageDamaged, StorageFailed) as error:
            raise self._died(error) from error
        return self._applied[0]

    def hold_file(self, patience_ms: int) -> HeldFile | None:
        """Checkpoint, and hold state.db still: the file alone is then all that is applied.

        Args:
            patience_ms: wait so long for readers of an older snapshot, whose pages the WAL holds.

        Returns:
            None: they were not done by then. All is well but that nothing is held.

        Raises:
            NoRoom: as for ``checkpoint``; call again.
            StorageDamaged: the file is malformed; the machine is of no use any more.
            StorageFailed: the disk failed; every later call raises it again.
        """
        self.checkpoint()
        try:
            if not self._is_copied and patience_ms > 0:
                self._copy_wal(patience_ms)
            if not self._is_copied:
                return None
            if self._file < 0:
                self._file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            held = HeldFile(self._path, self._file)
        except OSError as error:
            raise self._died(StorageFailed(f"{self._path}: {error}; {ADVICE}")) from error
        except (apsw.Error, StorageDamaged, StorageFailed) as error:
            raise self._died(error) from error
        check(
            (held.applied_index, held.applied_term) == self._applied,
            "nothing is written between the checkpoint and the snapshot that holds the file",
            held=held.applied_index,
            applied=self._applied[0],
        )
        if not held.is_whole:
            held.close()
            return None
        return held

    @contextmanager
    def _working(self, *, may_rest: bool) -> Iterator[None]:
        """While entries are applied; a failure other than for want of room kills the machine."""
        self._may_rest = may_rest
        try:
            yield
        except NoRoom:
            raise
        except (StorageDamaged, StorageFailed) as error:
            self._dead = str(error)
            raise
        finally:
            self._doing = None

    def _copy_wal(self, patience_ms: int = 0) -> None:
        """Copy what may be copied of the WAL; what may not is left to a later checkpoint.

        Args:
            patience_ms: wait so long for readers that still need an older page of the file.

        Raises:
            apsw.Error: reading, writing or syncing failed.
        """
        connection = self._connection
        # Only FULL waits for readers, as long as the busy handler does.
        mode = apsw.SQLITE_CHECKPOINT_FULL if patience_ms else apsw.SQLITE_CHECKPOINT_PASSIVE
        self._is_copied = False
        try:
            if patience_ms:
                connection.set_busy_timeout(patience_ms)
            frames, copied = connection.wal_checkpoint(mode=mode)
            # -1 and -1: the connection does not know of a WAL.
            self._is_copied = 0 <= frames == copied
        except apsw.Error as error:
            # Another connection checkpoints, or the database cannot grow: the WAL stays and
            # counts. Not one frame of it is given up before all of it is copied and synced.
            if not (isinstance(error, apsw.BusyError) or is_no_room(error, connection)):
                raise
        finally:
            if patience_ms:
                connection.set_busy_timeout(BUSY_MS)

    def _bound_wal(self) -> None:
        if self._wal_pages - self._wal_pages_tried < WAL_PAGES_MAX:
            return
        self._wal_pages_tried = self._wal_pages
        try:
            self.checkpoint()
        except NoRoom:
            return  # the next entries try again

    def _note_wal_pages(self, _connection: apsw.Connection, _name: str, pages: int) -> int:
        self._wal_pages = pages
        if pages < self._wal_pages_tried:
            self._wal_pages_tried = 0
        return apsw.SQLITE_OK

    def _died(self, error: Exception) -> StorageDamaged | StorageFailed:
        if not isinstance(error, StorageDamaged | StorageFailed):
            error = storage_failed(error, self._connection)
        self._dead = str(error)
        return error

    def interrupt(self) -> None:
        """Make ``apply`` give up soon, now and from now on; callable from any thread."""
        self._stop = True

    def close(self) -> None:
        """Close the file; idempotent. What was not checkpointed is applied again if lost."""
        self._dead = self._dead or "state.db is closed"
        self._release()

    def _open(self, *, fresh: bool) -> None:
        self._connection = open_writer(self._path, self._clock.name, self._limits)
        self._random.install(self._connection)
        self._authorizer = Authorizer(reader=False, fresh=fresh)
        self._connection.authorizer = self._authorizer
        self._connection.set_wal_hook(self._note_wal_pages)
        self._executor = Executor(
            self._connection,
            self._authorizer,
            self._limits,
            fresh=fresh,
            stopping=self._is_stopping,
            rest=self._rest_if_it_may,
        )
        self._meta = self._connection.cursor()
        self._once.read_through(self._meta)

    def _reopen(self, *, fresh: bool) -> None:
        # The new one first: SQLite checkpoints and syncs when the last connection closes.
        before = self._connection
        try:
            self._open(fresh=fresh)
        except NoRoom as error:
            # Nothing is written here, so it is rare; but entries may be applied already, and
            # NoRoom would say that they are not.
            raise StorageFailed(str(error)) from error
        finally:
            before.close(True)

    def _load(self) -> tuple[int, int]:
        try:
            meta = read_meta(self._connection, self._path)
            self._once.load(self._meta, (meta.ledger_low_index, meta.keys_low_index))
        except apsw.Error as error:
            raise damaged(self._path, str(error)) from error
        self._set_time(meta.time)
        return meta.applied

    def _set_time(self, time: ReplicatedTime) -> None:
        self._time = time
        self._clock.ms = time.sql_ms

    def _write_once_more(self) -> None:
        """Copy the WAL that an earlier life left into the database.

        If it died of a failed fsync, frames may be in the kernel's cache and not on the disk,
        and the next fsync, here the one of ``checkpoint``, would claim them all the same.
        Copied, they are written again and synced for certain.
        """
        with suppress(NoRoom):  # a later checkpoint does it
            self.checkpoint()

    def _release(self) -> None:
        connection = getattr(self, "_connection", None)
        if connection is not None:
            connection.close(True)
        if self._file >= 0:
            # Not sooner: it would take SQLite's locks on the file along.
            os.close(self._file)
            self._file = -1
        self._mark.close()
        self._clock.unregister()

    def _is_stopping(self) -> bool:
        return self._stop

    def _rest_if_it_may(self) -> None:
        # Work that is short for all we know may have many CHECKs, and its thread others to serve.
        if self._may_rest:
            self._rest()

    def _require_alive(self) -> None:
        if self._dead:
            raise StorageFailed(self._dead)

    def _decode(self, entries: Sequence[LogEntry]) -> list[_Work]:
        work: list[_Work] = []
        for expected, entry in enumerate(entries, self._applied[0] + 1):
            check(
                entry.index == expected,
                "entries are applied in order, each once",
                expected=expected,
                got=entry.index,
            )
            try:
                work.append((entry, decode_command(entry.data) if entry.data else None))
            except CommandError as error:
                raise InvariantBroken(
                    f"committed entry {entry.index} is not a command: {error}"
                ) from error
        return work

    def _settle(self, group: Sequence[_Work], *, fresh: bool) -> list[EntryResult]:
        """Commit ``group``, repeating it without the requests that destroy transactions."""
        known: dict[_Place, Reply] = {}
        foreign_keys = not (group[0][1] and group[0][1].flags & CommandFlags.NO_FOREIGN_KEYS)
        limits = next((command.limits for _, command in group if command is not None), None)
        if limits is not None and limits != self._limits:
            # Another leader with other limits. Some are checked only while a statement is
            # prepared, so the statements prepared under the old ones must go.
            self._limits = limits
            self._reopen(fresh=False)
        try:
            while True:
                if fresh:
                    self._reopen(fresh=True)
                if not foreign_keys:
                    self._connection.execute("PRAGMA foreign_keys = OFF", can_cache=False)
                try:
                    return self._transaction(group, known)
                except _Lost as lost:
                    known[lost.place] = lost.reply
        finally:
            if fresh:
                self._reopen(fresh=False)
            elif not foreign_keys:
                self._connection.execute("PRAGMA foreign_keys = ON", can_cache=False)

    def _transaction(self, group: Sequence[_Work], known: dict[_Place, Reply]) -> list[EntryResult]:
        time_before = self._time
        own = self._executor.own
        own("BEGIN IMMEDIATE")
        try:
            results = [self._entry(entry, command, known) for entry, command in group]
            last = group[-1][0]
            try:
                self._once.write(self._meta)
                self._meta.execute(
                    schema.WRITE_META,
                    (last.index, last.term, *self._time, *self._once.low_indexes),
                    prepare_flags=OWN,
                )
            except apsw.Error as error:
                raise storage_failed(error, self._connection) from error
            own("COMMIT")
        except BaseException:
            self._once.rolled_back()
            self._set_time(time_before)
            self._roll_back()
            raise
        self._once.committed()
        self._applied = (last.index, last.term)
        return results

    def _roll_back(self) -> None:
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK", prepare_flags=OWN)
        except apsw.Error as error:
            raise storage_failed(error, self._connection) from error

    def _entry(
        self, entry: LogEntry, command: Command | None, known: dict[_Place, Reply]
    ) -> EntryResult:
        if command is None:
            return EntryResult(entry.index, entry.term, [])
        self._set_time(self._time.after(command.clock_ms))
        seed = command.seed
        once = self._once
        once.begin(entry.index, command.limits, command.flags)
        restart = self._random.restart
        run = self._executor.run
        replies: list[Reply] = []
        for position, request in enumerate(command.requests):
            reply = once.find(request) if request.client else None
            if reply is None:
                reply = known.get((entry.index, position)) if known else None
                if reply is None:
                    self._doing = entry.index, position, request.client, request.payload
                    restart(seed, position)
                    try:
                        reply = run(request.payload)
                    except TransactionLost as lost:
                        raise _Lost((entry.index, position), lost.reply) from lost
                    except NeedsFresh as needs:
                        raise _Apart(entry.index) from needs
                    except Interrupted as interrupted:
                        raise ApplyInterrupted("applying was interrupted") from interrupted
                if request.client:
                    once.record(request, reply)
            replies.append(reply)
        once.seal(self._time.elapsed_ms)
        return EntryResult(entry.index, entry.term, replies)


class _Lost(Exception):
    """A request destroyed the transaction; its reply is known."""

    def __init__(self, place: _Place, reply: Reply) -> None:
        super().__init__(place)
        self.place = place
        self.reply = reply


class _Apart(Exception):
    """The entry at ``index`` must be applied alone, on a fresh connection."""

    def __init__(self, index: int) -> None:
        super().__init__(index)
        self.index = index


def _next_group(work: Sequence[_Work], start: int, fresh: set[int]) -> Sequence[_Work]:
    """The entries from ``start`` on that may share a transaction."""
    end = start
    limits: ApplyLimits | None = None
    for entry, command in work[start:]:
        if command is not None:
            if limits is not None and command.limits != limits:
                return work[start:end]
            limits = command.limits
        alone = entry.index in fresh or (
            command is not None and bool(command.flags & CommandFlags.NO_FOREIGN_KEYS)
        )
        if alone:
            return work[start : max(end, start + 1)]
        end += 1
    return work[start:]
