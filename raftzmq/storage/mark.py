"""The last commit's number in a second place, so that lost transactions are noticed.

SQLite drops a damaged frame of its write-ahead log, and every frame after it, without a word:
the database opens, passes ``integrity_check``, and is older than what was promised to others.
``raft.mark`` holds the ``commit_sequence`` of the last transaction. It is written after the
commit, so it can be behind after a power cut, never ahead. Ahead means that raft.db lost
something it once had on disk.
"""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path
from typing import NamedTuple

from raftzmq.sqlite_errors import NO_ROOM_ERRNOS

_SLOT = struct.Struct("<8sQI")
_MAGIC = b"RZMARK01"
_SLOT_BYTES = 512
"""Each of the two slots lies in a sector of its own: a torn write spoils one and not both."""


class MarkReading(NamedTuple):
    """What the mark says.

    Attributes:
        sequence: number of the last commit that was marked; None when no slot is whole.
        note: why there is no number or only an older one; empty when all is well.
    """

    sequence: int | None
    note: str


class SequenceMark:
    """The file ``raft.mark``: two slots, written in turn."""

    def __init__(self, path: Path) -> None:
        """Open or create the file.

        Raises:
            OSError: the file cannot be opened or created.
        """
        self._path = path
        self._created = not path.exists()
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def read(self) -> MarkReading:
        """Return the highest number that a whole slot holds; OSError when unreadable."""
        if self._created:
            return MarkReading(None, f"{self._path.name} was absent")
        whole = []
        spoiled = 0
        for slot in range(2):
            raw = os.pread(self._fd, _SLOT.size, slot * _SLOT_BYTES)
            if raw.strip(b"\0") == b"":
                continue
            if len(raw) == _SLOT.size:
                magic, sequence, checksum = _SLOT.unpack(raw)
                if magic == _MAGIC and checksum == zlib.crc32(raw[:-4]):
                    whole.append(sequence)
                    continue
            spoiled += 1
        if not whole:
            return MarkReading(None, f"{self._path.name} holds no whole number")
        note = f"{self._path.name}: one of two slots is torn" if spoiled else ""
        return MarkReading(max(whole), note)

    def write(self, sequence: int) -> None:
        """Hand the number to the kernel: survives kill -9 at once, a power cut later.

        Without room the mark stays behind, which it may be; the next number makes up for it.

        Raises:
            OSError: the write failed.
        """
        body = _MAGIC + sequence.to_bytes(8, "little")
        raw = body + zlib.crc32(body).to_bytes(4, "little")
        try:
            written = os.pwrite(self._fd, raw, (sequence & 1) * _SLOT_BYTES)
        except OSError as error:
            if error.errno in NO_ROOM_ERRNOS:
                return
            raise
        if written != len(raw):
            raise OSError(f"{self._path}: short write of {written} bytes")

    def sync(self) -> None:
        """Make the last number survive a power cut; OSError when that fails."""
        os.fsync(self._fd)

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
