"""A leader that is cut off asleep, replaced, and wakes up where it cannot hear of that.

For an election timeout it believes to lead, and clients ask it: what it answers without asking a
majority first is stale (thesis 6.4). Sleep alone seldom shows that, since the news of its successor
waits in its sockets; nor does a cut alone, since it steps down before it has a successor.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable
from typing import Final

from raftzmq.chaos.faults.cutting import LinkFault, both_ways
from raftzmq.chaos.links import Link, Rule
from raftzmq.chaos.stand import started_ticks
from raftzmq.chaos.trouble import ChaosError, NotNow
from raftzmq.observe.survey import leader_of, look

_SUCCESSOR_S: Final = 15.0
_WORK_S: Final = 0.5
"""The successor acknowledges writes for so long before the old leader wakes up."""


class WakeCutOff(LinkFault):
    """SIGSTOP until another leads, then SIGCONT behind a cut, which clients can pass."""

    def links(self) -> Iterable[Link]:
        others = [seat for seat in self.stand.seats if seat != self.target]
        return both_ways((self.target, other) for other in others)

    def rule(self) -> Rule:
        return Rule(drop=1.0)

    def inject(self) -> None:
        self.stand.switch()  # refuses before anything is done
        old = self.stand.leader()
        self.target = self.victim or old.node
        pid = self.stand.processes.pid(self.target)
        if pid is None:
            raise NotNow(f"{self.target} does not run, so it cannot be paused")
        began = started_ticks(pid)
        os.kill(pid, signal.SIGSTOP)
        try:
            # At once: what is sent to it while it sleeps waits in its sockets, and would tell it
            # of its successor when it wakes up.
            super().inject()
            self._wait_for_successor(old.term)
            self.stand.sleep(_WORK_S)
            self.note(f"led term {old.term}, another led before it woke up")
        finally:
            if started_ticks(pid) == began:
                os.kill(pid, signal.SIGCONT)

    def _wait_for_successor(self, term: int) -> None:
        others = [name for name in self.stand.nodes if name != self.target]
        deadline = time.monotonic() + _SUCCESSOR_S
        while time.monotonic() < deadline:
            found = leader_of(look(self.stand.asker, timeout_ms=100, names=others))
            if found is not None and found.term >= term:
                return
            self.stand.sleep(0.02)
        raise ChaosError(f"nobody replaced {self.target} while it slept")
