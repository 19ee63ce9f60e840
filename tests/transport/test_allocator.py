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
    # What is allocated behind the others keeps glibc from shortening the heap.
    held = [bytearray(1 << 20) for _ in range(200)]
    pins.append([bytearray(100_000) for _ in range(2)])
    del held
thread = threading.Thread(target=flood)
thread.start()
thread.join()
print((anonymous_bytes() - before) >> 20)
give_back()
print((anonymous_bytes() - before) >> 20)
"""

_LARGE = """
from raftzmq.transport.allocator import MAPPED_FROM_BYTES, bound_arenas
from raftzmq.transport.doorman import anonymous_bytes
assert bound_arenas()
# Left alone, the first large block that is freed teaches glibc to keep those of its size.
taught = bytearray(30 << 20)
del taught
before = anonymous_bytes()
held = [bytearray(MAPPED_FROM_BYTES) for _ in range(50)]
pin = bytearray(100_000)
print((anonymous_bytes() - before) >> 20)
del held
print((anonymous_bytes() - before) >> 20)
"""


def _printed(program: str) -> list[int]:
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return [int(word) for word in done.stdout.split()]


def test_what_a_flood_leaves_is_returned_on_request() -> None:
    kept, left = _printed(_FLOOD)
    assert kept > 150, "else this test shows nothing"
    assert left < 50


def test_large_blocks_leave_nothing_behind() -> None:
    taken, left = _printed(_LARGE)
    assert taken > 140, "else this test shows nothing"
    assert left < 10
