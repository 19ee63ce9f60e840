"""Chance for SQL, taken from the log entry that is being applied; time: replicated_clock.py.

random() and randomblob() are replaced per connection. Their numbers are a function of (seed of
the entry, position of the request in it, how many were drawn before within the request), so
that neither grouping nor a skipped duplicate nor a repeated attempt changes them.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

import apsw

from raftzmq.errors import ConfigError

_MASK: Final = (1 << 64) - 1
_INTEGER_PREFIX: Final = re.compile(r"\s*([+-]?\d{1,30})")


class SeededRandom:
    """Generator behind random() and randomblob(); cheap to restart for each request."""

    __slots__ = ("_drawn", "_position", "_seed")

    def __init__(self) -> None:
        self._seed = self._position = self._drawn = 0

    def restart(self, seed: int, position: int) -> None:
        """Begin the stream of the request at ``position`` of the entry with ``seed``."""
        self._seed = seed
        self._position = position
        self._drawn = 0

    def integer(self) -> int:
        """A signed 64-bit integer: splitmix64 over seed, position and count."""
        self._drawn += 1
        start = _mix(self._seed ^ _mix(self._position + 1))
        value = _mix((start + self._drawn * 0x9E3779B97F4A7C15) & _MASK)
        return value - (1 << 64) if value >> 63 else value

    def blob(self, size: apsw.SQLiteValue, bytes_max: int) -> bytes:
        """What randomblob(size) returns: at least one byte, as in SQLite.

        Raises:
            apsw.TooBigError: more than ``bytes_max`` bytes.
        """
        wanted = max(1, _as_integer(size))
        if wanted > bytes_max:
            raise apsw.TooBigError("string or blob too big")
        self._drawn += 1
        key = b"%d/%d/%d" % (self._seed, self._position, self._drawn)
        return hashlib.shake_128(key).digest(wanted)

    def install(self, connection: apsw.Connection) -> None:
        """Override the two functions on ``connection``.

        Not marked deterministic: SQLite would then call them once per statement. Marked
        innocuous, as the built-in ones are, so that defaults and triggers may use them.
        """
        bytes_max = connection.limit(apsw.SQLITE_LIMIT_LENGTH)
        flags = apsw.SQLITE_INNOCUOUS

        def random(*_none: apsw.SQLiteValue) -> apsw.SQLiteValue:
            return self.integer()

        def randomblob(*size: apsw.SQLiteValue) -> apsw.SQLiteValue:
            return self.blob(size[0], bytes_max)

        connection.create_scalar_function("random", random, 0, flags=flags)
        connection.create_scalar_function("randomblob", randomblob, 1, flags=flags)


def require_utc(connection: apsw.Connection) -> None:
    """The 'localtime' modifier reads the zone of the machine; only UTC is equal everywhere.

    Raises:
        ConfigError: the process does not run in UTC.
    """
    differing = connection.execute(
        "WITH RECURSIVE month(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM month WHERE n < 810)"
        " SELECT datetime(0, 'unixepoch', n || ' months') AS utc FROM month"
        " WHERE datetime(utc, 'localtime') <> utc LIMIT 1"
    ).fetchone()
    if differing is not None:
        raise ConfigError(
            f"the local time zone is not UTC (it differs at {differing[0]}); replicas would"
            " disagree on 'localtime': start the process with TZ=UTC"
        )


def _mix(value: int) -> int:
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


def _as_integer(value: apsw.SQLiteValue) -> int:
    """SQLite's conversion of an argument to an integer."""
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return int(max(-(2.0**62), min(2.0**62, value)))
    if value is None:
        return 0
    text = value if isinstance(value, str) else bytes(value).decode("utf-8", "replace")
    found = _INTEGER_PREFIX.match(text)
    return int(found[1]) if found else 0
