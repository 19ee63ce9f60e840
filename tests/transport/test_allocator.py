"""What a flood leaves behind, in a process of its own."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "mallopt"), reason="these settings are those of glibc"
)

_FLOOD = """
import threading
from raftzmq.transport.allocator import bound_arenas, give_back
from raftzmq.transport.doorman import anonymous_bytes
assert bound_arenas()
before = anonymous_bytes()
pins = []
def flood():
    # The first block that is freed teaches glibc to keep those of its size; what is allocated
    # behind the others keeps it from shortening the heap.
    taught = bytearray(30 << 20)
    del taught
    held = [bytearray(2 << 20) for _ in range(100)]
    pins.append([bytearray(100_000) for _ in range(2)])
    del held
thread = threading.Thread(target=flood)
thread.start()
thread.join()
print((anonymous_bytes() - before) >> 20)
give_back()
print((anonymous_bytes() - before) >> 20)
"""


def test_what_a_flood_leaves_is_returned_on_request() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _FLOOD], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    kept, left = map(int, done.stdout.split())
    assert kept > 150, "else this test shows nothing"
    assert left < 50
