"""Measures a cluster of its own with big databases, dumps, transactions and values.

Run by big.sh, which explains it.
"""

# ruff: noqa: T201  (printing is what this program is for)
from __future__ import annotations

import argparse
import itertools
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from raftzmq.cli.local_cluster import LocalCluster
from raftzmq.client.connection import connect, open_pipeline
from raftzmq.errors import Outcome, RaftzmqError, RequestError
from raftzmq.observe.ask import Asker
from raftzmq.observe.survey import digests, leader_of
from raftzmq.wire.client import Kind, Level
from raftzmq.wire.payload import encode_statements
from raftzmq.wire.status import NodeStatus

PHASES = ("load", "huge", "steady", "restart", "catchup", "flat")
ONLY_ASKED = ("flat",)
"""Takes ten minutes and more."""
MB = 1_000_000
VALUE_BYTES = 4096
IN_FLIGHT = 64
FLAT_IN_FLIGHT = 256
FLAT_PARTS = 10
WAIT_S = 180.0


class Wrong(Exception):
    """Something that must hold does not."""


@dataclass(slots=True)
class Figure:
    """One measurement; ``goal`` in words, ``met`` None where there is none."""

    phase: str
    what: str
    value: str
    goal: str = ""
    met: bool | None = None


class Sampler:
    """Watches files and memory until it is stopped.

    Attributes:
        largest: name -> most bytes seen.
    """

    def __init__(self, cluster: LocalCluster) -> None:
        self.largest: dict[str, int] = {}
        self._cluster = cluster
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Sampler:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._done.wait(0.1):
            for name, node in self._cluster.config.nodes.items():
                for file in ("raft.db", "raft.db-wal", "state.db", "state.db-wal"):
                    try:
                        self._see(f"{name} {file}", (node.data / file).stat().st_size)
                    except OSError:
                        continue
            for child in self._cluster.children:
                self._see(f"{child.name} memory", memory_bytes(child.pid))

    def _see(self, name: str, size: int) -> None:
        self.largest[name] = max(self.largest.get(name, 0), size)

    def most(self, ending: str) -> tuple[int, str]:
        """The largest of those whose name ends so, and which."""
        return max((size, name) for name, size in self.largest.items() if name.endswith(ending))


