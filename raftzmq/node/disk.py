"""Watches the room on the disk of the data folder, and lets the node do what is still right.

Called by the raft thread, once per tick. It looks at the disk every ``DISK_LOOK_MS``, and at
once when a write found no room; a look is two system calls.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from raftzmq import limits
from raftzmq.config import LimitsConfig
from raftzmq.errors import DiskFull, Unavailable
from raftzmq.node.conditions import Condition, Conditions
from raftzmq.node.disk_policy import Room, RoomPolicy
from raftzmq.replica.hand_over import HandOver
from raftzmq.replica.replica import Replica

DISK: Final = "disk"
LOG: Final = "no room for the log"
STATE: Final = "no room to apply"
SNAPSHOT: Final = "no room for a snapshot"
AGAIN_TICKS: Final = 500
"""A leader that nobody could take over from asks all again after so long."""


class Folder(Protocol):
    """The data folder, as far as room goes."""

    path: Path

    def free_bytes(self) -> int:
        """Bytes that this process may still write there."""


class DiskWatch:
    """Room on the disk of one node, and what follows from it.

    Args:
        folder: the data folder.
        state_path: state.db.
        bounds: ``disk_reserve_bytes``.
        replica: told to hold back entries, to hand over, not to stand.
        conditions: told what is the matter.
        room_again: wakes the applier when it waits for room.
        log: takes one line for people per event.
    """

    def __init__(
        self,
        folder: Folder,
        state_path: Path,
        bounds: LimitsConfig,
        replica: Replica,
        conditions: Conditions,
        room_again: Callable[[], None],
        log: Callable[[str], None],
    ) -> None:
        self.policy = RoomPolicy(bounds.disk_reserve_bytes)
        self._folder = folder
        self._wal = state_path.with_name(state_path.name + "-wal")
        self._replica = replica
        self._conditions = conditions
        self._room_again = room_again
        self._log = log
        self._hand_over = HandOver(AGAIN_TICKS)
        self._free_bytes = folder.free_bytes()
        self._next_look_ms = 0
        self._stuck: str | None = None
        self._stalled = False
        self._refused_snapshot: str | None = None

    def applier_stuck(self, why: str | None) -> None:
        """state.db has no room for a committed entry (None: it was applied after all)."""
        self._stuck = why
        self._next_look_ms = 0

    def free_for(self, what: str, need_bytes: int, keep_bytes: int) -> bool:
        """Whether a file of ``need_bytes`` may be written; if not, people are told.

        Args:
            what: the file, for people.
            keep_bytes: must be left after it.
        """
        free_bytes = self._folder.free_bytes()
        if need_bytes + keep_bytes <= free_bytes:
            return True
        self._refused_snapshot = (
            f"{what} needs {_mib(need_bytes)} and must leave {_mib(keep_bytes)}, but"
            f" {_mib(free_bytes)} are free in {self._folder.path}; tried again until it fits"
        )
        return False

    def tick(self, now_ms: int) -> None:
        """One tick passed."""
        replica = self._replica
        if replica.stalled != self._stalled:
            self._stalled = replica.stalled
            self._log(
                "raft.db has no room: nothing is promised until there is some"
                if self._stalled
                else "raft.db has room again"
            )
            self._next_look_ms = 0
        if now_ms >= self._next_look_ms:
            self._next_look_ms = now_ms + limits.DISK_LOOK_MS
            self._look()
        raft = replica.raft
        scarce = self.policy.room is not Room.ENOUGH
        # When all disks are full, somebody has to lead for reads to go on.
        raft.set_electable(not scarce or raft.long_without_leader, "disk")
        if scarce and replica.is_leader and not self._stalled:
            self._try_to_hand_over()
        else:
            refused = self._hand_over.exhausted
            self._hand_over.reset()
            if refused:
                self._tell()

    def _look(self) -> None:
        before = self.policy.room
        self._free_bytes = self._folder.free_bytes()
        try:
            wal_bytes = self._wal.stat().st_size
        except OSError:
            wal_bytes = 0  # it is being replaced together with state.db
        owed_bytes = max(0, wal_bytes - limits.STATE_WAL_BYTES)
        failed = self._stalled or self._stuck is not None
        room = self.policy.measured(self._free_bytes, owed_bytes, failed=failed)
        if room is not before:
            self._log(f"disk: room is {room.name.lower()}, {_mib(self._free_bytes)} free")
        self._replica.hold_back(room is Room.CRITICAL)
        if self._stalled:
            self._replica.try_again()
        if self._stuck is not None:
            self._room_again()
        self._tell()
        self._refused_snapshot = None

    def _try_to_hand_over(self) -> None:
        raft = self._replica.raft
        progress = raft.progress()
        live = [
            peer
            for peer, view in progress.items()
            if view.recent_active and peer in raft.configuration.voters
        ]
        live.sort(key=lambda peer: (-progress[peer].match_index, peer))
        refused = self._hand_over.exhausted
        target = self._hand_over.tick(live, under_way=raft.propose_refusal() == "transfer")
        if target is not None and raft.transfer_leadership(target):
            self._log(f"disk: asking {target} to lead, this disk has no room")
        if self._hand_over.exhausted and not refused:
            self._log("disk: no other node can lead; writes are refused until there is room")
            self._tell()

    def _tell(self) -> None:
        conditions, replica = self._conditions, self._replica
        behind = replica.applied_index < replica.raft.commit_index
        conditions.set(DISK, self._disk_condition())
        conditions.set(
            LOG,
            Condition(
                f"raft.db cannot grow in {self._folder.path}; this node keeps silent until there"
                " is room",
                refuses_reads=True,
                refuses_writes=True,
                # Others elect a leader when this one keeps silent: brokers should try again.
                write_error=Unavailable,
            )
            if self._stalled
            else None,
        )
        conditions.set(
            STATE,
            Condition(
                f"{self._stuck}; committed entries are applied when there is some",
                refuses_reads=behind,
            )
            if self._stuck is not None
            else None,
        )
        conditions.set(
            SNAPSHOT,
            Condition(self._refused_snapshot) if self._refused_snapshot is not None else None,
        )

    def _disk_condition(self) -> Condition | None:
        room = self.policy.room
        if room is Room.ENOUGH:
            return None
        measured = (
            f"{_mib(self._free_bytes)} free in {self._folder.path}, the reserve"
            f" (disk_reserve_bytes) is {_mib(self.policy.reserve_bytes)}"
        )
        if self._hand_over.exhausted:
            return Condition(
                f"the disk of the leader is nearly full and no other node can lead: {measured};"
                " writes are refused and reads go on until there is room",
                refuses_writes=True,
                write_error=DiskFull,
            )
        lacks = self._replica.lacks_entries
        duty = "takes no new entries" if room is Room.CRITICAL else "leads only if no other can"
        return Condition(
            f"nearly full: {measured}; this node {duty} until there is room", refuses_reads=lacks
        )


def _mib(count: int) -> str:
    return f"{count / (1 << 20):.0f} MiB" if count >= 10 << 20 else f"{count / (1 << 20):.1f} MiB"
