"""What ``now`` means in SQL while an entry is applied: a VFS with a clock of its own.

``now`` in every form (CURRENT_TIMESTAMP, datetime('now'), unixepoch('subsec'), in defaults
and triggers too) reaches SQLite through ``xCurrentTimeInt64`` of the connection's VFS and nowhere
else, so a VFS that answers this one method is the whole clock.

A VFS made by APSW wraps each file as well, and the wrapper holds the interpreter lock around each
read, write and sync of the file below it. An fsync of state.db would then stop the raft thread and
all reads of the node for as long as it takes. So the methods of the VFS below are put in the place
of APSW's, all but the clock: SQLite then does its file work as if there were no Python.
"""

from __future__ import annotations

import ctypes
from typing import Final

import apsw

_EPOCH_JULIAN_MS: Final = 210_866_760_000_000
"""1970-01-01 00:00 UTC in milliseconds of SQLite's Julian day clock."""
_METHODS: Final = (
    "xOpen", "xDelete", "xAccess", "xFullPathname", "xDlOpen", "xDlError", "xDlSym", "xDlClose",
    "xRandomness", "xSleep", "xCurrentTime", "xGetLastError", "xCurrentTimeInt64",
    "xSetSystemCall", "xGetSystemCall", "xNextSystemCall",
)  # fmt: skip
_VERSION: Final = 3


class _Vfs(ctypes.Structure):
    """``struct sqlite3_vfs``, part of SQLite's binary interface (https://sqlite.org/c3ref/vfs.html)."""

    _fields_ = [
        ("iVersion", ctypes.c_int),
        ("szOsFile", ctypes.c_int),
        ("mxPathname", ctypes.c_int),
        ("pNext", ctypes.c_void_p),
        ("zName", ctypes.c_void_p),
        ("pAppData", ctypes.c_void_p),
        *((name, ctypes.c_void_p) for name in _METHODS),
    ]


_SHARED: Final = ("iVersion", "szOsFile", "mxPathname", "pAppData", *_METHODS)
"""All but what belongs to the registration: its name and its place in SQLite's list."""
_CLOCK: Final = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(ctypes.c_int64))


class ReplicatedClock:
    """A VFS whose time stands still at ``ms`` until the next entry moves it.

    Args:
        name: name under which SQLite knows the VFS; unique within the process.
        base: VFS that does the file work; empty for SQLite's default.

    Attributes:
        ms: the replicated time, in milliseconds since 1970.
        native: the file work does not go through Python, unless ``base`` is made of it. False where
            SQLite's structure is not the one known here; everything works, only slower.
    """

    def __init__(self, name: str, base: str = "") -> None:
        self.name = name
        self.ms = 0
        self._vfs = _ApswClock(self, base)
        self._callback = _CLOCK(self._tell)
        self._before = self._take_over(base)
        self.native = self._before is not None

    def unregister(self) -> None:
        """SQLite forgets the VFS; every connection that uses it is closed before. Idempotent."""
        if self._before is not None:
            (at, fields), self._before = self._before, None
            _copy(fields, _Vfs.from_address(at))
            ctypes.pythonapi.Py_DecRef(ctypes.py_object(self))
        self._vfs.unregister()

    def julian_ms(self) -> int:
        """The replicated time as SQLite counts it, since noon of 24 November 4714 BC."""
        return self.ms + _EPOCH_JULIAN_MS

    def _tell(self, _vfs: int | None, time: ctypes._Pointer[ctypes.c_int64]) -> int:
        time[0] = self.julian_ms()
        return apsw.SQLITE_OK

    def _take_over(self, base: str) -> tuple[int, _Vfs] | None:
        """Put the methods of ``base`` in the place of APSW's; returns where, and what was there."""
        at, found = _registered(self.name)
        _, wanted = _registered(base)
        if found is None or wanted is None:
            return None
        before = _Vfs.from_buffer_copy(found)
        _copy(wanted, found)
        # SQLite holds a pointer now: whoever forgets ``unregister`` leaks memory, no more.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self))
        found.xCurrentTimeInt64 = ctypes.cast(self._callback, ctypes.c_void_p).value
        return at, before


class _ApswClock(apsw.VFS):
    """The registration, and the clock for as long as the methods are APSW's."""

    def __init__(self, clock: ReplicatedClock, base: str) -> None:
        super().__init__(clock.name, base)
        self._ms = clock.julian_ms

    def xCurrentTimeInt64(self) -> int:
        return self._ms()


def _registered(name: str) -> tuple[int, _Vfs | None]:
    """Address of a registered VFS, and the structure there if it is what APSW says it is."""
    address = ctypes.c_void_p()
    connection = apsw.Connection(":memory:", vfs=name or None)
    try:
        connection.file_control("main", apsw.SQLITE_FCNTL_VFS_POINTER, ctypes.addressof(address))
    finally:
        connection.close()
    at = address.value or 0
    # The version says how long the structure is, and stands first in all of them.
    if not at or ctypes.c_int.from_address(at).value != _VERSION:
        return at, None
    found = _Vfs.from_address(at)
    told = ctypes.string_at(found.zName).decode()
    for details in apsw.vfs_details():
        if details["zName"] == told:
            same = all((getattr(found, key) or 0) == details.get(key) for key in _SHARED)
            return at, found if same else None
    return at, None


def _copy(source: _Vfs, target: _Vfs) -> None:
    for field in _SHARED:
        setattr(target, field, getattr(source, field))
