"""kill -9 between any two commits: what the child acknowledged is there afterwards."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

from raftzmq.raft.types import HardState
from raftzmq.storage.sqlite_log import SqliteLogStore
from tests.storage.suite import entry

_CHILD = """
import sys
from pathlib import Path
from raftzmq.raft.types import HardState, LogPosition
from raftzmq.storage.sqlite_log import SqliteLogStore
from tests.storage.suite import entry

store = SqliteLogStore(Path(sys.argv[1]), wal_bytes=1 << 20, wal_pages_max=60)
held = store.load()
index = held.base.index + len(held.entries)
term = held.hard_state.term
while True:
    index += 1
    if index % 7 == 0:
        term += 1
        store.save(HardState(term, "n%d" % (index % 3)), [entry(index, term, bytes(index % 5000))])
    else:
        store.save(None, [entry(index, max(term, 0), bytes(index % 5000))])
    if index % 50 == 0:
        store.compact(LogPosition(index, term))
    sys.stdout.write("%d %d\\n" % (index, term))
    sys.stdout.flush()
"""


def test_acknowledged_survives_kill(tmp_path: Path) -> None:
    chance = random.Random(7)
    path = tmp_path / "raft.db"
    root = str(Path(__file__).resolve().parents[2])
    acked_index = 0
    for _ in range(12):
        child = subprocess.Popen(
            [sys.executable, "-c", _CHILD, str(path)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=root,
            env={**os.environ, "PYTHONPATH": root},
        )
        assert child.stdout is not None
        with child:
            lines = [child.stdout.readline() for _ in range(chance.randrange(1, 120))]
            child.send_signal(signal.SIGKILL)
            lines += child.stdout.readlines()
        whole = [line for line in lines if line.endswith("\n")]
        assert whole, "the child acknowledged something"
        index, term = map(int, whole[-1].split())
        assert index > acked_index

        store = SqliteLogStore(path, wal_bytes=0)
        held = store.load()
        last = held.base.index + len(held.entries)
        # One more save may have been durable without its acknowledgement having been heard.
        assert last in (index, index + 1)
        assert held.hard_state.term in (term, term + 1)
        if last == index and held.hard_state.term == term and term:
            assert held.hard_state == HardState(term, f"n{last // 7 * 7 % 3}")
        for stored in held.entries:
            assert stored == entry(stored.index, stored.term, bytes(stored.index % 5000))
        assert not held.notes
        store.close()
        acked_index = last
