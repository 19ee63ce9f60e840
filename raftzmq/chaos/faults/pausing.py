"""A process that stands still and goes on as if nothing had been."""

from __future__ import annotations

import os
import signal
import time
from typing import Final

from raftzmq.chaos.faults.fault import Fault
from raftzmq.chaos.stand import started_ticks, state_of
from raftzmq.chaos.trouble import ChaosError, NotNow

_STOP_S: Final = 5.0


class Pause(Fault):
    """SIGSTOP, and SIGCONT at the end."""

    def inject(self) -> None:
        self.target = self.pick_node()
        pid = self.stand.processes.pid(self.target)
        if pid is None:
            raise NotNow(f"{self.target} does not run, so it cannot be paused")
        self._pid, self._began = pid, started_ticks(pid)
        os.kill(pid, signal.SIGSTOP)
        deadline = time.monotonic() + _STOP_S
        while state_of(pid) not in ("T", "t"):
            if time.monotonic() > deadline:
                raise ChaosError(f"process {pid} of {self.target} is not stopped by SIGSTOP")
            time.sleep(0.001)
        self.proven(f"process {pid} stopped")

    def heal(self) -> None:
        pid = getattr(self, "_pid", None)
        if pid is not None and started_ticks(pid) == self._began:
            os.kill(pid, signal.SIGCONT)
