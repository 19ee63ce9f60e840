"""Wall clocks that are wrong. No effect is the only right effect."""

from __future__ import annotations

import time
from typing import Final

from raftzmq.chaos.faults.fault import Fault

_READ_S: Final = 5.0


class _Clock(Fault):
    wants_whole = False
    what = ""
    _second = ""

    def number(self) -> int:
        """For the rule, and noted for people."""
        raise NotImplementedError

    def inject(self) -> None:
        # The leader's clock goes into the log; a follower may look at its own seldom.
        self.target = self.victim or self.stand.leader().node
        shim = self.stand.shim(self.target)
        before = shim.fired(self.what)
        number = self.number()
        shim.add(self.what, ["-"], number, 1)
        if not self.victim and not self.planned.lead:
            leader = self.stand.leader()
            self._second = self.pick_other(leader)
            self.stand.shim(self._second).add(self.what, ["-"], number, 1)
            self.note(f"{self._second} too")
        deadline = time.monotonic() + _READ_S
        while shim.fired(self.what) == before and time.monotonic() < deadline:
            self.stand.sleep(0.02)
        if shim.fired(self.what) > before:
            self.proven(f"the process of {self.target} read the wrong time")
        else:
            self.note(f"{self.target} did not look at its clock")

    def heal(self) -> None:
        for name in filter(None, (self.target, self._second)):
            self.stand.shim(name).remove(self.what)


class ClockJump(_Clock):
    """It jumps, and jumps back at the end."""

    what = "jump"

    def number(self) -> int:
        seconds = self.planned.numbers.get("jump_s", 3_600)
        self.note(f"{seconds:+d} s")
        return seconds * 1_000


class ClockDrift(_Clock):
    """It runs at another speed."""

    what = "drift"

    def number(self) -> int:
        permille = self.planned.numbers.get("permille", 1_500)
        self.note(f"speed {permille / 1000:.3g}")
        return permille
