"""The library for faults of disk and clock, on a real process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from raftzmq.chaos.shim import EIO, FaultFile, build, compiler

pytestmark = pytest.mark.skipif(compiler() is None, reason="no C compiler here")

# Told to write its own faults, so that nothing happens at a moment that nobody chose.
VICTIM = """
import errno, json, os, sys, time
from pathlib import Path
sys.path.insert(0, {root!r})
from raftzmq.chaos.shim import EIO, FaultFile
faults = FaultFile(Path(os.environ["FAULTS"]))
file = os.open("victim.db", os.O_RDWR | os.O_CREAT)
def sync():
    try:
        os.fsync(file)
    except OSError as error:
        return error.errno
    return 0
def same_time():
    os.utime(os.environ["FAULTS"], ns=(10**18, 10**18))
def off():
    return time.time() - before_s - (time.monotonic() - began_s)
found = []
before_s, began_s = time.time(), time.monotonic()
{do}
print(json.dumps(found))
"""


def told(folder: Path, do: str) -> Any:
    library = folder / "faulty.so"
    build(library)
    file = FaultFile(folder / "faults")
    done = subprocess.run(
        [sys.executable, "-c", VICTIM.format(root=str(Path(__file__).parents[2]), do=do)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        cwd=folder,
        env={**os.environ, **file.environment(library)},
    )
    return json.loads(done.stdout)


def test_an_fsync_fails_as_often_as_was_said(tmp_path: Path) -> None:
    do = 'faults.add("sync", ["/victim.db"], EIO, 2)\nfound += [sync() for _ in range(4)]'
    assert told(tmp_path, do) == [EIO, EIO, 0, 0]
    assert FaultFile(tmp_path / "faults").fired("sync") == 2


def test_two_versions_of_one_moment_are_told_apart(tmp_path: Path) -> None:
    """The clock that stamps files stands still for milliseconds."""
    do = """
faults.add("jump", ["-"], 60_000, 1); same_time(); found.append(round(off()))
faults.remove("jump"); same_time(); found.append(round(off()))
faults.add("jump", ["-"], 90_000, 1); same_time(); found.append(round(off()))
"""
    assert told(tmp_path, do) == [60, 0, 90]


def test_a_fault_goes_on_when_another_comes_and_goes(tmp_path: Path) -> None:
    do = """
faults.add("sync", ["/victim.db"], EIO, 1)
found.append(sync())
faults.add("drift", ["-"], 1_000_000, 1); time.time(); time.sleep(0.05); found.append(off() > 25)
faults.add("slow", ["/victim.db"], 1, 1); found.append(off() > 25); found.append(sync())
faults.remove("slow"); found.append(off() > 25)
faults.remove("drift"); found.append(round(off()))
"""
    assert told(tmp_path, do) == [EIO, True, True, 0, True, 0]
    assert FaultFile(tmp_path / "faults").fired("drift") == 1
