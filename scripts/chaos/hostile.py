"""Attacks a cluster of its own and says what was noticed; run by hostile.sh.

The attacks are those of the tests (tests/hostile), at full scale.
"""

# ruff: noqa: T201  (printing is what this program is for)
from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.e2e.cluster import Cluster  # noqa: E402 - after the path is set
from tests.hostile.attacks import ATTACKS  # noqa: E402
from tests.hostile.siege import REQUESTS_MIN, Siege, Workload  # noqa: E402

QUIET_S = 3.0
"""The workload alone, to compare with."""


def main() -> int:
    """Run the command line; returns the exit code."""
    arguments = _parser().parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    seed = random.SystemRandom().randrange(1 << 32) if arguments.seed is None else arguments.seed
    folder = Path(tempfile.mkdtemp(prefix="raftzmq-hostile-"))
    print(f"seed {seed}, scale {arguments.scale}, folder {folder}", flush=True)
    cluster = _cluster(folder, "cluster")
    attacked = _cluster(folder, "neighbour") if arguments.beside else cluster
    found = ["it did not end"]
    try:
        found = _attack(cluster, attacked, seed, arguments)
    finally:
        attacked.close()
        cluster.close()
        if found or arguments.keep:
            print(f"kept: {folder}")
        else:
            shutil.rmtree(folder)
    for each in found:
        print(f"noticed: {each}")
    return 1 if found else 0


def _cluster(folder: Path, name: str) -> Cluster:
    own = folder / name
    own.mkdir()
    return Cluster(own)


def _attack(
    cluster: Cluster, attacked: Cluster, seed: int, arguments: argparse.Namespace
) -> list[str]:
    for each in {cluster, attacked}:
        each.start()
        each.wait_for_leader()
    code, _, body = cluster.write("CREATE TABLE w (id INTEGER PRIMARY KEY, v)")
    if code:
        return [f"the table could not be made: {body}"]
    cluster.wait_caught_up()
    attacked.wait_caught_up()  # a node that has not heard of the leader yet is of an earlier term
    workload = Workload(cluster.proxy)
    workload.start()
    time.sleep(QUIET_S)
    began = time.monotonic()
    reads = writes = quiet = 0
    try:
        siege = Siege(attacked, attacked.folder)
        quiet = len(workload.took_s)
        reads, writes = workload.reads, len(workload.acknowledged)
        siege.run(seed, arguments.scale, seconds=arguments.seconds, only=arguments.only)
        reads, writes = workload.reads - reads, len(workload.acknowledged) - writes
    finally:
        workload.stop()
    took = time.monotonic() - began
    thrown = sum(line["thrown"] for line in siege.report)
    print(
        f"{len(siege.report)} attacks, {thrown} things thrown in {took:.0f} s; meanwhile "
        f"{writes} writes and {reads} reads, the slowest {max(workload.took_s):.2f} s"
    )
    for when, took_s in (
        ("before", workload.took_s[:quiet]),
        ("meanwhile", workload.took_s[quiet:]),
    ):
        if len(took_s) > 1:
            hundredths = statistics.quantiles(took_s, n=100, method="inclusive")
            print(
                f"a request {when}: median {hundredths[49] * 1000:.0f} ms, "
                f"99 % within {hundredths[98] * 1000:.0f} ms"
            )
    for at_s, kind, took_s in sorted(workload.slow):
        print(f"slow: a {kind} at {at_s:.0f} s took {took_s:.1f} s")
    print(
        f"work of the processors for others than cluster, load and attackers: "
        f"{siege.others_share:.0%}"
    )
    worked_s, waited_s = siege.main_threads_s
    print(
        f"work for the attackers: {siege.attackers_share:.0%}; the main threads of nodes and proxy "
        f"worked {worked_s:.0f} s and waited {waited_s:.0f} s for a processor"
    )
    peaks = {name: f"{peak >> 20} MiB" for name, peak in siege.peak_bytes.items()}
    print("largest anonymous memory:", json.dumps(peaks))
    found = list(workload.errors) if arguments.beside else siege.complaints(workload)
    if min(reads, writes) < REQUESTS_MIN:
        found.append(f"too little traffic to say anything: {writes} writes, {reads} reads")
    if not arguments.beside and all(
        process.poll() is None for process in cluster.processes.values()
    ):
        print("dropped, by cause:", json.dumps(siege.dropped(), indent=2))
        if arguments.only is None:
            found += siege.missing()
        if siege.replicas_differ():
            found.append("the replicas differ")
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Attack a cluster of its own.")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--only", nargs="+", choices=sorted(ATTACKS), default=None)
    parser.add_argument("--beside", action="store_true")
    parser.add_argument("--keep", action="store_true")
    return parser


if __name__ == "__main__":
    sys.exit(main())
