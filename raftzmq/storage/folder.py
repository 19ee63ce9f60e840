"""The data folder of a node: held by one process, and bound to one node of one cluster."""

from __future__ import annotations

import errno
import fcntl
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from raftzmq.errors import (
    REBUILD,
    DataFolderLocked,
    DataFolderMismatch,
    NoRoom,
    StorageDamaged,
    StorageFailed,
)
from raftzmq.sqlite_errors import NO_ROOM_ERRNOS
from raftzmq.storage.durable_file import replace_file, sync_folder

LOCK_NAME: Final = "lock"
IDENTITY_NAME: Final = "identity.json"
BOOTS_NAME: Final = "boots"
LIVES_MAX: Final = 512
"""Lives that a folder remembers. A peer that met an earlier one last, and was away for all of
these, takes the folder for one that was set back: it recovers, for nothing but in safety."""
_FORMAT: Final = 1
_BOOTS_MAX: Final = (1 << 32) - 1


@dataclass(slots=True)
class DataFolder:
    """An open data folder; the lock lasts until ``close`` or the death of the process.

    Attributes:
        path: the folder.
        incarnation: 64 random bits drawn when the folder was made; a wiped folder has another.
        boot_id: differs for each start and grows with it: the number of starts in the upper 32
            bits, random bits below. Messages of an earlier life of this node carry a lower one.
        lives: boot ids of earlier starts of this folder, the latest first, LIVES_MAX at most; none
            of starts by a version that did not keep them.
        notes: what was repaired at the opening, one sentence each.
        starts_lost: the count of starts had to be guessed, so peers cannot tell from it whether
            the folder is an older copy of itself.
    """

    path: Path
    incarnation: int
    boot_id: int
    _lock: int
    lives: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()
    starts_lost: bool = False

    @classmethod
    def open(cls, path: Path, *, cluster: str, node: str) -> DataFolder:
        """Lock the folder, making it when there is none, and check whose it is.

        Args:
            path: the folder.
            cluster: id of the cluster in nodes.toml.
            node: name of this node in nodes.toml.

        Raises:
            DataFolderLocked: another process holds it; the message names its pid.
            DataFolderMismatch: it belongs to another node or cluster.
            StorageDamaged: the identity file is damaged, or gone while data is there.
            NoRoom: there is no room to count this start.
            StorageFailed: the folder cannot be made or written.
        """
        try:
            _make(path)
            lock = _lock(path)
            try:
                incarnation = _identify(path, cluster, node)
                boot_id, lives, note = _next_boot(path)
            except BaseException:
                os.close(lock)
                raise
        except OSError as error:
            full = error.errno in NO_ROOM_ERRNOS
            raise (NoRoom if full else StorageFailed)(f"data folder {path}: {error}") from error
        notes = (note,) if note else ()
        return cls(
            path=path,
            incarnation=incarnation,
            boot_id=boot_id,
            _lock=lock,
            lives=lives,
            notes=notes,
            starts_lost=bool(note),
        )

    def raise_boot_id(self, known: int) -> int:
        """Take a boot id with more starts than ``known``, a life that this folder has forgotten.

        It is among its lives from then on.

        Raises:
            StorageFailed: it cannot be written.
        """
        try:
            lives = (self.boot_id, known, *self.lives)
            boots = max(self.boot_id, known) >> 32
            self.boot_id = _write_boots(self.path / BOOTS_NAME, boots + 1, lives)
            self.lives = lives
        except OSError as error:
            raise StorageFailed(f"data folder {self.path}: {error}") from error
        return self.boot_id

    def free_bytes(self) -> int:
        """Bytes that this process may still write to the file system of the folder."""
        facts = os.statvfs(self.path)
        return facts.f_bavail * facts.f_frsize

    def close(self) -> None:
        """Release the lock; a second call does nothing."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def move_aside(self) -> Path:
        """Give the folder another name, so that the next start begins with an empty one.

        Nothing is removed. A folder that is a mount point keeps its name and gets the files
        moved into a new folder inside it.

        Returns:
            Where the files are now: ``<folder>.damaged-<n>`` or ``<folder>/damaged-<n>``.

        Raises:
            OSError: nothing was moved; or, at a mount point, not everything: call again.
        """
        beside = _unused(self.path.parent, f"{self.path.name}.damaged-")
        try:
            self.path.rename(beside)
        except OSError as error:
            if error.errno not in (errno.EBUSY, errno.EXDEV):
                raise
        else:
            sync_folder(beside.parent)
            return beside
        inside = _unused(self.path, "damaged-")
        inside.mkdir(mode=0o700)
        for file in sorted(self.path.iterdir()):
            # lost+found belongs to the file system.
            if file.name not in (LOCK_NAME, "lost+found") and not file.name.startswith("damaged-"):
                file.rename(inside / file.name)
        sync_folder(inside)
        sync_folder(self.path)
        return inside

    @classmethod
    def hold(cls, path: Path) -> DataFolder:
        """Lock a folder whatever it holds, to keep the node away while it is moved.

        Raises:
            DataFolderLocked: a process holds it; the message names its pid.
            StorageFailed: there is no such folder, or it cannot be locked.
        """
        try:
            return cls(path=path, incarnation=0, boot_id=0, _lock=_lock(path))
        except OSError as error:
            raise StorageFailed(f"data folder {path}: {error}") from error


def _unused(folder: Path, stem: str) -> Path:
    number = 1
    while (folder / f"{stem}{number}").exists():
        number += 1
    return folder / f"{stem}{number}"


def _make(path: Path) -> None:
    if path.is_dir():
        return
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    sync_folder(path.parent)


def _lock(path: Path) -> int:
    descriptor = os.open(path / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
        os.close(descriptor)
        raise DataFolderLocked(
            f"data folder {path} is in use by process {holder}; stop that process or give this"
            " node a folder of its own"
        ) from None
    except OSError:
        os.close(descriptor)
        raise
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


def _identify(path: Path, cluster: str, node: str) -> int:
    file = path / IDENTITY_NAME
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return _new_identity(path, cluster, node)
    identity = _parse(file, content)
    for what, here, wanted in (
        ("cluster", identity["cluster"], cluster),
        ("node", identity["node"], node),
    ):
        if here != wanted:
            raise DataFolderMismatch(
                f"{file}: the data folder belongs to {what} {here!r}, not to {wanted!r};"
                " correct the path or the name in nodes.toml"
            )
    incarnation: int = identity["incarnation"]
    return incarnation


def _new_identity(path: Path, cluster: str, node: str) -> int:
    for name in ("raft.db", "state.db"):
        if (path / name).exists():
            raise StorageDamaged(
                f"{path / IDENTITY_NAME} is missing while {name} is there: nobody knows whose"
                f" data this is; put the file back, or rebuild the node from its peers: {REBUILD}"
            )
    incarnation = int.from_bytes(os.urandom(8), "little")
    identity = {"format": _FORMAT, "cluster": cluster, "node": node, "incarnation": incarnation}
    replace_file(path / IDENTITY_NAME, json.dumps(identity).encode() + b"\n")
    return incarnation


def _parse(file: Path, content: bytes) -> dict[str, Any]:
    try:
        identity = json.loads(content)
        shape = {name: type(value) for name, value in identity.items()}
    except (ValueError, AttributeError):
        shape = {}
    if shape != {"format": int, "cluster": str, "node": str, "incarnation": int}:
        raise StorageDamaged(
            f"{file} is damaged: it is not an identity file; rebuild the node from its peers:"
            f" {REBUILD}"
        )
    if identity["format"] != _FORMAT:
        raise StorageDamaged(
            f"{file}: format {identity['format']} is not {_FORMAT}, the one known here;"
            " start the version of raftzmq that wrote it"
        )
    found: dict[str, Any] = identity
    return found


def _next_boot(path: Path) -> tuple[int, tuple[int, ...], str]:
    file = path / BOOTS_NAME
    lives: tuple[int, ...] = ()
    try:
        count, *names = file.read_bytes().split()
        boots = int(count)
        lives = tuple(int(name, 16) for name in names)
        whole = 0 < boots < _BOOTS_MAX and all(0 < life < 1 << 64 for life in lives)
    except FileNotFoundError:
        boots, whole = 0, not has_data(path)
    except ValueError:
        whole = False
    note = ""
    if not whole:
        # All that matters is that the number grows, or peers take this run for an earlier one
        # and drop its messages. No node was started more often than seconds have passed since
        # 1970, which is what the file system says about the lock written just now.
        boots, lives = int((path / LOCK_NAME).stat().st_mtime), ()
        note = f"{file} was lost or damaged; the count of starts goes on from the time of day"
    return _write_boots(file, boots + 1, lives), lives, note


def _write_boots(file: Path, boots: int, lives: tuple[int, ...]) -> int:
    """Make a boot id and write it down before anybody hears of it: the count, then the lives."""
    boots = min(boots, _BOOTS_MAX)
    boot_id = boots << 32 | int.from_bytes(os.urandom(4), "little")
    names = "".join(f"{life:016x}\n" for life in (boot_id, *lives)[:LIVES_MAX])
    replace_file(file, f"{boots}\n{names}".encode())
    return boot_id


def has_data(path: Path) -> bool:
    """Whether a node has kept its log or its state in this folder."""
    return any((path / name).exists() for name in ("raft.db", "state.db"))
