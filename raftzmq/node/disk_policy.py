"""What a node may still do with the room that is left on its disk. Pure: no clock, no disk.

::

    ENOUGH ──less than the reserve──▶ LOW ──less than a part of it──▶ CRITICAL
       ▲                               │ ▲                               │
       └────────── 5/4 of it ──────────┘ └── twice that part, no failure ┘

LOW: leads only if nobody else can; as such a leader it takes no writes. CRITICAL: takes no entries
as a follower either. Reads go on in both. What the reserve must cover stands at
``limits.DISK_RESERVE_BYTES``; the distances between going down and up keep a node whose room
hovers around a threshold from changing its mind at every look.
"""

from __future__ import annotations

from enum import IntEnum

from raftzmq import limits


class Room(IntEnum):
    """How much is left."""

    ENOUGH = 0
    LOW = 1
    CRITICAL = 2


class RoomPolicy:
    """Turns measurements into ``Room``, with hysteresis.

    Args:
        reserve_bytes: below this the room is LOW.
    """

    def __init__(self, reserve_bytes: int) -> None:
        self.room = Room.ENOUGH
        self.reserve_bytes = reserve_bytes
        self.critical_bytes = reserve_bytes // limits.DISK_CRITICAL_SHARE

    def measured(self, free_bytes: int, owed_bytes: int, *, failed: bool) -> Room:
        """Take a measurement; returns ``room``.

        Args:
            free_bytes: what may still be written.
            owed_bytes: what a write-ahead log holds beyond the size that the reserve reckons
                with; a checkpoint may need as much again in the database.
            failed: a write found no room and did not succeed since, whatever ``free_bytes``
                says: quotas, reserved blocks, a full folder for temporary files.
        """
        low = self.reserve_bytes + owed_bytes
        critical = self.critical_bytes
        if self.room is not Room.ENOUGH:
            low += low // 4
        if self.room is Room.CRITICAL:
            critical *= 2
        if failed or free_bytes < critical:
            self.room = Room.CRITICAL
        else:
            self.room = Room.LOW if free_bytes < low else Room.ENOUGH
        return self.room
