"""A cluster under attack while a workload runs, and what must have held afterwards."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import raftzmq
from raftzmq.limits import GROWTH_BYTES_MAX, NODE_PENDING_BYTES_MAX
from tests.e2e.cluster import Cluster, ask
from tests.hostile.attacks import ATTACKS

ROOT = Path(__file__).resolve().parents[2]
ANONYMOUS_BYTES_MAX = GROWTH_BYTES_MAX + NODE_PENDING_BYTES_MAX
"""Beyond GROWTH_BYTES_MAX connections are closed with each step of growth; what arrives between two
looks, and what the requests that are held cost, comes on top."""


@dataclass(slots=True)
class Workload:
    """Writers that insert unique rows and readers that must see every acknowledged one.

    Attributes:
        acknowledged: keys whose insert was acknowledged.
        errors: whatever went wrong.
    """

    address: str
    acknowledged: set[int] = field(default_factory=set)
    errors: list[str] = field(default_factory=list)
    reads: int = 0
    slowest_s: float = 0.0
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
        def run() -> None:
            with raftzmq.connect(self.address, timeout_ms=30_000) as database:
                while not self._stop.is_set():
                    began = time.monotonic()
                    try:
                        work(database, number)
                    except Exception as error:  # noqa: BLE001 - every error is the finding
                        self.errors.append(f"{type(error).__name__}: {error}")
                    self.slowest_s = max(self.slowest_s, time.monotonic() - began)
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


class Siege:
    """One attacked cluster.

    Args:
        cluster: started, with a leader.
        scratch: where plan and report go.
    """

    def __init__(self, cluster: Cluster, scratch: Path) -> None:
        self.cluster = cluster
        self.scratch = scratch
        self.report: list[dict[str, Any]] = []
        self.peak_bytes: dict[str, int] = {}
        self.before = {name: self.state(name) for name in cluster.names}

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
        command = [sys.executable, "-m", "tests.hostile.campaign", "--plan", str(path)]
        command += ["--seed", str(seed), "--scale", str(scale), "--seconds", str(seconds)]
        if only is not None:
            command += ["--only", *only]
        out = self.scratch / "report.jsonl"
        with out.open("w") as written:
            attackers = subprocess.Popen(command, stdout=written, cwd=ROOT)
            try:
                while attackers.poll() is None:
                    self._look()
                    time.sleep(0.05)
            finally:
                attackers.kill()
                attackers.wait()
        self._look()
        self.report += [json.loads(line) for line in out.read_text().splitlines()]

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
