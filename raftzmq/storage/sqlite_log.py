"""The log and hard state in raft.db: one transaction and one fsync per save.

How a damaged file is noticed at start, in the order of the checks:

* the state row has a checksum of its own;
* ``raft.mark`` holds the number of the last commit (see ``mark``), so a write-ahead log that
  lost its end is noticed;
* entries are contiguous from the base to ``last_index`` and terms never decrease;
* each entry's checksum covers term, index, kind and data and continues the one before it, so
  a page that went back to an older version is noticed as well.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import apsw
from peewee import PeeweeException
from playhouse.apsw_ext import APSWDatabase

from raftzmq.errors import NoRoom, StorageDamaged, StorageFailed
from raftzmq.invariants import check
from raftzmq.raft.types import Entry, HardState, LogPosition, NodeId
from raftzmq.sqlite_errors import is_no_room, storage_error
from raftzmq.storage.checksums import (
    StateValues,
    Tail,
    base_checksum,
    chained_rows,
    empty_state,
    identity_checksum,
)
from raftzmq.storage.contract import (
    EMPTY_BASE,
    Identity,
    Memory,
    StoredLog,
    check_append,
    check_hard_state,
    memory_after,
)
from raftzmq.storage.durable_file import sync_folder
from raftzmq.storage.mark import SequenceMark
from raftzmq.storage.models import FORMAT_VERSION, RaftModels, raft_models
from raftzmq.storage.verified_read import (
    compare_with_mark,
    damaged,
    read_entries,
    read_identities,
    read_state,
    verified_entries,
)

WAL_PAGES_MAX: Final = 2000
"""The write-ahead log is checkpointed beyond this many pages of 4 KiB. Twice as many save no
time and make the longest save, the one that checkpoints, 24 instead of 13 ms at 20 kB a save."""
WAL_BYTES: Final = 9 << 20
"""The write-ahead log is this long from the start: an fsync of bytes overwritten in place
takes half the time of one that also has to write down a new file size (127 against 282 us)."""
STALE_ROWS_PER_SAVE: Final = 256
"""Compacted rows deleted beside one save: a third of the log at once would take longer than
the raft thread may be away."""
STALE_BYTES_PER_SAVE: Final = 4 << 20
"""The same for their data: to free a long row, SQLite reads the whole chain of its pages."""
LARGE_ENTRY_BYTES: Final = 1 << 20
"""The statement that inserts a longer entry is prepared anew."""
READ_ROWS_MAX: Final = 4_096
"""Entries that one ``read`` returns at most."""

_TRUNCATE = "DELETE FROM entry WHERE idx >= ?"
_DROP_STALE = "DELETE FROM entry WHERE idx <= ?"
_DROP_ALL = "DELETE FROM entry"
_INSERT = "INSERT INTO entry (idx, term, kind, data, checksum) VALUES (?, ?, ?, ?, ?)"
_SIZES = "SELECT idx, length(data) FROM entry WHERE idx BETWEEN ? AND ? ORDER BY idx LIMIT ?"
_ENTRIES = (
    "SELECT idx, term, kind, data, checksum FROM entry WHERE idx BETWEEN ? AND ? ORDER BY idx"
)
_ENTRY_AT = "SELECT term, checksum FROM entry WHERE idx = ?"
_WRITE_STATE = (
    "UPDATE state SET commit_sequence = ?, term = ?, voted_for = ?, base_index = ?,"
    " base_term = ?, base_checksum = ?, last_index = ?, memory = ?, checksum = ? WHERE id = 1"
)
_REMEMBER = "INSERT OR REPLACE INTO peer (name, incarnation, boot, checksum) VALUES (?, ?, ?, ?)"


class SqliteLogStore:
    """``LogStore`` over raft.db and raft.mark; the only one that opens them.

    The file is locked exclusively: without shared memory and file locks a commit costs a
    dozen microseconds of CPU beside its fsync.
    """

    def __init__(
        self,
        path: Path,
        *,
        vfs: str | None = None,
        wal_bytes: int = WAL_BYTES,
        wal_pages_max: int = WAL_PAGES_MAX,
    ) -> None:
        """Name the files; ``load`` opens them.

        Args:
            path: raft.db; the mark lies beside it with the suffix ``.mark``.
            vfs: name of a registered SQLite VFS, for tests that fail the disk on purpose.
            wal_bytes: length to which the write-ahead log is filled with zeros at start.
            wal_pages_max: see WAL_PAGES_MAX.
        """
        self._path = path
        self._wal_bytes = wal_bytes
        self._wal_pages_max = wal_pages_max
        self._database = APSWDatabase(
            str(path), timeout=0, thread_safe=False, **({"vfs": vfs} if vfs is not None else {})
        )
        self._models: RaftModels = raft_models(self._database)
        self._connection: Any = None
        self._execute: Callable[..., Any] = self._not_loaded
        self._execute_many: Callable[..., Any] = self._not_loaded
        self._mark: SequenceMark | None = None
        self._state = empty_state()
        self._tail = Tail(0, base_checksum(EMPTY_BASE))
        self._stale_from: int | None = None
        self._wal_pages = 0
        self._failure: str | None = None

    def load(self) -> StoredLog:
        """See ``LogStore.load``. Creates the files when there are none."""
        check(self._connection is None, "load is called once")
        try:
            self._mark = SequenceMark(self._path.with_suffix(".mark"))
            self._open()
            reading = self._mark.read()
            created = not self._database.get_tables()
            state = empty_state() if created else read_state(self._models, self._path)
            compare_with_mark(state, reading.sequence, created=created, path=self._path)
            entries, tail = (
                ([], self._tail) if created else read_entries(self._models, state, self._path)
            )
            identities = () if created else read_identities(self._models, self._path)
            self._begin_writing(state, tail, created)
        except StorageDamaged:
            self._abandon()
            raise
        except (apsw.Error, PeeweeException, OSError, UnicodeDecodeError) as error:
            self._abandon()
            if _is_damage(error):
                raise damaged(self._path, str(error)) from error
            raise storage_error(f"{self._path}: cannot be opened or read", error) from error
        notes = (reading.note,) if reading.note and not created else ()
        return StoredLog(state.hard_state, state.base, entries, state.memory, identities, notes)

    def save(self, hard_state: HardState | None, entries: Sequence[Entry]) -> None:
        """See ``LogStore.save``."""
        self._may_write()
        if hard_state is None and not entries:
            return
        state = self._state
        if hard_state is None:
            hard_state = state.hard_state
        else:
            check_hard_state(state.hard_state, hard_state)
        stale_from = self._stale_from
        try:
            tail, last_index = self._tail, state.last_index
            if entries:
                first = entries[0].index
                if first <= last_index:
                    tail = self._position_before(first)
                check_append(state.base, last_index, tail.term, entries)
            self._execute("BEGIN IMMEDIATE")
            if entries:
                if first <= last_index:
                    self._execute(_TRUNCATE, (first,))
                rows, tail = chained_rows(entries, tail)
                # A cached statement keeps what it inserted last until it runs again.
                cached = all(len(entry.data) <= LARGE_ENTRY_BYTES for entry in entries)
                if len(rows) == 1:
                    self._execute(_INSERT, rows[0], can_cache=cached)
                else:
                    self._execute_many(_INSERT, rows, can_cache=cached)
                last_index = entries[-1].index
            if self._stale_from is not None:
                self._drop_stale(self._stale_from, entries)
            self._commit(state._replace(hard_state=hard_state, last_index=last_index), tail)
        except (apsw.Error, OSError) as error:
            self._stale_from = stale_from
            raise self._failed("save", error) from error

    def read(self, first: int, last: int, bytes_max: int) -> list[Entry]:
        """See ``LogStore.read``."""
        self._may_write()
        check(
            self._state.base.index < first <= last <= self._state.last_index,
            "what is read is stored",
            first=first,
            last=last,
            state=self._state,
        )
        try:
            until = self._fits(first, last, READ_ROWS_MAX, bytes_max)
            tail = self._position_before(first)
            rows = self._execute(_ENTRIES, (first, until)).fetchall()
        except (apsw.Error, OSError) as error:
            if _is_damage(error):
                raise damaged(self._path, str(error)) from error
            raise self._failed("read", error) from error
        entries, _ = verified_entries(rows, first, tail, self._path)
        if len(entries) != until - first + 1:
            raise damaged(self._path, f"entry {first + len(entries)} is missing")
        return entries

    def compact(self, base: LogPosition) -> None:
        """See ``LogStore.compact``. The rows themselves go little by little, in later saves."""
        self._may_write()
        state = self._state
        if base.index <= state.base.index:
            return
        try:
            held = self._execute(_ENTRY_AT, (base.index,)).fetchall()
            check(
                bool(held) and held[0][0] == base.term,
                "compaction ends at an entry of the log",
                base=base,
                held=held,
            )
            self._execute("BEGIN IMMEDIATE")
            self._commit(state._replace(base=base, base_checksum=held[0][1]), self._tail)
            if self._stale_from is None:
                self._stale_from = state.base.index + 1
        except (apsw.Error, OSError) as error:
            raise self._failed("compact", error) from error

    def reset(self, base: LogPosition) -> None:
        """See ``LogStore.reset``."""
        self._may_write()
        state = self._state
        check(base.index >= state.base.index, "the base never moves back", old=state.base, new=base)
        chain = base_checksum(base)
        try:
            self._execute("BEGIN IMMEDIATE")
            self._execute(_DROP_ALL)
            self._commit(
                state._replace(base=base, base_checksum=chain, last_index=base.index),
                Tail(base.term, chain),
            )
            self._stale_from = None
        except (apsw.Error, OSError) as error:
            raise self._failed("reset", error) from error

    def set_recovering(self, recovering: bool) -> None:
        """See ``LogStore.set_recovering``."""
        self._may_write()
        try:
            memory = memory_after(self._state.memory, recovering=recovering)
            self._execute("BEGIN IMMEDIATE")
            self._commit(self._state._replace(memory=memory), self._tail)
        except (apsw.Error, OSError) as error:
            raise self._failed("save", error) from error

    def remember(self, peer: NodeId, identity: Identity) -> None:
        """See ``LogStore.remember``."""
        self._may_write()
        words = peer, f"{identity.incarnation:x}", f"{identity.boot:x}"
        try:
            self._execute("BEGIN IMMEDIATE")
            self._execute(_REMEMBER, (*words, identity_checksum(*words)))
            self._commit(self._state, self._tail)
        except (apsw.Error, OSError) as error:
            raise self._failed("save", error) from error

    def close(self) -> None:
        """See ``LogStore.close``. A dead store is left as it is, without a checkpoint."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if self._failure is not None:
            self._leave_wal(connection)
        try:
            self._database.close()
            if self._mark is not None and self._failure is None:
                self._mark.sync()
        except (apsw.Error, PeeweeException, OSError) as error:
            self._failure = self._failure or f"{self._path}: close failed: {error}"
        finally:
            if self._mark is not None:
                self._mark.close()

    # Start.

    def _open(self) -> None:
        """Connect without changing a byte of what may turn out to be damaged."""
        self._database.connect()
        connection = self._connection = self._database.connection()
        # Until all checks have passed: the close after a refusal must not fold what is left of
        # the write-ahead log into the database and delete the evidence.
        self._leave_wal(connection)
        cursor = connection.cursor()
        self._execute, self._execute_many = cursor.execute, cursor.executemany
        for pragma in ("locking_mode = EXCLUSIVE", "journal_mode = WAL", "synchronous = FULL"):
            self._execute(f"PRAGMA {pragma}").fetchall()
        self._execute(f"PRAGMA journal_size_limit = {self._wal_bytes}").fetchall()

    def _begin_writing(self, state: StateValues, tail: Tail, created: bool) -> None:
        connection = self._connection
        self._state, self._tail = state, tail
        # Takes the place of SQLite's automatic checkpoint (see ``_commit``).
        connection.set_wal_hook(self._note_wal_pages)
        if created:
            with self._database.atomic():
                self._database.create_tables(list(self._models))
                self._models.state.create(
                    id=1,
                    version=FORMAT_VERSION,
                    commit_sequence=0,
                    term=0,
                    voted_for=None,
                    base_index=0,
                    base_term=0,
                    base_checksum=state.base_checksum,
                    last_index=0,
                    memory=Memory.WHOLE,
                    checksum=state.checksum(),
                )
            sync_folder(self._path.parent)
        stale = self._execute(
            "SELECT min(idx) FROM entry WHERE idx <= ?", (state.base.index,)
        ).fetchall()
        self._stale_from = stale[0][0]
        # An earlier life may have died of a failed fsync. Its last commits are then in the
        # kernel's cache and not on the disk, where no fsync would send them any more. Written
        # once more, into the database, they are; before that nobody may be told of them.
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        self._fill_wal()
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0)

    def _fill_wal(self) -> None:
        """Lengthen the write-ahead log with zeros; SQLite takes them for the end of the log."""
        wal = self._path.with_name(self._path.name + "-wal")
        descriptor = os.open(wal, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            size = os.fstat(descriptor).st_size
            while size < self._wal_bytes:
                size += os.pwrite(descriptor, bytes(min(1 << 20, self._wal_bytes - size)), size)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _abandon(self) -> None:
        self._failure = self._failure or f"{self._path}: was refused at start"
        self.close()

    @staticmethod
    def _leave_wal(connection: Any) -> None:
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)

    # Writing.

    def _position_before(self, index: int) -> Tail:
        base = self._state.base
        if index - 1 <= base.index:
            return Tail(base.term, self._state.base_checksum)
        return Tail(*self._execute(_ENTRY_AT, (index - 1,)).fetchall()[0])

    def _fits(self, first: int, last: int, rows_max: int, bytes_max: int) -> int:
        """The last index up to which the stored entries from ``first`` on fit; at least one."""
        until = first
        for index, size_bytes in self._execute(_SIZES, (first, last, rows_max)):
            bytes_max -= size_bytes
            if bytes_max < 0:
                break
            until = index
        return until

    def _drop_stale(self, oldest: int, entries: Sequence[Entry]) -> None:
        rows = STALE_ROWS_PER_SAVE + 2 * len(entries)
        size = STALE_BYTES_PER_SAVE + 2 * sum(len(entry.data) for entry in entries)
        end = self._fits(oldest, self._state.base.index, rows, size)
        self._execute(_DROP_STALE, (end,))
        self._stale_from = end + 1 if end < self._state.base.index else None

    def _commit(self, state: StateValues, tail: Tail) -> None:
        state = state._replace(commit_sequence=state.commit_sequence + 1)
        self._execute(
            _WRITE_STATE,
            (
                state.commit_sequence,
                state.hard_state.term,
                state.hard_state.voted_for,
                state.base.index,
                state.base.term,
                state.base_checksum,
                state.last_index,
                state.memory,
                state.checksum(),
            ),
        )
        self._execute("COMMIT")
        self._state, self._tail = state, tail
        # What follows may find no room: it is behind then, which is allowed, and the commit stands.
        if self._mark is not None:
            self._mark.write(state.commit_sequence)
        if self._wal_pages >= self._wal_pages_max:
            if self._mark is not None:
                self._mark.sync()
            self._checkpoint()

    def _checkpoint(self) -> None:
        """Copy the write-ahead log into the database.

        SQLite's own checkpoint hides a failed fsync and tries again later; this one raises.
        Without room in the database the log stays what counts, and grows until there is some.
        """
        try:
            self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        except apsw.Error as error:
            if not is_no_room(error, self._connection):
                raise
            return
        self._wal_pages = 0

    def _note_wal_pages(self, connection: Any, name: str, pages: int) -> int:
        self._wal_pages = pages
        return apsw.SQLITE_OK

    def _may_write(self) -> None:
        if self._failure is not None:
            raise StorageFailed(self._failure)
        check(self._connection is not None, "a store is written to between load and close")

    def _failed(self, doing: str, error: Exception) -> StorageFailed:
        """NoRoom after a roll back, when that is all that is wrong; else the store is dead."""
        failed = storage_error(f"{self._path}: {doing} failed", error, self._connection)
        if isinstance(failed, NoRoom):
            try:
                if self._connection.in_transaction:
                    self._execute("ROLLBACK")
                return failed
            except apsw.Error as second:
                failed = storage_error(
                    f"{self._path}: roll back of {doing} failed", second, self._connection
                )
        self._failure = str(failed)
        return StorageFailed(self._failure)

    def _not_loaded(self, *_: object) -> Any:
        check(False, "load is called before anything else")


def _is_damage(error: Exception) -> bool:
    """Whether the file is not the database it was, rather than out of reach."""
    # peewee raises classes of its own, which tell less.
    cause = error.__context__ if isinstance(error, PeeweeException) else error
    # An SQLError here means that the schema changed: the statements never do.
    return isinstance(
        cause, apsw.CorruptError | apsw.NotADBError | apsw.SQLError | UnicodeDecodeError
    )
