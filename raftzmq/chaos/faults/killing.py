"""Processes that die: the leader, any, all, a proxy; and a node that loses its data."""

from __future__ import annotations

import os
import shutil
import signal
import time
from typing import Final

from raftzmq.chaos.faults.fault import Fault
from raftzmq.chaos.stand import is_gone, started_ticks
from raftzmq.chaos.trouble import ChaosError, NotNow
from raftzmq.errors import DataFolderLocked
from raftzmq.observe.holders import why_not_without
from raftzmq.observe.survey import look
from raftzmq.storage.folder import DataFolder

_END_S: Final = 20.0
_STOP_S: Final = 30.0
_HOLDERS_S: Final = 30.0


class Killing(Fault):
    """kill -9 of some processes, which are started again."""

    def inject(self) -> None:
        victims = self.victims()
        self.target = ",".join(victims)
        pids = self._running(victims)
        for name in victims:
            self.stand.processes.expect_end(name)
        for pid in pids.values():
            os.kill(pid, signal.SIGKILL)
        self.wait_for_ends(pids)
        self.proven("ended: " + ", ".join(f"{name} ({pid})" for name, pid in pids.items()))

    def heal(self) -> None:
        for name in self.target.split(",") if self.target else ():
            self.stand.processes.start(name)

    def victims(self) -> list[str]:
        """Who dies."""
        return [self.pick_node()]

    def _running(self, names: list[str]) -> dict[str, int]:
        found = {name: self.stand.processes.pid(name) for name in names}
        missing = [name for name, pid in found.items() if pid is None]
        if missing:
            raise NotNow(f"{', '.join(missing)}: not running here, so it cannot be killed")
        return {name: pid for name, pid in found.items() if pid is not None}

    def wait_for_ends(self, pids: dict[str, int]) -> None:
        """Until no such process runs."""
        began = {name: started_ticks(pid) for name, pid in pids.items()}
        deadline = time.monotonic() + _END_S
        for name, pid in pids.items():
            while not is_gone(pid) and started_ticks(pid) == began[name]:
                if time.monotonic() > deadline:
                    raise ChaosError(f"{name}, process {pid}, does not end by kill -9")
                time.sleep(0.002)


class KillLeader(Killing):
    """The leader."""

    def victims(self) -> list[str]:
        return [self.victim or self.stand.leader().node]


class KillRandom(Killing):
    """Any node, whatever its role."""

    def victims(self) -> list[str]:
        nodes = self.stand.nodes
        return [self.victim or nodes[self.planned.choice % len(nodes)]]


class KillProxy(Killing):
    """A proxy; clients have to find the other one."""

    def victims(self) -> list[str]:
        proxies = self.stand.proxies
        if not proxies:
            raise ChaosError("there is no proxy in nodes.toml")
        return [self.victim or proxies[self.planned.choice % len(proxies)]]


class KillAll(Killing):
    """Everything at once."""

    def victims(self) -> list[str]:
        return list(self.stand.seats)


class WipeNode(Killing):
    """A node loses its process and all of its data, and begins anew under its name.

    Only while the others hold all that was acknowledged: to wipe more is to lose data for sure.
    """

    def inject(self) -> None:
        # Not the leader: the others hold all that was acknowledged when one of them leads.
        name = self.victim or self.pick_other(self.stand.leader())
        self._wait_for_holders(name)
        self.victim = name
        folder = self.stand.config.nodes[name].data
        for _ in range(5):
            super().inject()
            try:
                held = DataFolder.hold(folder)
            except DataFolderLocked:
                continue  # whoever keeps the process had started it again already
            try:
                moved = held.move_aside()
            finally:
                held.close()
            shutil.rmtree(moved)
            self.proven(f"{folder} deleted")
            return
        raise NotNow(f"{name} is started again faster than its data can be deleted")

    def heal(self) -> None:
        super().heal()
        if not self.fired:
            return
        leader = self.stand.wait_until_whole()
        found = self.stand.look().get(self.target)
        if found is not None:
            self.note(f"whole again at index {found.applied_index}, {leader.node} leads")

    def _wait_for_holders(self, name: str) -> None:
        deadline = time.monotonic() + _HOLDERS_S
        while True:
            why = why_not_without(name, self.stand.nodes, look(self.stand.asker))
            if why is None:
                return
            if time.monotonic() > deadline:
                raise NotNow(f"{name} must not lose its data now: {why}")
            self.stand.sleep(0.1)


class RollingRestart(Fault):
    """SIGTERM and a new start of each node, one after the other, each waited for."""

    def inject(self) -> None:
        self.target = ",".join(self.stand.nodes)
        for name in self.stand.nodes:
            pid = self.stand.processes.pid(name)
            if pid is None:
                raise NotNow(f"{name} does not run")
            began, ticks = time.monotonic(), started_ticks(pid)
            self.stand.processes.expect_end(name)
            os.kill(pid, signal.SIGTERM)
            while not is_gone(pid) and started_ticks(pid) == ticks:
                if time.monotonic() - began > _STOP_S:
                    raise ChaosError(f"{name} does not stop within {_STOP_S:.0f} s of SIGTERM")
                self.stand.sleep(0.005)
            stopped = time.monotonic()
            self.stand.processes.start(name)
            self.stand.wait_until_whole()
            self.note(
                f"{name} stopped after {stopped - began:.2f} s, "
                f"whole {time.monotonic() - stopped:.2f} s later"
            )
        self.fired = True

    def heal(self) -> None:
        for name in self.stand.nodes:
            self.stand.processes.start(name)
