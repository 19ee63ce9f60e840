"""How much the slow slows the others (promise P8).

Point reads at a steady rate and at three levels are timed twice: alone, then beside one client
that runs 2-second SELECTs without pause and one that applies a 2-second UPDATE every ten
seconds. Reads are sent when they are due, whether or not earlier ones were answered, so that a
stall of the cluster is not hidden by clients that wait with it.

A linearizable read that overlaps the UPDATE must see it and therefore waits for it; so these
are counted apart. From "the UPDATE was sent" to "every node has applied it" counts as overlap.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from raftzmq.bench.workload import Mix, Workload
from raftzmq.client.connection import Connection, connect, open_pipeline
from raftzmq.errors import RequestError
from raftzmq.observe.ask import Asker
from raftzmq.observe.survey import statuses_behind
from raftzmq.transport.clock import monotonic_ms
from raftzmq.wire.client import Level
from raftzmq.wire.status import NodeStatus

LEVELS: Final = (Level.LINEARIZABLE, Level.SESSION, Level.STALE)
SLOW_S: Final = 2.0
UPDATE_EVERY_S: Final = 10.0
TIMEOUT_MS: Final = 30_000
STATUS_MS: Final = 2_000
_TABLE: Final = "CREATE TABLE IF NOT EXISTS bench_slow (id INTEGER PRIMARY KEY, value INTEGER)"
_FILL: Final = (
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) "
    "INSERT INTO bench_slow (value) SELECT i % 1000 FROM n"
)
_UPDATE: Final = (
    "UPDATE bench_slow SET value = (value + length(printf('%d of %d', id, value))) % 1000"
)
_SELECT: Final = (
    "WITH some AS (SELECT value FROM bench_slow LIMIT ?) "
    "SELECT sum(a.value < b.value) FROM bench_slow AS a, some AS b"
)
_FIRST_ROWS: Final = 100_000
_ROWS_MAX: Final = 10_000_000
_POLL_MS: Final = 50


@dataclass(frozen=True, slots=True)
class Sample:
    """One answered point read; seconds of ``time.perf_counter``."""

    sent_s: float
    done_s: float


@dataclass(frozen=True, slots=True)
class Update:
    """One slow UPDATE.

    Attributes:
        sent_s: when it was sent.
        answered_s: when it was confirmed.
        everywhere_s: when the last node was seen to have applied it.
    """

    sent_s: float
    answered_s: float
    everywhere_s: float


@dataclass(slots=True)
class Measured:
    """What one run gave.

    Attributes:
        quiet: level -> reads of the first phase.
        loaded: level -> reads of the second.
        updates: the UPDATEs of the second.
        selects_s: how long each slow SELECT of the second took.
        elections: by how much the term grew over both phases.
        errors: class of error -> count.
    """

    quiet: dict[Level, list[Sample]] = field(default_factory=dict)
    loaded: dict[Level, list[Sample]] = field(default_factory=dict)
    updates: list[Update] = field(default_factory=list)
    selects_s: list[float] = field(default_factory=list)
    elections: int = 0
    errors: Counter[str] = field(default_factory=Counter)


class IsolationRun:
    """Both phases against one cluster.

    Args:
        address: of a proxy or node.
        rate: point reads per second and level.
        seconds: length of each phase.
        say: takes a line about what is being done.
    """

    def __init__(
        self, address: str, *, rate: float, seconds: float, say: Callable[[str], None]
    ) -> None:
        self._address = address
        self._rate = rate
        self._seconds = seconds
        self._say = say
        self._measured = Measured()
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._select_rows = 1

    def run(self) -> Measured:
        """Prepare, measure, and tidy up.

        Raises:
            RequestError: the cluster refuses or does not answer.
        """
        with (
            connect(self._address, timeout_ms=TIMEOUT_MS) as db,
            Asker({"door": self._address}) as asker,
        ):
            self._say("preparing")
            with open_pipeline(self._address) as pipeline:
                self._workload(Level.STALE).prepare(pipeline)
            try:
                self._calibrate(db)
                term = _term(self._statuses(asker))
                self._say(f"quiet for {self._seconds:.0f} s")
                self._measured.quiet = self._read_all()
                self._say(f"with slow SELECTs and UPDATEs for {self._seconds:.0f} s")
                others = [
                    threading.Thread(target=self._selects),
                    threading.Thread(target=self._updates, args=(asker,)),
                ]
                for thread in others:
                    thread.start()
                try:
                    self._measured.loaded = self._read_all()
                finally:
                    self._stop.set()
                    for thread in others:
                        thread.join()
                self._measured.elections = _term(self._statuses(asker)) - term
            finally:
                db.write("DROP TABLE IF EXISTS bench_slow", timeout_ms=TIMEOUT_MS)
        return self._measured

    def _workload(self, level: Level) -> Workload:
        rng = random.Random(1)
        return Workload(Mix.READS, value_size=100, read_share=1.0, level=level, rng=rng)

    def _statuses(self, asker: Asker) -> dict[str, NodeStatus]:
        return statuses_behind(asker, timeout_ms=STATUS_MS)

    def _calibrate(self, db: Connection) -> None:
        """Find the size at which each slow statement takes SLOW_S here and now."""
        db.write("DROP TABLE IF EXISTS bench_slow")
        db.write(_TABLE)
        rows, missing = 0, _FIRST_ROWS
        while missing > 0:
            db.write(_FILL, [missing], timeout_ms=TIMEOUT_MS)
            rows += missing
            took_s = _timed(lambda: db.write(_UPDATE, timeout_ms=TIMEOUT_MS))
            wanted = min(int(rows * SLOW_S / took_s), _ROWS_MAX)
            missing = wanted - rows if wanted > 1.15 * rows else 0
        took_s = _timed(lambda: db.read(_SELECT, [1], timeout_ms=TIMEOUT_MS, slow=True))
        self._select_rows = max(1, round(SLOW_S / took_s))
        took_s = _timed(self._select(db))
        self._select_rows = max(1, round(self._select_rows * SLOW_S / took_s))
        self._say(f"the UPDATE changes {rows:,} rows")

    def _select(self, db: Connection) -> Callable[[], object]:
        return lambda: db.read(
            _SELECT, [self._select_rows], level=Level.SESSION, timeout_ms=TIMEOUT_MS
        )

    def _selects(self) -> None:
        with connect(self._address, timeout_ms=TIMEOUT_MS) as db:
            while not self._stop.is_set():
                try:
                    took_s = _timed(self._select(db))
                except RequestError as error:
                    self._failed(error)
                else:
                    self._measured.selects_s.append(took_s)

    def _updates(self, asker: Asker) -> None:
        with connect(self._address, timeout_ms=TIMEOUT_MS) as db:
            while not self._stop.is_set():
                sent_s = time.perf_counter()
                try:
                    index = db.write(_UPDATE).index
                except RequestError as error:
                    self._failed(error)
                    continue
                answered_s = time.perf_counter()
                while any(
                    status.applied_index < index for status in self._statuses(asker).values()
                ):
                    time.sleep(_POLL_MS / 1000)
                done_s = time.perf_counter()
                self._measured.updates.append(Update(sent_s, answered_s, done_s))
                self._stop.wait(max(0.0, sent_s + UPDATE_EVERY_S - done_s))

    def _failed(self, error: RequestError) -> None:
        with self._lock:
            self._measured.errors[type(error).__name__] += 1

    def _read_all(self) -> dict[Level, list[Sample]]:
        found: dict[Level, list[Sample]] = {level: [] for level in LEVELS}
        threads = [
            threading.Thread(target=self._read, args=(level, found[level])) for level in LEVELS
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return found

    def _read(self, level: Level, samples: list[Sample]) -> None:
        """One level for one phase, at a steady rate."""
        step_s = 1 / self._rate
        workload = self._workload(level)
        with open_pipeline(self._address, timeout_ms=TIMEOUT_MS) as pipeline:
            # Levels take turns instead of sending at the same moments.
            due_s = time.perf_counter() + step_s * LEVELS.index(level) / len(LEVELS)
            end_s = due_s + self._seconds
            while due_s < end_s or pipeline.unfinished:
                now_s = time.perf_counter()
                while due_s <= now_s and due_s < end_s:
                    workload.submit(pipeline, monotonic_ms(), now_s)
                    due_s += step_s
                left_ms = (due_s - time.perf_counter()) * 1000 if due_s < end_s else _POLL_MS
                for call in pipeline.poll(max(1, min(_POLL_MS, int(left_ms)))):
                    if call.error is not None:
                        self._failed(call.error)
                    elif isinstance(call.tag, float):
                        samples.append(Sample(call.tag, time.perf_counter()))


def overlapping(
    samples: Sequence[Sample], updates: Sequence[Update]
) -> tuple[list[Sample], list[Sample]]:
    """(those that met no UPDATE, those that did)."""
    apart: list[Sample] = []
    during: list[Sample] = []
    for sample in samples:
        met = any(
            sample.sent_s <= update.everywhere_s and sample.done_s >= update.sent_s
            for update in updates
        )
        (during if met else apart).append(sample)
    return apart, during


def _term(statuses: dict[str, NodeStatus]) -> int:
    return max((status.term for status in statuses.values()), default=0)


def _timed(what: Callable[[], object]) -> float:
    began_s = time.perf_counter()
    what()
    return time.perf_counter() - began_s
