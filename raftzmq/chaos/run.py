"""One run: a cluster, a workload, faults from a seed, and the verdict, all kept in a folder."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import apsw
import zmq

import raftzmq
from raftzmq.chaos import ending, figures, logs, tables
from raftzmq.chaos.cluster import ChaosCluster, Wish
from raftzmq.chaos.faults.catalogue import make
from raftzmq.chaos.faults.fault import Fault as ActiveFault
from raftzmq.chaos.judge import Evidence, judge
from raftzmq.chaos.kinds import possible
from raftzmq.chaos.load import Load
from raftzmq.chaos.observer import Observer
from raftzmq.chaos.record import Fault, Run, save
from raftzmq.chaos.report import write_report
from raftzmq.chaos.schedule import Planned, plan
from raftzmq.chaos.trouble import ChaosError, NotNow
from raftzmq.chaos.workload import Orders
from raftzmq.checker.history import HistoryUnreadable, Operation, read_history
from raftzmq.errors import RequestError

_LOOK_S: Final = 0.1
_TELL_S: Final = 10.0
_TRIES: Final = 3
"""So often, each time on another victim, is a fault tried that the cluster does not allow."""
_STARTS_AGAIN: Final = 3
"""So often is a node started again that ended unasked: it has failed the run, yet what is left of
the run should still be one of a whole cluster."""
_WARM_UP_S: Final = 60.0
_TIMEOUTS_MS: Final = [600, 2_000, 5_000, 10_000]
"""The shortest makes unknown outcomes likely, the longest outlives most faults."""


@dataclass(frozen=True, slots=True)
class Order:
    """What to run.

    Attributes:
        command: to repeat it, for people.
        kinds: names of kinds of faults, all possible with ``wish``.
        folder: takes everything.
        clients: per model.
        think_ms: of each client, on average.
    """

    command: str
    seed: int
    seconds: float
    kinds: tuple[str, ...]
    wish: Wish
    folder: Path
    clients: int = 4
    think_ms: float = 25.0


def run(order: Order, say: Callable[[str], None]) -> Run:
    """Do it, and keep run.json, histories, logs and report.html in the folder.

    Args:
        say: takes lines for people.

    Raises:
        ChaosError: it could not begin; the message says what to do.
        ConfigError: the faults do not fit into the time.
    """
    planned = plan(order.seed, order.seconds, order.kinds)
    return _Running(order, planned, say).run()


class _Running:
    def __init__(
        self, order: Order, planned: Sequence[Planned], say: Callable[[str], None]
    ) -> None:
        self._order = order
        self._planned = planned
        self._say = say
        self._faults: list[Fault] = []
        self._active: list[tuple[ActiveFault, float, float]] = []
        self._trouble: list[str] = []
        self._put_off: list[str] = []
        self._next_word_s = _TELL_S
        self._began_s = 0.0
        self._slip_s = 0.0
        self._load: Load | None = None
        self._cluster: ChaosCluster

    def run(self) -> Run:
        order = self._order
        with ExitStack() as stack:
            self._say(f"starting {order.wish.nodes} nodes and {order.wish.proxies} proxies")
            self._cluster = stack.enter_context(
                ChaosCluster(order.folder, order.wish, sleep=self._pause)
            )
            stand = self._cluster.stand
            _, cannot = possible(order.kinds, stand.have)
            if cannot:
                raise ChaosError(
                    "; ".join(f"{kind} {why}" for kind, why in cannot.items())
                    + ": name other faults with --faults"
                )
            addresses = [proxy.address for proxy in stand.config.proxies.values()]
            stand.wait_until_whole(_WARM_UP_S)
            with raftzmq.connect(*addresses) as database:
                for statement in tables.SCHEMA:
                    database.write(statement)
            started = datetime.now(UTC)
            origin_ns = time.monotonic_ns()
            self._began_s = origin_ns / 1e9
            load = self._load = Load(
                order.folder,
                Orders(
                    addresses,
                    [node.client for node in stand.config.nodes.values()],
                    order.seed,
                    order.clients,
                    order.think_ms,
                    _TIMEOUTS_MS,
                ),
            )
            stack.callback(load.kill)
            clients = {name: node.client for name, node in stand.config.nodes.items()}
            with Observer(clients, self._began_s) as observer:
                try:
                    self._inject_all()
                except ChaosError as error:
                    self._trouble.append(str(error))
                    self._say(f"the run cannot go on: {error}")
                finally:
                    self._heal_all()
                seconds = self._now()
                self._finish(load)
                histories = {model: self._history(model) for model in tables.MODELS}
                present, digests = self._read_back(addresses, histories)
            self._note_ends()
        self._say("judging")
        return self._judged(
            Evidence(
                histories=histories,
                origin_ns=origin_ns,
                faults_from_s=min((each.from_s for each in self._faults), default=seconds),
                seconds=seconds,
                wanted=order.kinds,
                faults=(),
                stalls=(),
                leaderships=(),
                present=present,
                digests=digests,
                nodes=stand.nodes,
                errors=load.counts.get("errors", {}),
            ),
            observer,
            started,
        )

    def _now(self) -> float:
        return time.monotonic() - self._began_s

    def _pause(self, seconds: float) -> None:
        """Whatever waits also watches."""
        time.sleep(seconds)
        if self._load is None:
            return
        self._note_ends()
        self._heal_due()
        if self._now() >= self._next_word_s:
            self._next_word_s = self._now() + _TELL_S
            counts = self._load.counts
            self._say(
                f"{self._now():6.1f} s  {counts.get('acknowledged', 0):,} operations succeeded, "
                f"{counts.get('refused', 0):,} refused, {counts.get('unknown', 0):,} unknown, "
                f"{len(self._faults)} faults"
            )

    def _note_ends(self) -> None:
        for each in self._cluster.processes.note_ends(self._began_s):
            self._say(
                f"{each.at_s:6.1f} s  {each.name} ENDED UNASKED, code {each.code}: {each.last_line}"
            )
            ends = [other for other in self._cluster.processes.endings if other.name == each.name]
            if len(ends) <= _STARTS_AGAIN:
                self._cluster.processes.start(each.name)

    def _inject_all(self) -> None:
        missing = set(self._order.kinds)
        for planned in self._planned:
            at_s = planned.at_s + self._slip_s
            if max(at_s, self._now()) > self._order.seconds and not missing:
                break
            self._wait_until(at_s)
            self._slip_s += max(0.0, self._now() - at_s - _LOOK_S)
            if self._inject(planned):
                missing.discard(planned.kind)
        for planned in {each.kind: each for each in self._planned if each.kind in missing}.values():
            self._inject(planned)
        while self._active:
            self._wait_until(max(until_s for _, _, until_s in self._active))
        self._wait_until(self._order.seconds)

    def _wait_until(self, at_s: float) -> None:
        assert self._load is not None
        while True:
            self._load.check()
            if self._cluster.network is not None and not self._cluster.network.runs():
                raise ChaosError("the switch ended by itself; see switch.log")
            self._heal_due()
            left = at_s - self._now()
            if left <= 0:
                return
            for fault, _, _ in self._active:
                fault.look()
            self._pause(min(left, _LOOK_S))

    def _heal_due(self) -> None:
        """Also while another fault waits for something, which it may be this one that withholds."""
        while due := [each for each in self._active if self._now() >= each[2]]:
            self._heal(due[0])

    def _inject(self, planned: Planned) -> bool:
        """Whether it was injected, well or not; False if the cluster did not allow it."""
        for number in range(_TRIES):
            try:
                self._try(replace(planned, choice=planned.choice + number))
            except NotNow as error:
                why = str(error)
                self._say(f"{self._now():6.1f} s  {planned.kind} not now: {why}")
            else:
                return True
        self._put_off.append(f"{planned.kind} at {self._now():.1f} s ({why})")
        return False

    def _try(self, planned: Planned) -> None:
        fault = make(self._cluster.stand, planned)
        while fault.wants_whole and any(each[0].wants_whole for each in self._active):
            # The one before it began late and is still on: two at once could take the majority.
            self._wait_until(max(until_s for _, _, until_s in self._active))
        try:
            if fault.wants_whole:
                self._cluster.stand.wait_until_whole()
            began = self._now()
            fault.inject()
        except NotNow:
            self._take_back(fault)
            raise
        except (ChaosError, OSError) as error:
            began = self._now()
            fault.fired = False
            fault.note(f"not injected: {error}")
        self._say(f"{began:6.1f} s  {planned.kind} {fault.target}: {fault.detail or 'on'}")
        self._active.append((fault, began, self._now() + planned.for_s))

    def _heal(self, active: tuple[ActiveFault, float, float]) -> None:
        self._active.remove(active)
        fault, began, _ = active
        self._take_back(fault)
        self._faults.append(
            Fault(
                kind=fault.planned.kind,
                target=fault.target,
                from_s=round(began, 3),
                until_s=round(self._now(), 3),
                fired=fault.fired,
                detail=fault.detail,
            )
        )
        self._say(
            f"{self._now():6.1f} s  {fault.planned.kind} {fault.target} healed"
            + (f": {fault.detail}" if fault.fired else f", DID NOT FIRE: {fault.detail}")
        )

    def _take_back(self, fault: ActiveFault) -> None:
        try:
            fault.heal()
        except (ChaosError, OSError) as error:
            self._trouble.append(f"{fault.planned.kind}: {error}")
            fault.note(str(error))

    def _heal_all(self) -> None:
        while self._active:
            self._heal(self._active[0])
        network = self._cluster.network
        if network is not None and network.runs():
            network.control.clear()
        for name in self._cluster.processes.start_ended():
            self._say(f"{name} started again")

    def _finish(self, load: Load) -> None:
        """Clients go on until the cluster is whole, so that they show that service came back."""
        try:
            self._cluster.stand.wait_until_whole()
            self._pause(1.0)
        except ChaosError as error:
            self._trouble.append(f"after the last fault: {error}")
        try:
            load.finish()
        except ChaosError as error:
            self._trouble.append(str(error))

    def _history(self, model: str) -> list[Operation]:
        """What can be read of it: clients that were cut short end in the middle of a line."""
        found: list[Operation] = []
        try:
            for each in read_history(self._order.folder / f"history-{model}.jsonl"):
                found.append(each)  # one by one: those before a broken line are kept
        except (HistoryUnreadable, OSError) as error:
            self._trouble.append(f"the history of {model}: {error}")
        return found

    def _read_back(
        self, addresses: list[str], histories: dict[str, list[Operation]]
    ) -> tuple[dict[str, int] | None, dict[str, tuple[int, str]] | None]:
        self._say("reading everything back")
        present: dict[str, int] | None = None
        found: dict[str, tuple[int, str]] | None = None
        try:
            for model, history in histories.items():
                history.extend(ending.read_keys(addresses, model, history))
            present = ending.read_names(addresses)
            found = ending.equal_digests(self._cluster.stand)
        except RequestError as error:
            self._trouble.append(f"reading everything back: {error.message}")
        return present, found

    def _judged(self, evidence: Evidence, observer: Observer, started: datetime) -> Run:
        order, folder = self._order, self._order.folder
        operations = [each for history in evidence.histories.values() for each in history]
        names = [*evidence.nodes, *self._cluster.stand.proxies, "switch", "workload"]
        lines = logs.read_logs(folder, names, started)
        for line in lines:
            term = logs.began_to_lead(line)
            if term is not None and line.process in evidence.nodes:
                observer.leaderships.see_line(
                    line.process, term, min(max(0.0, line.at_s), evidence.seconds)
                )
        faults = tuple(sorted(self._faults, key=lambda each: each.from_s))
        found = figures.stalls(operations, evidence.origin_ns, evidence.seconds, faults)
        evidence = replace(
            evidence,
            faults=faults,
            stalls=found,
            leaderships=observer.leaderships.found(),
            endings=[
                f"{each.name} ended unasked at {each.at_s:.1f} s, code {each.code}: "
                f"{each.last_line}"
                for each in self._cluster.processes.endings
            ],
            tracebacks=logs.bugs(lines),
            put_off=self._put_off,
            trouble=self._trouble,
        )
        result = Run(
            command=order.command,
            seed=order.seed,
            seconds=round(evidence.seconds, 3),
            started=started.strftime("%Y-%m-%d %H:%M:%S UTC"),
            versions=versions(),
            nodes=tuple(evidence.nodes),
            faults=faults,
            leaderships=tuple(evidence.leaderships),
            samples=figures.samples(operations, evidence.origin_ns, evidence.seconds),
            stalls=found,
            verdicts=judge(evidence),
            log=logs.shown(lines),
        )
        save(result, folder / "run.json")
        write_report(result, folder / "report.html")
        return result


def versions() -> dict[str, str]:
    """What the run ran on."""
    return {
        "raftzmq": raftzmq.__version__,
        "Python": platform.python_version(),
        "SQLite": apsw.sqlite_lib_version(),
        "APSW": apsw.apsw_version(),
        "libzmq": zmq.zmq_version(),
        "pyzmq": zmq.pyzmq_version(),
        "kernel": platform.release(),
        "machine": f"{platform.machine()}, {os.cpu_count()} processors",
        "program": str(Path(sys.modules["raftzmq"].__file__ or "").parent),
    }
