"""A cluster under attack while a workload runs, and what must have held afterwards."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import raftzmq
from raftzmq.limits import GROWTH_BYTES_MAX
from tests.e2e.cluster import Cluster, ask, wait_for
from tests.hostile.attacks import ATTACKS

ROOT = Path(__file__).resolve().parents[2]
OVERSHOOT_BYTES: Final = 320 << 20
"""What arrives between the moment a process has outgrown its bound and the moment the connection
that did it is closed and libzmq has let go of what it held."""
ANONYMOUS_BYTES_MAX: Final = GROWTH_BYTES_MAX + OVERSHOOT_BYTES
ATTACKERS_NICE: Final = 10
"""Attackers sit at other machines. Here they share the processors with what they attack, which must
not lose to them in the scheduler what it would not lose on the network."""
OVERTIME_S: Final = 180
"""Each attack comes to each socket at least once, however short the siege is meant to be. An attack
that has not ended by then waits for something that does not come."""
SLOW_S: Final = 3.0
"""Requests of the workload that took so long are listed."""
REQUESTS_MIN: Final = 50
"""Of the workload, each way, while the attack lasts; fewer would prove nothing."""
DESCRIPTORS_MORE_MAX: Final = 32
"""After the attack: each of eight workers opens three files of state.db when it first reads, and
the connections of the workload come and go. Each attack on connections opens hundreds."""

NODE_CAUSES: Final = {
    "malformed": "random, truncated, nested or bloated peer frames",
    "other version": "peer frames of other versions",
    "foreign cluster": "peer frames of another cluster",
    "own name as sender": "forged peer frames",
    "another life of the sender": "forged peer frames",
    "an answer to another life of this node": "forged answers",
    "a greeting with a wrong number": "forged greetings",
    "peer frames": "messages of more or fewer frames",
    "peer handshake failed": "connections to the peer port that are no ZMTP",
    "client malformed": "requests that are none",
    "client other version": "requests of other versions",
    "client without envelope": "requests nobody could answer",
    "client frames": "messages of a hundred thousand frames",
    "client handshake failed": "connections to the client port that are no ZMTP",
    "reply to a client that left": "clients that do not wait",
}
PROXY_CAUSES: Final = {
    "dropped_envelope": "requests nobody could answer",
    "dropped_overlong": "messages of a hundred thousand frames",
    "dropped_version": "requests of other versions",
    "dropped_malformed": "requests that are none",
    "dropped_expired": "requests whose time ran out",
    "dropped_reply": "clients that do not wait",
    "client handshake failed": "connections that are no ZMTP",
}


@dataclass(slots=True)
class Workload:
    """Writers that insert unique rows and readers that must see every acknowledged one.

    Attributes:
        acknowledged: keys whose insert was acknowledged.
        errors: whatever went wrong.
        took_s: what each request took.
        slow: requests that took SLOW_S or longer: seconds since the start, kind, seconds.
    """

    address: str
    acknowledged: set[int] = field(default_factory=set)
    errors: list[str] = field(default_factory=list)
    reads: int = 0
    took_s: list[float] = field(default_factory=list)
    slow: list[tuple[float, str, float]] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self, writers: int = 2, readers: int = 2) -> None:
        """Begin; the table ``w`` must be there."""
        for number in range(writers):
            self._begin(self._write, number)
        for number in range(readers):
            self._begin(self._read, number)

    def stop(self) -> None:
        """End, and wait for what is under way."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _begin(self, work: Callable[[raftzmq.Connection, int], None], number: int) -> None:
        start = time.monotonic()

        def run() -> None:
            with raftzmq.connect(self.address, timeout_ms=30_000) as database:
                while not self._stop.is_set():
                    began = time.monotonic()
                    try:
                        work(database, number)
                    except Exception as error:  # noqa: BLE001 - every error is the finding
                        self.errors.append(f"{type(error).__name__}: {error}")
                    took_s = time.monotonic() - began
                    self.took_s.append(took_s)
                    if took_s >= SLOW_S:
                        self.slow.append((began - start, work.__name__.strip("_"), took_s))
                    time.sleep(0.002)

        thread = threading.Thread(target=run)
        self._threads.append(thread)
        thread.start()

    def _write(self, database: raftzmq.Connection, number: int) -> None:
        key = (number + 1) * 10_000_000 + len(self.acknowledged) * 10 + number
        database.write("INSERT INTO w (id, v) VALUES (?, random())", [key])
        self.acknowledged.add(key)

    def _read(self, database: raftzmq.Connection, number: int) -> None:
        known = len(self.acknowledged)
        [[count]] = database.read("SELECT count(*) FROM w").rows
        if not isinstance(count, int) or count < known:
            self.errors.append(f"a linearizable read saw {count!r} rows after {known} were there")
        self.reads += 1


