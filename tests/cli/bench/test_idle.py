"""What a process that sleeps uses."""

from __future__ import annotations

import os
import threading

import pytest

from raftzmq.bench.idle import IdleProcess, IdleReport, measure_idle
from raftzmq.errors import Unavailable
from raftzmq.observe.cost import times_waited


def test_all_processes_are_added_up() -> None:
    report = IdleReport(20.0, (IdleProcess("n1", 1.5, 60), IdleProcess("proxy", 0.5, 20)))
    assert report.percent == 2.0
    assert report.as_dict()["percent"] == 2.0
    assert report.as_dict()["processes"][1] == {"name": "proxy", "percent": 0.5, "wakes_per_s": 20}


def test_each_wait_of_each_thread_counts() -> None:
    before = times_waited(os.getpid())
    bells = [threading.Event() for _ in range(10)]
    thread = threading.Thread(target=lambda: [bell.wait() for bell in bells])
    thread.start()
    ended = threading.Event()
    for bell in bells:
        ended.wait(0.001)
        bell.set()
    waited = times_waited(os.getpid())
    thread.join()
    assert before is not None
    assert waited is not None
    assert waited - before >= len(bells)


def test_a_process_that_is_gone_is_named() -> None:
    assert times_waited(1 << 30) is None
    with pytest.raises(Unavailable, match="n7"):
        measure_idle({"n7": 1 << 30}, settle_s=0, seconds=0)
