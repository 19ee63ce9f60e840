"""What raft.db must hold to be believed; every difference is named."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from raftzmq.errors import REBUILD, StorageDamaged
from raftzmq.raft.types import Entry, EntryKind, HardState, LogPosition, NodeId
from raftzmq.storage.checksums import StateValues, Tail, entry_checksum, identity_checksum
from raftzmq.storage.contract import Identity, Memory
from raftzmq.storage.models import FORMAT_VERSION, RaftModels

REMEDY: Final = f"rebuild the node from its peers: {REBUILD}"


def damaged(path: Path, what: str) -> StorageDamaged:
    """The error that names the file, what is wrong with it, and what to do."""
    return StorageDamaged(f"{path} is damaged: {what}; {REMEDY}")


def read_state(models: RaftModels, path: Path) -> StateValues:
    """Return the state row; StorageDamaged when it is missing, damaged or of a newer format."""
    row = models.state.select().dicts().first()
    if row is None:
        raise damaged(path, "the state row is missing")
    if row["version"] != FORMAT_VERSION:
        raise StorageDamaged(
            f"{path}: format version {row['version']} is not {FORMAT_VERSION}, the one known"
            " here; start the version of raftzmq that wrote it"
        )
    try:
        state = StateValues(
            row["commit_sequence"],
            HardState(row["term"], row["voted_for"]),
            LogPosition(row["base_index"], row["base_term"]),
            row["base_checksum"],
            row["last_index"],
            Memory(row["memory"]),
        )
        whole = state.checksum() == row["checksum"]
    except (TypeError, ValueError, AttributeError, struct.error):
        whole = False
    if not whole:
        raise damaged(path, "the checksum of the state row (term, vote, end of log) is wrong")
    return state


def read_identities(models: RaftModels, path: Path) -> tuple[tuple[NodeId, Identity], ...]:
    """Return which life of each peer was met; StorageDamaged when a row is not whole."""
    rows = models.peer.select().order_by(models.peer.name).tuples()
    found = []
    for name, incarnation, boot, checksum in rows:
        try:
            whole = identity_checksum(name, incarnation, boot) == checksum
            found.append((name, Identity(int(incarnation, 16), int(boot, 16))))
        except (TypeError, ValueError):
            whole = False
        if not whole:
            raise damaged(path, f"the checksum of the row about peer {name} is wrong")
    return tuple(found)


def compare_with_mark(state: StateValues, marked: int | None, *, created: bool, path: Path) -> None:
    """Raise StorageDamaged when the mark knows a commit that the database does not."""
    if marked is None or marked <= state.commit_sequence:
        return
    missing = marked - state.commit_sequence
    what = "is empty or absent" if created else f"ends at commit {state.commit_sequence}"
    raise damaged(
        path,
        f"it {what}, but raft.mark says that commit {marked} was on disk:"
        f" {missing} transactions are missing (a damaged or removed write-ahead log?)",
    )


def read_entries(models: RaftModels, state: StateValues, path: Path) -> tuple[list[Entry], Tail]:
    """Return all entries after the base and the end of their chain of checksums.

    Raises:
        StorageDamaged: an entry is missing, damaged, or out of order.
    """
    row_type = models.entry
    query = (
        row_type.select(
            row_type.log_index, row_type.term, row_type.kind, row_type.data, row_type.checksum
        )
        .where(row_type.log_index > state.base.index)
        .order_by(row_type.log_index)
        .tuples()
    )
    before = Tail(state.base.term, state.base_checksum)
    entries, tail = verified_entries(query.iterator(), state.base.index + 1, before, path)
    last_index = state.base.index + len(entries)
    if last_index != state.last_index:
        raise damaged(
            path, f"the log ends at entry {last_index}, the state row says {state.last_index}"
        )
    return entries, tail


def verified_entries(
    rows: Iterable[tuple[int, int, int, bytes, int]], first: int, before: Tail, path: Path
) -> tuple[list[Entry], Tail]:
    """Return the entries of ``rows``, verified, and the end of their chain of checksums.

    Args:
        rows: index, term, kind, data and checksum of each.
        first: index of the first one.
        before: term and checksum of the position before it.

    Raises:
        StorageDamaged: an entry is missing, damaged, or out of order.
    """
    entries: list[Entry] = []
    term, chain, expected = before.term, before.checksum, first
    for index, entry_term, kind, data, checksum in rows:
        if index != expected:
            raise damaged(path, f"entry {expected} is missing, entry {index} follows")
        try:
            chain = entry_checksum(chain, index, entry_term, kind, data)
            entry = Entry(index, entry_term, EntryKind(kind), data)
            whole = chain == checksum
        except (TypeError, ValueError, struct.error):
            whole = False
        if not whole:
            raise damaged(path, f"the checksum of entry {index} is wrong")
        if entry_term < term:
            raise damaged(path, f"entry {index} has term {entry_term} after term {term}")
        entries.append(entry)
        term = entry_term
        expected += 1
    return entries, Tail(term, chain)