def memory_bytes(pid: int) -> tuple[int, int]:
    """(anonymous now, peak resident) of a process."""
    found = {}
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name in ("RssAnon", "VmHWM"):
            found[name] = int(value.split()[0]) << 10
    return found["RssAnon"], found["VmHWM"]


def descriptors(pid: int) -> int:
    """Files and sockets that a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def busy_s() -> float:
    """Seconds that all processors of this machine have worked, for whomever."""
    user, nice, system, _, _, irq, softirq, steal, *_ = map(
        int, Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    )
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def process_s(pid: int) -> float:
    """Processor seconds of a process and of its ended children."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def main_thread_s(pid: int) -> tuple[float, float]:
    """Seconds that the first thread of a process has worked, and has waited for a processor."""
    worked, waited, _ = map(int, Path(f"/proc/{pid}/schedstat").read_text().split())
    return worked / 1e9, waited / 1e9


class Siege:
    """One attacked cluster.

    Args:
        cluster: started, with a leader.
        scratch: where plan and report go.

    Attributes:
        report: a line per attack: attack, target, began, thrown, seconds, error.
        unended: the same without the last three, of attacks that had not ended in time.
        peak_bytes: largest anonymous memory seen of each process.
        others_share: part of the work of the processors that was done for nobody here: what an
            election says about the attack while that is large, nobody can tell.
        attackers_share: part of it that was done for the attackers.
        main_threads_s: of the processes of the cluster together: worked, and waited for a processor
            that another had.
    """

    def __init__(self, cluster: Cluster, scratch: Path) -> None:
        self.cluster = cluster
        self.scratch = scratch
        self.report: list[dict[str, Any]] = []
        self.unended: list[dict[str, Any]] = []
        self.peak_bytes: dict[str, int] = {}
        self.before = {name: self.state(name) for name in cluster.names}
        self.descriptors = {name: descriptors(pid) for name, pid in self._pids().items()}
        self.others_share = 0.0
        self.attackers_share = 0.0
        self.main_threads_s = (0.0, 0.0)
        self._attacks: list[str] = []

    def state(self, name: str) -> dict[str, Any]:
        """Status of a node, which must answer."""
        for _ in range(50):
            status = self.cluster.status(name)
            if status is not None:
                return status
        raise TimeoutError(f"{name} does not answer")

    def run(
        self,
        seed: int,
        scale: float,
        *,
        seconds: float = 0.0,
        only: list[str] | None = None,
        recorded: list[bytes] | None = None,
    ) -> None:
        """Attack every bound socket; returns when the attackers have ended."""
        plan = {
            "cluster": "test",
            "members": self.cluster.names,
            "targets": [
                *(["peer", address, name] for name, address in self.cluster.peers.items()),
                *(["client", address, name] for name, address in self.cluster.clients.items()),
                ["front", self.cluster.proxy, ""],
            ],
            "recorded": [each.hex() for each in recorded or []],
        }
        if only is None and not recorded:
            only = sorted(ATTACKS.keys() - {"replayed"})  # nothing was caught that it could throw
        path = self.scratch / "plan.json"
        path.write_text(json.dumps(plan))
        self._attacks = only if only is not None else sorted(ATTACKS)
        command = ["nice", "-n", str(ATTACKERS_NICE), sys.executable, "-m"]
        command += ["tests.hostile.campaign", "--plan", str(path)]
        command += ["--seed", str(seed), "--scale", str(scale), "--seconds", str(seconds)]
        if only is not None:
            command += ["--only", *only]
        out = self.scratch / "report.jsonl"
        worked, ours, mains = busy_s(), self._processor_s(), self._main_threads_s()
        thrown_s = 0.0
        until = time.monotonic() + seconds + OVERTIME_S
        with out.open("w") as written:
            attackers = subprocess.Popen(command, stdout=written, cwd=ROOT)
            try:
                while attackers.poll() is None and time.monotonic() < until:
                    self._look()
                    thrown_s = process_s(attackers.pid)
                    time.sleep(0.05)
            finally:
                attackers.kill()
                attackers.wait()
        self._look()
        worked = busy_s() - worked
        ours = self._processor_s() - ours + thrown_s
        self.others_share = max(0.0, 1 - ours / worked) if worked else 0.0
        self.attackers_share = thrown_s / worked if worked else 0.0
        now = self._main_threads_s()
        self.main_threads_s = now[0] - mains[0], now[1] - mains[1]
        lines = [json.loads(line) for line in out.read_text().splitlines()]
        ended = [line for line in lines if "seconds" in line]
        named = {(line["attack"], line["target"], line["began"]) for line in ended}
        self.report += ended
        self.unended += [
            line for line in lines if (line["attack"], line["target"], line["began"]) not in named
        ]

    def _pids(self) -> dict[str, int]:
        return {
            name: process.pid
            for name, process in self.cluster.processes.items()
            if process.poll() is None
        }

    def _processor_s(self) -> float:
        return sum(map(process_s, (*self._pids().values(), os.getpid())))

    def _main_threads_s(self) -> tuple[float, float]:
        found = [main_thread_s(pid) for pid in self._pids().values()]
        return sum(worked for worked, _ in found), sum(waited for _, waited in found)

    def _look(self) -> None:
        for name, process in self.cluster.processes.items():
            if process.poll() is None:
                anonymous, _ = memory_bytes(process.pid)
                self.peak_bytes[name] = max(self.peak_bytes.get(name, 0), anonymous)

    def dropped(self) -> dict[str, dict[str, int]]:
        """Node or broker -> cause -> count, as ``raftzmq status --json`` shows them."""
        found = {name: dict(self.state(name)["dropped"]) for name in self.cluster.names}
        _, _, body = ask(self.cluster.proxy, 3)
        broker = body["broker"]
        found["proxy"] = {
            **{key: count for key, count in broker.items() if key.startswith("dropped_")},
            **broker["dropped"],
        }
        return found

    def replicas_differ(self) -> bool:
        """Whether two replicas hold something else at the same index.

        Writes of attackers may still be on their way through the proxy, so the replicas are asked
        until they answer for one index.

        Raises:
            TimeoutError: they never do.
        """

        def at_one_index() -> set[tuple[int, str]] | None:
            self.cluster.wait_caught_up()
            found = self.cluster.digests()
            return found if len({index for index, _ in found}) == 1 else None

        return len(wait_for(at_one_index, "all replicas at one index")) != 1

    def missing(self) -> list[str]:
        """Causes that every siege with all attacks must have counted, and that one did not."""
        dropped = self.dropped()
        wanted = {**dict.fromkeys(self.cluster.names, NODE_CAUSES), "proxy": PROXY_CAUSES}
        return [
            f"not counted at {where}: {cause} ({what})"
            for where, causes in wanted.items()
            for cause, what in causes.items()
            if not dropped[where].get(cause)
        ]

    def _descriptor_complaints(self) -> list[str]:
        """Connections that stay behind; those of clients that went are given ten seconds."""
        found: list[str] = []
        for _ in range(100):
            found = [
                f"{name} had {before} files and sockets open, has {now}"
                for name, pid in self._pids().items()
                for before, now in [(self.descriptors[name], descriptors(pid))]
                if now > before + DESCRIPTORS_MORE_MAX
            ]
            if not found:
                break
            time.sleep(0.1)
        return found

    def _arrival_complaints(self) -> list[str]:
        """An attack that some target never saw in whole or in part proves nothing."""
        targets = [f"peer {name}" for name in self.cluster.names]
        targets += [f"client {name}" for name in self.cluster.names] + ["front"]
        arrived = {(line["attack"], line["target"]) for line in self.report if line["thrown"]}
        return [
            f"{attack} never reached {target}"
            for target in targets
            for attack in self._attacks
            if (attack, target) not in arrived
        ]

    def complaints(self, workload: Workload) -> list[str]:
        """What did not hold, in words; nothing when all is well."""
        found = [f"workload: {error}" for error in workload.errors[:20]]
        for name, process in self.cluster.processes.items():
            if process.poll() is not None:
                found.append(f"{name} ended with {process.returncode}")
                return found
        for name, state in self.before.items():
            now = self.state(name)
            for key in ("pid", "term", "boot"):
                if now[key] != state[key]:
                    found.append(f"{name}: {key} was {state[key]}, is {now[key]}")
        for name, peak in self.peak_bytes.items():
            if peak > ANONYMOUS_BYTES_MAX:
                found.append(f"{name} grew to {peak >> 20} MiB")
        found += self._descriptor_complaints()
        found += self._arrival_complaints()
        found += [f"this attack did not end: {line}" for line in self.unended]
        for line in self.report:
            broken = str(line["error"]).startswith("broken attack")
            if broken or (not line["thrown"] and line["error"] is None):
                found.append(f"this attack never arrived: {line}")
        keys = {row[0] for row in self.cluster.read("SELECT id FROM w")}
        if keys != workload.acknowledged:
            found.append(
                f"lost {sorted(workload.acknowledged - keys)[:5]}, "
                f"unknown {sorted(keys - workload.acknowledged)[:5]}"
            )
        return found
