"""Disks that are slow, that fail, that are full."""

from __future__ import annotations

import time
from typing import Final

from raftzmq.chaos.faults.fault import Fault
from raftzmq.chaos.shim import EIO
from raftzmq.chaos.stand import is_gone, started_ticks
from raftzmq.chaos.trouble import ChaosError, NotNow

_TELL_S: Final = 20.0
_DATABASES: Final = ("/raft.db-wal", "/raft.db", "/state.db-wal", "/state.db")


class SlowDisk(Fault):
    """Each fsync of one node takes so many milliseconds longer."""

    wants_whole = False

    def inject(self) -> None:
        self.target = self.pick_node()
        shim = self.stand.shim(self.target)
        self._before = shim.fired("slow")
        milliseconds = self.planned.numbers.get("sync_ms", 150)
        self.note(f"{milliseconds} ms per fsync")
        shim.add("slow", _DATABASES, milliseconds)

    def heal(self) -> None:
        if not self.target:
            return
        shim = self.stand.shim(self.target)
        try:
            self.wait_for(lambda: shim.fired("slow") > self._before)
        finally:
            shim.remove("slow")
        slowed = shim.fired("slow") - self._before
        if slowed:
            self.proven(f"{slowed} fsyncs were slow")
        else:
            self.note("no fsync came")


class FsyncError(Fault):
    """One fsync fails with EIO: the node has to end at once, and is started again."""

    def inject(self) -> None:
        self.target = self.pick_node()
        shim = self.stand.shim(self.target)
        pid = self.stand.processes.pid(self.target)
        if pid is None:
            raise NotNow(f"{self.target} does not run")
        began, before = started_ticks(pid), shim.fired("sync")
        self.stand.processes.expect_end(self.target)
        # state.db is made durable now and then only, raft.db for each batch: it serves when no
        # checkpoint comes.
        choices = [_DATABASES[:2]]
        if self.planned.numbers.get("state"):
            choices.insert(0, _DATABASES[2:])
        gone, failed = False, 0
        for ends in choices:
            shim.add("sync", ends, EIO, 1)
            self.note(f"EIO for {' or '.join(ends)}")
            gone = self._ends(pid, began)
            failed = shim.fired("sync") - before
            if gone or failed:
                break
            self.note("no fsync came")
        shim.remove("sync")
        if gone and failed:
            self.proven(f"{failed} failed, process {pid} ended")
        elif gone:
            raise ChaosError(f"{self.target} ended, but not by a failed fsync")
        elif failed:
            raise ChaosError(f"{self.target} goes on after {failed} of its fsyncs failed")
        else:
            raise NotNow(f"{self.target} made no fsync in {_TELL_S:.0f} s that could have failed")

    def _ends(self, pid: int, began: str) -> bool:
        deadline = time.monotonic() + max(self.planned.for_s, _TELL_S)
        while not is_gone(pid) and started_ticks(pid) == began:
            if time.monotonic() > deadline:
                return False
            self.stand.sleep(0.01)
        return True

    def heal(self) -> None:
        if self.target:
            if self.target in self.stand.shims:
                self.stand.shims[self.target].remove("sync")
            self.stand.processes.start(self.target)


class FillDisk(Fault):
    """Somebody else fills the disk of one node, or of all, to the last byte."""

    def inject(self) -> None:
        everyone = self.planned.numbers.get("all") and not self.victim
        names = list(self.stand.nodes) if everyone else [self.pick_node()]
        self.target = ",".join(names)
        for name in names:
            self.stand.disk(name).fill()
        self._told: dict[str, str] = {}

    def look(self) -> None:
        for name, status in self.stand.look().items():
            if name in self.target.split(",") and "disk" in status.conditions:
                self._told[name] = status.conditions["disk"]

    def heal(self) -> None:
        if not self.target:
            return
        names = self.target.split(",")
        deadline = time.monotonic() + _TELL_S
        while len(self._told) < len(names) and time.monotonic() < deadline:
            for name in names:
                self.stand.disk(name).fill()
            self.look()
            self.stand.sleep(0.1)
        for name in names:
            self.stand.disk(name).remove()
        if len(self._told) == len(names):
            self.proven(f"condition: {self._told[names[0]]}")
        else:
            silent = [name for name in names if name not in self._told]
            self.note(f"{', '.join(silent)} never said that the disk is full")
