"""The files of state.db under a power cut: what was written and not synced is lost, in part.

A SQLite VFS below the production state machine. Writes go to the real file, so that readers see
them; what was written since the last sync of a file is remembered beside, and ``cut`` rebuilds
the file as a disk could hold it: its synced content plus any part of the later writes, the last
one perhaps torn (https://sqlite.org/atomiccommit.html, section 2).
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import apsw

from raftzmq.sim.chance import Chance

_SUFFIXES: Final = ("state.db", "state.db-wal")


class _Unsynced:
    """One file between two syncs."""

    __slots__ = ("before", "writes")

    def __init__(self, before: bytes) -> None:
        self.before = before
        self.writes: list[tuple[int, bytes | None]] = []
        """(offset, data), or (size, None) for a truncation."""


class PowerFiles(apsw.VFS):
    """The VFS of one life of one node.

    Args:
        name: unique within the process.

    Attributes:
        fail_sync: the next sync fails.
        off: the process died; nothing it still does touches a file.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name, "")
        self.name = name
        self.fail_sync = False
        self.off = False
        self.unsynced: dict[str, _Unsynced] = {}

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:
        """Open a file; those of state.db are watched."""
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        if path is not None and path.endswith(_SUFFIXES):
            return _File(self, name, path, flags)
        return apsw.VFSFile("", name, flags)

    def xDelete(self, name: str, sync: bool) -> None:
        """Remove a file; durably, as far as this model goes."""
        if self.off:
            return
        self.unsynced.pop(name, None)
        super().xDelete(name, sync)

    def contents(self, folder: Path, chance: Chance | None) -> dict[str, bytes]:
        """The files as they are after a crash, by name.

        Args:
            folder: the data folder.
            chance: decides what a power cut leaves; None: only the process died, and the
                kernel has everything.
        """
        found = {}
        for name in _SUFFIXES:
            path = folder / name
            if not path.exists():
                continue
            content = path.read_bytes()
            unsynced = self.unsynced.get(str(path))
            if chance is not None and unsynced is not None:
                content = _after_cut(unsynced, chance)
            found[name] = content
        return found


class _File(apsw.VFSFile):
    def __init__(
        self,
        disk: PowerFiles,
        name: str | apsw.URIFilename | None,
        path: str,
        flags: list[int],
    ) -> None:
        super().__init__("", name, flags)
        self._disk = disk
        self._path = path

    def _changes(self) -> list[tuple[int, bytes | None]]:
        unsynced = self._disk.unsynced.get(self._path)
        if unsynced is None:
            before = super().xRead(super().xFileSize(), 0) if super().xFileSize() else b""
            unsynced = self._disk.unsynced[self._path] = _Unsynced(before)
        return unsynced.writes

    def xWrite(self, data: bytes, offset: int) -> None:
        """Write, and remember until the next sync."""
        if self._disk.off:
            return
        self._changes().append((offset, bytes(data)))
        super().xWrite(data, offset)

    def xTruncate(self, size: int) -> None:
        """Cut the file, and remember it until the next sync."""
        if self._disk.off:
            return
        self._changes().append((size, None))
        super().xTruncate(size)

    def xSync(self, flags: int) -> None:
        """What was written is durable from now on."""
        disk = self._disk
        if disk.fail_sync:
            disk.fail_sync = False
            raise apsw.IOError("a simulated fsync failed")
        disk.unsynced.pop(self._path, None)


def _after_cut(unsynced: _Unsynced, chance: Chance) -> bytes:
    image = bytearray(unsynced.before)
    writes = unsynced.writes
    mode = chance.below(3)
    kept = chance.below(len(writes) + 1) if mode else 0
    for number, (offset, data) in enumerate(writes):
        if mode < 2 and number >= kept:
            # A prefix survives; of the write at its end perhaps a part.
            if mode == 1 and number == kept and data is not None and chance.hit(500):
                _put(image, offset, data[: chance.below(len(data) + 1)])
            break
        if mode == 2 and chance.hit(500):
            continue
        if data is None:
            del image[offset:]
        else:
            _put(image, offset, data)
    return bytes(image)


def _put(image: bytearray, offset: int, data: bytes) -> None:
    if len(image) < offset:
        image.extend(bytes(offset - len(image)))
    image[offset : offset + len(data)] = data
