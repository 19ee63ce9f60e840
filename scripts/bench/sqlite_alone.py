"""SQLite by itself: so many inserts to a transaction, each transaction on disk; or reads by key."""

# ruff: noqa: T201  (printing is what this program is for)
from __future__ import annotations

import json
import random
import sys
import time
from pathlib import Path

import apsw

ROWS = 1_000


def main() -> int:
    folder, operation, batch, seconds, warm_up, size = sys.argv[1:]
    file = Path(folder) / f"{operation}-{batch}.db"
    connection = apsw.Connection(str(file))
    connection.execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE bench (id INTEGER PRIMARY KEY, value BLOB)")
    value = bytes(int(size))
    insert, select = "INSERT INTO bench (value) VALUES (?)", "SELECT value FROM bench WHERE id = ?"
    connection.executemany(insert, [(value,)] * ROWS)
    together = int(batch)
    begin = time.perf_counter() + float(warm_up)
    end = begin + float(seconds)
    samples: list[float] = []
    now = time.perf_counter()
    while now < end:
        began = now
        if operation == "writes":
            with connection:
                for _ in range(together):
                    connection.execute(insert, (value,))
        else:
            for _ in range(together):
                list(connection.execute(select, (random.randint(1, ROWS),)))
        now = time.perf_counter()
        if began >= begin:
            samples.append((now - began) * 1000)
    samples.sort()
    print(
        json.dumps(
            {
                "count": len(samples) * together,
                "seconds": now - begin,
                "p50_ms": samples[len(samples) // 2],
                "p99_ms": samples[len(samples) * 99 // 100],
            }
        )
    )
    connection.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
