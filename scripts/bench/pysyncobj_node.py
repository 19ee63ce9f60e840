"""One node of PySyncObj with a journal; with --load it writes, and prints figures as JSON.

PySyncObj writes its journal through a memory map and flushes it (msync) only where it chooses to;
see docs/performance.md. So this is its speed, not that of a database that promises durability.
"""

# ruff: noqa: T201  (printing is what this program is for)
from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from pysyncobj import SyncObj, SyncObjConf
from pysyncobj.batteries import ReplDict


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address")
    parser.add_argument("others")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--load", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--warm-up", type=float, default=1.0)
    parser.add_argument("--size", type=int, default=100)
    wanted = parser.parse_args()
    table: Any = ReplDict()
    conf = SyncObjConf(
        journalFile=str(wanted.folder / f"journal-{wanted.address.rpartition(':')[2]}"),
        commandsQueueSize=1_000_000,
        autoTick=False,
        # It sends what has gathered at this period; at its default, 0.1 s, it does 10 writes a
        # second one at a time.
        appendEntriesPeriod=0.002,
    )
    node = SyncObj(wanted.address, wanted.others.split(","), conf, consumers=[table])
    if not wanted.load:
        while True:
            node.doTick(0.002)
    end = time.monotonic() + 30
    while not node.isReady() or node._getLeader() is None:
        node.doTick(0.05)
        if time.monotonic() > end:
            print("no leader within 30 s", file=sys.stderr)
            return 1
    begin = time.perf_counter() + wanted.warm_up
    stop = begin + wanted.seconds
    samples: list[float] = []
    state = {"failed": 0, "flying": 0, "number": 0}
    value = b"v" * wanted.size

    def write() -> None:
        sent = time.perf_counter()
        state["number"] += 1
        state["flying"] += 1

        def done(_: object, error: int) -> None:
            now = time.perf_counter()
            state["flying"] -= 1
            if begin <= now < stop:
                if error:
                    state["failed"] += 1
                else:
                    samples.append((now - sent) * 1000)

        table.set(state["number"] % 1000, value, callback=done)

    while time.perf_counter() < stop:
        while state["flying"] < wanted.load:
            write()
        node.doTick(0.001)
    samples.sort()
    print(
        json.dumps(
            {
                "count": len(samples),
                "seconds": wanted.seconds,
                "failed": state["failed"],
                "p50_ms": samples[len(samples) // 2] if samples else None,
                "p99_ms": samples[len(samples) * 99 // 100] if samples else None,
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
