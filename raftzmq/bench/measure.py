"""One repeat: prepare, warm up, measure, drain, with the meters read around it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from raftzmq.bench.connections import ManyConnections
from raftzmq.bench.meter import Reading, local_pids, read_meters
from raftzmq.bench.report import Report, make_report
from raftzmq.bench.run import ClosedLoop, OpenLoop, Progress, drain
from raftzmq.bench.target import PipelinedTarget, Target
from raftzmq.bench.workload import Workload
from raftzmq.client.connection import open_pipeline
from raftzmq.wire.status import NodeStatus

OPEN_IN_FLIGHT: Final = 10_000
"""Of an open loop over one connection: what is due during a stall waits at the client beyond it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """How to load; see ``result.Setup``."""

    in_flight: int
    connections: int
    rate: float
    warm_up_s: float
    seconds: float


def measure(
    workload: Workload,
    load: Load,
    address: str,
    *,
    pids: Mapping[str, int],
    statuses: Callable[[], dict[str, NodeStatus]],
    folder: Path | None,
    progress: Progress,
) -> Report:
    """One repeat against ``address``.

    Args:
        workload: what to ask.
        load: how much of it.
        address: of a proxy or node.
        pids: processes to watch; of the nodes that answer when empty.
        statuses: asks the nodes.
        folder: where their data is, when it is on this machine.
        progress: called several times a second.

    Raises:
        RequestError: the cluster refuses, or does not answer.
    """
    with ExitStack() as stack:
        pipeline = stack.enter_context(open_pipeline(address))
        workload.prepare(pipeline)
        target: Target = PipelinedTarget(pipeline, workload)
        if load.connections:
            target = stack.enter_context(ManyConnections(address, workload, load.connections))
        loop = (
            OpenLoop(target, rate=load.rate, in_flight_max=load.in_flight)
            if load.rate
            else ClosedLoop(target, clients=load.in_flight)
        )
        if load.warm_up_s:
            loop.run(load.warm_up_s)
            drain(target)
        seen = statuses()
        watched = pids or local_pids(seen)
        before = read_meters(watched, seen, folder)
        samples = loop.run(load.seconds, progress)
        after = read_meters(watched, {}, folder)
        drain(target)
        # Asked last: a busy cluster would answer late, and the wait would count as work.
        after = Reading(after.cpu_s, statuses(), after.disk_bytes, after.busy_s)
    return make_report(samples, before, after)
