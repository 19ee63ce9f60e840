"""A SQLite VFS that loses power or fails a sync: writes reach the disk only when synced.

Each file keeps the blocks written since its last sync; ``cut`` decides for each of them
whether it got out anyway (disks may write early, and tear the last block in half).
"""

from __future__ import annotations

import os
import random

import apsw

BLOCK = 4096


class Disk:
    """What was written and not synced, for every file of one VFS."""

    def __init__(self) -> None:
        self.pending: dict[str, dict[int, bytes]] = {}
        self.size: dict[str, int] = {}
        self.off = False
        self.fail_sync_of: str | None = None
        self.fail_write_of: str | None = None
        self.full_for: str | None = None
        self.room_bytes = 0
        self.refused_writes = 0

    def cut(self, chance: random.Random, *, keep: float, tear: bool) -> None:
        """Power fails now; each unsynced block survives with probability ``keep``."""
        self.off = True
        for path, blocks in self.pending.items():
            if not os.path.exists(path):
                continue
            with open(path, "r+b") as file:
                for number, data in blocks.items():
                    if chance.random() < keep:
                        half = tear and chance.random() < 0.5
                        file.seek(number * BLOCK)
                        file.write(data[: len(data) // 2] if half else data)
        self.pending.clear()
        self.size.clear()


class CutVfs(apsw.VFS):
    """Registers under ``name`` for as long as the object lives."""

    def __init__(self, disk: Disk, name: str) -> None:
        self.disk = disk
        super().__init__(name, "")

    def xOpen(self, name, flags):
        return CutFile(self.disk, name, flags)

    def xDelete(self, name, sync):
        self.disk.pending.pop(os.path.abspath(name), None)
        self.disk.size.pop(os.path.abspath(name), None)
        return super().xDelete(name, sync)


class CutFile(apsw.VFSFile):
    """One open file."""

    def __init__(self, disk, name, flags):
        super().__init__("", name, flags)
        self.disk = disk
        file_name = name.filename() if isinstance(name, apsw.URIFilename) else name
        self.path = os.path.abspath(file_name)

    def _blocks(self):
        return self.disk.pending.setdefault(self.path, {})

    def xFileSize(self):
        return self.disk.size.get(self.path, super().xFileSize())

    def _block(self, number):
        held = self._blocks().get(number)
        if held is None:
            there = max(0, min(BLOCK, super().xFileSize() - number * BLOCK))
            held = super().xRead(there, number * BLOCK) if there else b""
        return bytearray(held.ljust(BLOCK, b"\0"))

    def xRead(self, amount, offset):
        end = min(offset + amount, self.xFileSize())
        out = bytearray()
        while offset < end:
            number, start = divmod(offset, BLOCK)
            take = min(BLOCK - start, end - offset)
            out += self._block(number)[start : start + take]
            offset += take
        return bytes(out)

    def xWrite(self, data, offset):
        if self.disk.off:
            raise apsw.IOError("no power")
        if self.disk.fail_write_of and self.path.endswith(self.disk.fail_write_of):
            raise apsw.IOError("write failed")
        if self.disk.full_for and self.path.endswith(self.disk.full_for):
            if self.disk.room_bytes < len(data):
                self.disk.refused_writes += 1
                raise apsw.FullError("disk full")
            self.disk.room_bytes -= len(data)
        size = max(self.xFileSize(), offset + len(data))
        done = 0
        while done < len(data):
            number, start = divmod(offset + done, BLOCK)
            take = min(BLOCK - start, len(data) - done)
            block = self._block(number)
            block[start : start + take] = data[done : done + take]
            self._blocks()[number] = bytes(block)
            done += take
        self.disk.size[self.path] = size

    def xTruncate(self, size):
        for number in [n for n in self._blocks() if n * BLOCK >= size]:
            del self._blocks()[number]
        self.disk.size.pop(self.path, None)
        return super().xTruncate(size)

    def xSync(self, flags):
        if self.disk.off:
            raise apsw.IOError("no power")
        if self.disk.fail_sync_of and self.path.endswith(self.disk.fail_sync_of):
            raise apsw.IOError("fsync failed")
        size = self.xFileSize()
        for number, data in sorted(self._blocks().items()):
            super().xWrite(data[: min(BLOCK, size - number * BLOCK)], number * BLOCK)
        self.disk.pending[self.path] = {}
        self.disk.size.pop(self.path, None)
        return super().xSync(flags)