def memory_bytes(pid: int) -> int:
    """Resident memory now; 0 when the process is gone."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


class Writer:
    """Writes of 4 KiB through the proxy, so many in flight, until it is stopped.

    Attributes:
        done: when each was acknowledged.
        errors: of those that were not.
    """

    def __init__(self, cluster: LocalCluster) -> None:
        self.done: list[float] = []
        self.errors: list[str] = []
        self._doors = cluster.doors
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Writer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def rate(self, since: float, until: float) -> float:
        """Writes per second between two moments."""
        return sum(since < at <= until for at in self.done) / max(0.001, until - since)

    def longest_wait(self, since: float, until: float) -> float:
        """Seconds between two acknowledgements, at most."""
        at = [since, *(each for each in self.done if since < each <= until), until]
        return max(after - before for before, after in itertools.pairwise(at))

    def _run(self) -> None:
        rng = random.Random(1)
        with open_pipeline(*self._doors, timeout_ms=60_000) as pipeline:
            while not self._stop.is_set() or pipeline.unfinished:
                while not self._stop.is_set() and pipeline.unfinished < IN_FLIGHT:
                    pipeline.write(
                        [("INSERT INTO load (value) VALUES (?)", (rng.randbytes(VALUE_BYTES),))]
                    )
                for call in pipeline.poll(100):
                    if call.error is None:
                        self.done.append(time.monotonic())
                    else:
                        self.errors.append(f"{type(call.error).__name__}: {call.error}")


def leader(cluster: LocalCluster) -> NodeStatus:
    """The leader, waited for."""
    statuses = cluster.wait("a leader", 20, lambda seen: leader_of(seen) is not None)
    found = leader_of(statuses)
    assert found is not None
    return found


def follower(cluster: LocalCluster) -> str:
    """A node that does not lead."""
    return next(name for name in cluster.config.nodes if name != leader(cluster).node)


@contextmanager
def no_election(cluster: LocalCluster) -> Iterator[None]:
    """Fails when the term changes within the block."""
    before = leader(cluster).term
    yield
    after = leader(cluster).term
    if after != before:
        raise Wrong(f"{after - before} elections, from term {before} to {after}")


def compare(cluster: LocalCluster) -> None:
    """All replicas hold the same."""
    deadline = time.monotonic() + WAIT_S
    found: dict[str, tuple[int, str]] = {}
    while time.monotonic() < deadline:
        found = digests(cluster.asker, timeout_ms=60_000)
        if len(found) == len(cluster.config.nodes) and len(set(found.values())) == 1:
            return
        time.sleep(0.2)
    raise Wrong(f"the replicas differ: {found}")


# --- load -------------------------------------------------------------------------------------


def generate(path: Path, rows: int, per_statement: int) -> None:
    """A dump as sqlite3 writes it."""
    rng = random.Random(rows)
    with path.open("w", encoding="utf-8") as file:
        file.write("PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\n")
        table = path.stem
        file.write(
            f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, name TEXT, amount REAL, note TEXT);\n"
        )
        for start in range(1, rows + 1, per_statement):
            values = ",".join(
                f"({number},'name {rng.getrandbits(32)}',{rng.random() * 1000:.2f},"
                f"'it''s; number {number}')"
                for number in range(start, min(start + per_statement, rows + 1))
            )
            file.write(f"INSERT INTO {table} VALUES{values};\n")
        file.write("COMMIT;\n")


def load(cluster: LocalCluster, arguments: argparse.Namespace, folder: Path) -> Iterator[Figure]:
    """Dumps through the command line."""
    dumps: list[tuple[Path, int]] = []
    for name, per_statement in (("many_rows", 500), ("one_row", 1)):
        path = folder / f"{name}.sql"
        generate(path, arguments.rows, per_statement)
        dumps.append((path, arguments.rows))
    dumps += [(dump, 0) for dump in arguments.dump]
    with no_election(cluster), Sampler(cluster) as sampler:
        for path, rows in dumps:
            began = time.monotonic()
            run = subprocess.run(
                [
                    *(sys.executable, "-m", "raftzmq.cli.main", "write", "--file", str(path)),
                    *("--connect", cluster.doors[0], "--timeout", "60"),
                ],
                capture_output=True,
                text=True,
                check=False,
            )
            seconds = time.monotonic() - began
            said = run.stderr.strip().splitlines()[-1:] or ["nothing"]
            if run.returncode:
                raise Wrong(f"{path.name}: exit code {run.returncode}: {run.stderr[-500:]}")
            if rows:
                counted = f"SELECT count(*) FROM {path.stem}"
                with connect(*cluster.doors) as db:
                    there = db.read(counted).rows[0][0]
                if there != rows:
                    raise Wrong(f"{path.name}: {there!r} of {rows} rows are there")
            else:
                rows = int(said[0].removeprefix("ok: ").split(" ")[0].replace(",", ""))
            rate = rows / seconds
            size = path.stat().st_size
            yield Figure(
                "load",
                f"{path.name}, {size / MB:.0f} MB",
                f"{rate:,.0f} rows/s, {seconds:.1f} s",
                "100,000 rows/s" if size > 5 * MB else "",
                rate >= 100_000 if size > 5 * MB else None,
            )
        yield memory_figure("load", sampler)


def memory_figure(phase: str, sampler: Sampler) -> Figure:
    """The largest process."""
    most, which = sampler.most(" memory")
    return Figure(
        phase, f"largest memory, {which.split()[0]}", f"{most / MB:.0f} MB", "150 MB",
        most <= 150 * MB,
    )  # fmt: skip


# --- huge -------------------------------------------------------------------------------------


def huge(cluster: LocalCluster, arguments: argparse.Namespace, folder: Path) -> Iterator[Figure]:
    """Transactions and values that are too large, and one that is not."""
    del arguments, folder
    row = ("INSERT INTO load (value) VALUES (?)", (bytes(100_000),))
    tries: list[tuple[str, Callable[[], list[tuple[str, tuple[object, ...]]]]]] = [
        ("transaction of 100 MB", lambda: [row] * 1000),
        ("blob of 50 MB", lambda: [(row[0], (bytes(50 * MB),))]),
        ("blob of 15 MB", lambda: [(row[0], (bytes(15 * MB),))]),
    ]
    with no_election(cluster), connect(*cluster.doors, timeout_ms=60_000) as db:
        for what, statements in tries:
            began = time.monotonic()
            try:
                list_of = statements()
                encode_statements(list_of)
                db.write(list_of)
                came = "applied"
            except RequestError as error:
                if error.outcome is not Outcome.REJECTED or "MAX" not in error.message:
                    raise Wrong(f"{what}: {type(error).__name__}: {error.message}") from None
                came = f"refused: {error.message}"
            if what == "blob of 15 MB" and came != "applied":
                raise Wrong(f"{what}: {came}")
            yield Figure("huge", what, f"{came} ({time.monotonic() - began:.1f} s)")
        with connect(*cluster.doors) as other:
            other.read("SELECT count(*) FROM load")
        yield Figure("huge", "elections", "0", "0", True)


# --- steady -----------------------------------------------------------------------------------


def steady(cluster: LocalCluster, arguments: argparse.Namespace, folder: Path) -> Iterator[Figure]:
    """Constant load: what grows."""
    del folder
    with no_election(cluster), Sampler(cluster) as sampler, Writer(cluster) as writer:
        began = time.monotonic()
        time.sleep(arguments.seconds)
        ended = time.monotonic()
    if writer.errors:
        raise Wrong(f"{len(writer.errors)} writes failed: {writer.errors[0]}")
    rate = writer.rate(began, ended)
    yield Figure("steady", "writes", f"{rate:,.0f}/s, {rate * VALUE_BYTES / MB:.1f} MB/s")
    yield from file_figures("steady", sampler)
    yield memory_figure("steady", sampler)


def file_figures(phase: str, sampler: Sampler) -> Iterator[Figure]:
    """The longest files of those that must not grow with what is written."""
    bounds = {"raft.db": 100 * MB, "raft.db-wal": 16 * MB, "state.db-wal": 80 * MB}
    for file, bound in bounds.items():
        most, which = sampler.most(f" {file}")
        yield Figure(
            phase, f"longest {which}", f"{most / MB:.0f} MB", f"{bound / MB:.0f} MB", most <= bound
        )


# --- flat -------------------------------------------------------------------------------------


def flat(cluster: LocalCluster, arguments: argparse.Namespace, folder: Path) -> Iterator[Figure]:
    """Small writes by the million: is the last tenth of them as fast as the first?"""
    del folder
    part = max(1, arguments.writes // FLAT_PARTS)
    value = random.Random(1).randbytes(100)
    sent = done = 0
    with no_election(cluster), Sampler(cluster) as sampler, open_pipeline(*cluster.doors) as load:
        marks = [time.monotonic()]
        while done < FLAT_PARTS * part:
            while sent < FLAT_PARTS * part and load.unfinished < FLAT_IN_FLIGHT:
                load.write([("INSERT INTO load (value) VALUES (?)", (value,))])
                sent += 1
            for call in load.poll(100):
                if call.error is not None:
                    raise Wrong(f"write {done + 1}: {type(call.error).__name__}: {call.error}")
                done += 1
                if done % part == 0:
                    marks.append(time.monotonic())
    rates = [part / (after - before) for before, after in itertools.pairwise(marks)]
    kept = rates[-1] / rates[0]
    yield Figure("flat", f"first {part:,} writes", f"{rates[0]:,.0f}/s")
    yield Figure(
        "flat", f"last {part:,} of {done:,}", f"{rates[-1]:,.0f}/s, {kept:.0%} of the first",
        "85%", kept >= 0.85,
    )  # fmt: skip
    yield Figure("flat", "each tenth", " ".join(f"{rate:,.0f}" for rate in rates))
    yield from file_figures("flat", sampler)
    yield memory_figure("flat", sampler)


# --- a large database -------------------------------------------------------------------------


def fill(cluster: LocalCluster, size_mb: int) -> int:
    """Fill state.db up to ``size_mb``; its size in bytes."""
    state = cluster.config.nodes["n1"].data / "state.db"
    rows = 1_000
    with connect(*cluster.doors, timeout_ms=60_000) as db:
        while (size := state.stat().st_size) < size_mb * MB:
            db.write(
                "INSERT INTO filler (value) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1"
                f" FROM n WHERE i < {rows}) SELECT randomblob({VALUE_BYTES}) FROM n"
            )
    return size


def wait_served(cluster: LocalCluster, name: str, began: float) -> float:
    """Seconds since ``began`` until ``name`` itself answers a linearizable read."""
    query = encode_statements([("SELECT count(*) FROM load", ())])
    while time.monotonic() < began + WAIT_S:
        with Asker({name: cluster.config.nodes[name].client}) as asker:
            answers = asker.ask(
                Kind.READ, level=Level.LINEARIZABLE, payload=query, timeout_ms=1_000
            )
        if name in answers and answers[name].code == 0:
            return time.monotonic() - began
        time.sleep(0.01)
    raise Wrong(f"{name} does not serve within {WAIT_S:.0f} s")


def restart(cluster: LocalCluster, arguments: argparse.Namespace, folder: Path) -> Iterator[Figure]:
    """Kill a follower of a large database, and start it."""
    del folder
    size = fill(cluster, arguments.size_mb)
    name = follower(cluster)
    for how in (signal.SIGKILL, signal.SIGTERM):
        child = cluster.children[name]
        child.signal(how)
        if child.wait(30) is None:
            raise Wrong(f"{name} does not end")
        began = time.monotonic()
        cluster.children.start(name)
        seconds = wait_served(cluster, name, began)
        yield Figure(
            "restart",
            f"to serving after {how.name}, {size / MB:.0f} MB",
            f"{seconds:.2f} s",
            "3 s",
            seconds <= 3,
        )


def caught_up(cluster: LocalCluster, name: str) -> bool:
    """Whether ``name`` follows the log and serves, at most a tenth of a second of writes behind."""
    seen = cluster.look(timeout_ms=1_000)
    first = leader_of(seen)
    if first is None or name not in seen or name not in first.peers:
        return False
    status = seen[name]
    return (
        status.serves_reads
        and first.peers[name].flow.lower() == "replicate"
        and status.applied_index > 0
        and first.commit_index - status.applied_index < 200
    )


class Stages:
    """When a snapshot came in, by the file that takes it."""

    def __init__(self, data: Path, began: float) -> None:
        self._incoming = data / "incoming"
        self._at = [began]
        self._size = -1
        self._grew = began

    def look(self) -> None:
        """Note a change; to be called often."""
        try:
            size = sum(file.stat().st_size for file in self._incoming.glob("*.part"))
        except OSError:
            return
        now = time.monotonic()
        if len(self._at) == 1 and size > 0:
            self._at.append(now)
        elif len(self._at) == 2 and size > self._size:
            self._size, self._grew = size, now
        elif len(self._at) == 2 and size == 0:
            self._at += [self._grew, now]

    def told(self, ended: float) -> str:
        """How long each took."""
        names = ("start, copy and hash", "transfer", "verify and install", "log")
        at = [*self._at, ended]
        return ", ".join(
            f"{what} {after - before:.1f} s"
            for what, (before, after) in zip(names, itertools.pairwise(at), strict=False)
        )


def catchup(cluster: LocalCluster, arguments: argparse.Namespace, folder: Path) -> Iterator[Figure]:
    """Wipe a follower, and let it come back under load."""
    del folder
    fill(cluster, arguments.size_mb)
    name = follower(cluster)
    with no_election(cluster), Sampler(cluster) as sampler, Writer(cluster) as writer:
        time.sleep(2)
        usual_from = time.monotonic()
        time.sleep(arguments.seconds)
        usual = writer.rate(usual_from, time.monotonic())
        child = cluster.children[name]
        child.signal(signal.SIGKILL)
        child.wait(30)
        shutil.rmtree(cluster.config.nodes[name].data)
        time.sleep(1)
        size = (cluster.config.nodes[leader(cluster).node].data / "state.db").stat().st_size
        began = time.monotonic()
        cluster.children.start(name)
        stages = Stages(cluster.config.nodes[name].data, began)
        while not caught_up(cluster, name):
            stages.look()
            if time.monotonic() > began + WAIT_S:
                log = cluster.children[leader(cluster).node].log_tail()
                raise Wrong(f"{name} has not caught up within {WAIT_S:.0f} s:\n{log}")
            time.sleep(0.02)
        ended = time.monotonic()
    if writer.errors:
        raise Wrong(f"{len(writer.errors)} writes failed: {writer.errors[0]}")
    meanwhile = writer.rate(began, ended)
    rate = size / MB / (ended - began)
    yield Figure(
        "catchup", f"{size / MB:.0f} MB, from start to following the log",
        f"{ended - began:.1f} s, {rate:.0f} MB/s", "100 MB/s", rate >= 100,
    )  # fmt: skip
    yield Figure(
        "catchup", "writes meanwhile", f"{meanwhile:,.0f}/s of {usual:,.0f}/s before", "half",
        meanwhile >= usual / 2,
    )  # fmt: skip
    yield Figure("catchup", "of it", stages.told(ended))
    wait = writer.longest_wait(began, ended)
    yield Figure("catchup", "longest wait for a write meanwhile", f"{wait * 1000:.0f} ms")
    most, which = sampler.most(" raft.db")
    yield Figure("catchup", f"longest {which}", f"{most / MB:.0f} MB")
    yield memory_figure("catchup", sampler)


# --- all --------------------------------------------------------------------------------------

RUNS: dict[str, Callable[[LocalCluster, argparse.Namespace, Path], Iterator[Figure]]] = {
    "load": load,
    "huge": huge,
    "steady": steady,
    "restart": restart,
    "catchup": catchup,
    "flat": flat,
}


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Measure big things.")
    parser.add_argument("--phase", action="append", choices=PHASES, default=[])
    parser.add_argument("--size-mb", type=int, default=1000)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--writes", type=int, default=10_000_000)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--dump", type=Path, action="append", default=[])
    parser.add_argument("--strict", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--keep", action="store_true")
    arguments = parser.parse_args()
    if min(arguments.size_mb, arguments.rows, arguments.writes) < 1 or arguments.seconds <= 0:
        parser.error("--size-mb, --rows and --writes must be at least 1, --seconds more than 0")
    for dump in arguments.dump:
        if not dump.is_file():
            parser.error(f"--dump {dump}: no such file")
    return arguments


def run(arguments: argparse.Namespace, folder: Path, take: Callable[[Figure], None]) -> None:
    """All phases that were asked for, on one cluster."""
    with LocalCluster(folder) as cluster:
        with connect(*cluster.doors) as db:
            for table in ("load", "filler"):
                db.write(f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, value BLOB)")
        for phase in PHASES:
            if phase not in (arguments.phase or set(PHASES).difference(ONLY_ASKED)):
                continue
            for figure in RUNS[phase](cluster, arguments, folder):
                take(figure)
            compare(cluster)


def table_of(figures: list[Figure]) -> Table:
    """For people."""
    table = Table("phase", "what", "measured", "goal", "")
    for figure in figures:
        verdict = "" if figure.met is None else "met" if figure.met else "missed"
        table.add_row(figure.phase, figure.what, figure.value, figure.goal, verdict)
    return table


def main() -> int:
    """Run the command line; returns the exit code."""
    arguments = parse()
    # Whoever stops this script must not leave a cluster behind: finally clauses have to run.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    folder = Path(tempfile.mkdtemp(prefix="raftzmq-big."))
    failed = True
    figures: list[Figure] = []

    def take(figure: Figure) -> None:
        figures.append(figure)
        console.print(f"{figure.phase}: {figure.what}: {figure.value}", markup=False)

    try:
        run(arguments, folder, take)
        failed = arguments.strict and any(figure.met is False for figure in figures)
    except (Wrong, RaftzmqError) as error:
        console.print(f"{type(error).__name__}: {error}", style="red", markup=False)
    finally:
        if arguments.keep or failed:
            console.print(f"data and logs are kept in {folder}")
        else:
            shutil.rmtree(folder)
    if arguments.json:
        print(json.dumps([asdict(figure) for figure in figures], indent=2))
    else:
        Console(highlight=False, width=max(120, console.width)).print(table_of(figures))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
