"""Threads of a process that strangers can reach; in a process of their own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from raftzmq.transport.priority import STRANGERS_NICE

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="niceness per thread is Linux's")

_PRIORITIES = """
import os, time
from pathlib import Path
from raftzmq.transport.priority import put_strangers_last
from raftzmq.transport.sockets import Purpose, open_context, open_socket
with open_context() as context, open_socket(context, Purpose.CLIENT_ROUTER):
    # A thread of libzmq gives itself its name some time after it was started.
    deadline = time.monotonic() + 10
    while not put_strangers_last() or "ZMQbg/IO/0" not in {
        (task / "comm").read_text().strip() for task in Path("/proc/self/task").iterdir()
    }:
        assert time.monotonic() < deadline
    for task in Path("/proc/self/task").iterdir():
        nice = os.getpriority(os.PRIO_PROCESS, int(task.name))
        print((task / "comm").read_text().strip(), nice)
"""


def test_only_the_thread_that_reads_from_strangers_gives_way() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PRIORITIES], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = dict(line.rsplit(" ", 1) for line in done.stdout.splitlines())
    own = os.getpriority(os.PRIO_PROCESS, 0)
    assert int(lines.pop("ZMQbg/IO/1")) == min(19, own + STRANGERS_NICE)
    assert "ZMQbg/IO/0" in lines
    assert set(map(int, lines.values())) == {own}
