"""When a process looks for garbage in cycles; what is set for a process, in one of its own."""

from __future__ import annotations

import subprocess
import sys

from raftzmq.transport.cycles import BUSY_MS_MAX, REST_MS, REST_PER_MS, OldCycles

_FLOOD = """
import gc
from raftzmq.transport.cycles import spare_the_old

full = []
gc.callbacks.append(lambda phase, info: full.append(info) if info["generation"] == 2 else None)

def flood():
    return [{"request": [number]} for number in range(300_000)]

class Cycle:
    ended = 0
    def __init__(self):
        self.me = self
    def __del__(self):
        Cycle.ended += 1

held = flood()
print(len(full))
del held
spare_the_old()
full.clear()
held = flood()
print(len(full))
for _ in range(100_000):
    Cycle()
print(Cycle.ended)
"""


def test_a_flood_begins_no_full_collection_and_young_cycles_go() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _FLOOD], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    by_default, spared, cycles = map(int, done.stdout.split())
    assert by_default > 2, "else this test shows nothing"
    assert spared == 0
    assert cycles > 90_000


def test_the_longer_one_took_the_later_the_next() -> None:
    now_ms = 5_000
    took_ms = 1
    calls = []

    def collect() -> None:
        nonlocal now_ms
        calls.append(now_ms)
        now_ms += took_ms

    cycles = OldCycles(now_ms, collect, lambda: now_ms)
    assert not cycles.is_due(now_ms + REST_MS - 1, busy=False)
    now_ms += REST_MS
    assert cycles.is_due(now_ms, busy=False)
    cycles.collect()
    assert not cycles.is_due(now_ms + REST_MS - 1, busy=False)
    assert cycles.is_due(now_ms + REST_MS, busy=False)

    now_ms += REST_MS
    took_ms = 200
    cycles.collect()
    assert not cycles.is_due(now_ms + 200 * REST_PER_MS - 1, busy=False)
    assert cycles.is_due(now_ms + 200 * REST_PER_MS, busy=False)
    assert len(calls) == 2


def test_who_is_busy_is_interrupted_once_in_an_hour() -> None:
    cycles = OldCycles(0, lambda: None, lambda: 0)
    assert not cycles.is_due(REST_MS + BUSY_MS_MAX - 1, busy=True)
    assert cycles.is_due(REST_MS + BUSY_MS_MAX, busy=True)
