"""Kind -> class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from raftzmq.chaos.faults import clock, cutting, disk, killing, pausing, waking
from raftzmq.chaos.faults.fault import Fault
from raftzmq.chaos.schedule import Planned
from raftzmq.chaos.stand import Stand

CLASSES: Final[Mapping[str, type[Fault]]] = {
    "kill-leader": killing.KillLeader,
    "kill-random": killing.KillRandom,
    "kill-proxy": killing.KillProxy,
    "kill-all": killing.KillAll,
    "pause": pausing.Pause,
    "rolling-restart": killing.RollingRestart,
    "wipe-node": killing.WipeNode,
    "partition-full": cutting.PartitionFull,
    "partition-one-way": cutting.PartitionOneWay,
    "partition-bridge": cutting.PartitionBridge,
    "wake-cut-off": waking.WakeCutOff,
    "network-delay": cutting.NetworkDelay,
    "network-loss": cutting.NetworkLoss,
    "network-reorder": cutting.NetworkReorder,
    "network-duplicate": cutting.NetworkDuplicate,
    "slow-disk": disk.SlowDisk,
    "fsync-error": disk.FsyncError,
    "fill-disk": disk.FillDisk,
    "clock-jump": clock.ClockJump,
    "clock-drift": clock.ClockDrift,
}


def make(stand: Stand, planned: Planned, victim: str = "") -> Fault:
    """The fault that was planned."""
    return CLASSES[planned.kind](stand, planned, victim)
