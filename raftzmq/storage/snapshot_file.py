"""A snapshot on its way in: a partial file that grows chunk by chunk and survives restarts."""

from __future__ import annotations

import hashlib
import os
import zlib
from pathlib import Path
from typing import Final

from raftzmq.errors import NoRoom, StorageDamaged, StorageFailed
from raftzmq.invariants import check
from raftzmq.sqlite_errors import ADVICE, NO_ROOM_ERRNOS
from raftzmq.storage.durable_file import sync_folder
from raftzmq.storage.install_plan import (
    INCOMING_NAME,
    finish_interrupted_install,
    write_plan,
)

__all__ = ["IncomingSnapshot", "finish_interrupted_install"]

_READ_BYTES: Final = 1 << 18
"""At once, into one buffer that stays in the processor's cache."""


def os_failure(path: Path, error: OSError) -> StorageFailed:
    """What a failed open or write means; not for fsync, after which nothing may be repeated."""
    if error.errno in NO_ROOM_ERRNOS:
        return NoRoom(f"{path}: no room on the disk")
    return StorageFailed(f"{path}: {error}; {ADVICE}")


class IncomingSnapshot:
    """One file ``incoming/<index>-<term>-<digest>.part`` and how far it reaches.

    The digest is part of the name because two nodes' copies of the same state differ in bytes:
    a file is continued only with the same copy.
    """

    def __init__(self, folder: Path, path: Path, size: int, digest: bytes, received: int) -> None:
        """Use ``open``."""
        self._folder = folder
        self._path = path
        self._size = size
        self._digest = digest
        self._received = received
        self._verified = False
        self._hasher = hashlib.blake2b(digest_size=len(digest))
        self._hashed = 0
        self._buffer = memoryview(bytearray(_READ_BYTES))
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    @classmethod
    def open(
        cls, folder: Path, *, index: int, term: int, size: int, digest: bytes
    ) -> IncomingSnapshot:
        """Continue the partial file of this snapshot, or begin one; all others are removed.

        Args:
            folder: the data folder.
            index: last log index that the snapshot contains.
            term: term of that entry.
            size: bytes of the whole file.
            digest: BLAKE2b of the whole file; its length is the digest size.

        Raises:
            NoRoom: not even the folder or the empty file can be made.
            StorageFailed: the folder or the file cannot be made or read.
        """
        try:
            return cls._open(folder, index, term, size, digest)
        except OSError as error:
            raise os_failure(folder / INCOMING_NAME, error) from error

    @classmethod
    def _open(
        cls, folder: Path, index: int, term: int, size: int, digest: bytes
    ) -> IncomingSnapshot:
        incoming = folder / INCOMING_NAME
        incoming.mkdir(mode=0o700, exist_ok=True)
        path = incoming / f"{index}-{term}-{digest.hex()[:32]}.part"
        for other in incoming.iterdir():
            if other != path:
                other.unlink()
        received = path.stat().st_size if path.exists() else 0
        if received > size:
            path.unlink()
            received = 0
        return cls(folder, path, size, digest, received)

    @property
    def received_bytes(self) -> int:
        """How far the file reaches without a gap; the offset of the chunk to ask for next."""
        return self._received

    @property
    def path(self) -> Path:
        """The partial file."""
        return self._path

    def append(self, offset: int, data: bytes, checksum: int) -> None:
        """Add the next chunk.

        Args:
            offset: must be ``received_bytes``.
            data: at most what is missing.
            checksum: CRC-32 of ``data``.

        Raises:
            StorageDamaged: the chunk is damaged or does not continue the file, which stays as
                it is; ask for the chunk again.
            NoRoom: the chunk does not fit on the disk; what was received before stays.
            StorageFailed: the write failed.
        """
        if zlib.crc32(data) != checksum:
            raise StorageDamaged(f"{self._path.name}: the chunk at {offset} came damaged")
        if offset != self._received or offset + len(data) > self._size:
            raise StorageDamaged(
                f"{self._path.name}: a chunk of {len(data)} bytes at {offset} does not continue"
                f" the {self._received} of {self._size} bytes that are here"
            )
        rest = memoryview(data)
        try:
            while rest:
                written = os.pwrite(self._fd, rest, self._received)
                self._received += written
                rest = rest[written:]
        except OSError as error:
            raise os_failure(self._path, error) from error

    def verify_more(self) -> bool:
        """Read a piece of what was received, so that ``verify`` has less to do.

        One thread may do this while another one adds chunks, and nothing else.

        Returns:
            False: nothing was left to do.

        Raises:
            OSError: it cannot be read; so ``verify`` will say.
        """
        missing = self._received - self._hashed
        return missing > 0 and self._hash(min(missing, _READ_BYTES)) > 0

    def verify(self) -> None:
        """Read the whole file, or what ``verify_more`` left, compare its digest, make it durable.

        Takes about a second per gigabyte; may run in another thread while no chunk is added.

        Raises:
            StorageDamaged: the file is not whole; it is removed, to be received anew.
            StorageFailed: it cannot be read or synced.
        """
        if self._verified:
            return
        try:
            self._read_and_sync()
        except OSError as error:
            raise StorageFailed(f"{self._path}: {error}; {ADVICE}") from error
        self._verified = True

    def _read_and_sync(self) -> None:
        while self._hash(_READ_BYTES):
            pass
        offset = self._hashed
        if offset != self._size or self._hasher.digest() != self._digest:
            self.discard()
            raise StorageDamaged(
                f"{self._path.name}: the received snapshot of {offset} bytes does not have the"
                " digest that was announced; it is received anew"
            )
        os.fsync(self._fd)
        sync_folder(self._path.parent)

    def _hash(self, count: int) -> int:
        count = os.preadv(self._fd, [self._buffer[:count]], self._hashed)
        self._hasher.update(self._buffer[:count])
        self._hashed += count
        return count

    def install(self) -> None:
        """Verify the file and put it in the place of state.db, which nobody may hold open.

        Raises:
            StorageDamaged: see ``verify``; state.db is untouched.
            StorageFailed: the file cannot be read or synced, and state.db is untouched; or the
                swap stopped half-way, and state.db must not be opened before
                ``finish_interrupted_install`` went through at the next start.
        """
        check(self._fd >= 0, "a snapshot that was discarded or installed is not installed")
        self.verify()
        try:
            write_plan(self._folder, self._path.name)
            finish_interrupted_install(self._folder)
        except OSError as error:
            raise StorageFailed(
                f"{self._folder}: installing {self._path.name} stopped half-way: {error};"
                " the next start finishes it"
            ) from error
        finally:
            self.close()

    def discard(self) -> None:
        """Remove the partial file."""
        self.close()
        self._path.unlink(missing_ok=True)
        self._received = 0

    def close(self) -> None:
        """Close the file and leave it for ``open`` to continue; a second call does nothing."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
