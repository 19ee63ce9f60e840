"""The load of failover.py: clients that know what they were promised, and check it.

Each writer inserts a row and adds one to its counter, in one transaction. Each reader compares the
counter that it reads with the writes that were acknowledged before it began to read. Through the
proxy no request may fail. Beside them, direct clients ask nodes that may be dead, cut off or no
longer leading; they may be refused, but never lied to.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import raftzmq
from raftzmq.client.connection import Connection
from raftzmq.errors import WIRE_ERRORS, Outcome, OutcomeUnknown, RequestError
from raftzmq.observe.ask import Asker
from raftzmq.wire.client import Kind, Level, Reply, decode_results, encode_statements

SCHEMA = (
    "CREATE TABLE written (writer INTEGER NOT NULL, number INTEGER NOT NULL)",
    "CREATE INDEX written_by ON written (writer, number)",
    "CREATE TABLE counters (writer INTEGER PRIMARY KEY, value INTEGER NOT NULL)",
    "CREATE TABLE direct (number INTEGER NOT NULL)",
)
_INSERT = "INSERT INTO written (writer, number) VALUES (?, ?)"
_COUNT = "UPDATE counters SET value = value + 1 WHERE writer = ?"
_READ = "SELECT value FROM counters WHERE writer = ?"
_DIRECT_MS = 250


@dataclass(slots=True)
class Account:
    """What one writer sent, and what it was told; written by its thread alone."""

    sent: int = 0
    acknowledged: int = 0
    not_acknowledged: dict[int, Outcome] = field(default_factory=dict)


@dataclass(slots=True)
class Ledger:
    """What all clients saw. Lists and counters only grow; threads append to them.

    Attributes:
        acks: (monotonic seconds, node that answered) of each acknowledged write.
        errors: "class outcome: message" -> count, of requests through the proxy.
        stale: what a reader read that it should not have.
        refused: class of error -> count, of direct requests.
        direct: number -> outcome of each direct write, None when acknowledged.
    """

    accounts: list[Account]
    acks: list[tuple[float, str]] = field(default_factory=list)
    reads: int = 0
    direct_reads: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    stale: list[str] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    direct: dict[int, Outcome | None] = field(default_factory=dict)


class Load:
    """The threads; a context manager.

    Args:
        entrance: address of the proxy.
        nodes: name -> address at which a node is asked directly.
        clients: writers; a quarter as many readers come on top of them.
        think_s: pause of each client between two requests, on average.
        rng: pauses, and which counter a reader reads.
    """

    def __init__(
        self,
        entrance: str,
        nodes: Mapping[str, str],
        *,
        clients: int,
        think_s: float,
        rng: random.Random,
    ) -> None:
        self._entrance = entrance
        self._think_s = think_s
        self._rng = rng
        self.ledger = Ledger([Account() for _ in range(clients)])
        self._over = threading.Event()
        self._reads = threading.Lock()
        self.suspect: str | None = None
        """The node that direct writes go to: the one the fault hit."""
        jobs: list[tuple[Callable[..., None], tuple[object, ...]]] = [
            (self._write, (number,)) for number in range(clients)
        ]
        readers = max(1, clients // 4)
        seeds = [random.Random(rng.random()) for _ in range(readers + len(nodes))]
        jobs += [(self._read, (seeds.pop(),)) for _ in range(readers)]
        jobs += [(self._read_directly, (name, at, seeds.pop())) for name, at in nodes.items()]
        jobs += [(self._write_directly, (nodes,))]
        self._threads = [
            threading.Thread(target=target, args=arguments, daemon=True)
            for target, arguments in jobs
        ]

    def prepare(self) -> None:
        """Make the tables.

        Raises:
            RequestError: the database refuses.
        """
        with raftzmq.connect(self._entrance, timeout_ms=60_000) as database:
            for statement in SCHEMA:
                database.write(statement)
            database.write(
                [
                    ("INSERT INTO counters (writer, value) VALUES (?, 0)", [number])
                    for number in range(len(self.ledger.accounts))
                ]
            )

    def start(self) -> None:
        """Start all clients."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> bool:
        """Let each client finish its request; False when one does not."""
        self._over.set()
        deadline = time.monotonic() + 30
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _write(self, number: int) -> None:
        account = self.ledger.accounts[number]
        with raftzmq.connect(self._entrance) as database:
            while not self._over.wait(self._pause_s()):
                account.sent += 1
                try:
                    done = database.write([(_INSERT, [number, account.sent]), (_COUNT, [number])])
                except RequestError as error:
                    account.not_acknowledged[account.sent] = error.outcome
                    self._failed("write", error)
                else:
                    account.acknowledged += 1
                    self.ledger.acks.append((time.monotonic(), done.server))

    def _read(self, rng: random.Random) -> None:
        with raftzmq.connect(self._entrance) as database:
            while not self._over.wait(self._pause_s()):
                number = rng.randrange(len(self.ledger.accounts))
                promised = self.ledger.accounts[number].acknowledged
                try:
                    value = self._value(database, number)
                except RequestError as error:
                    self._failed("read", error)
                    continue
                with self._reads:
                    self.ledger.reads += 1
                self._compare("through the proxy", number, promised, value)

    def _pause_s(self) -> float:
        """Pauses of one length would make all clients march in step, and show as waits."""
        return self._rng.uniform(0.0, 2 * self._think_s)

    def _value(self, database: Connection, number: int) -> object:
        return database.read(_READ, [number]).scalar()

    def _compare(self, where: str, number: int, promised: int, value: object) -> None:
        sent = self.ledger.accounts[number].sent
        if not isinstance(value, int) or not promised <= value <= sent:
            self.ledger.stale.append(
                f"counter {number} read as {value} {where}; {promised} were acknowledged "
                f"before and {sent} sent by the end"
            )

    def _failed(self, what: str, error: RequestError) -> None:
        name = f"{what}: {type(error).__name__} ({error.outcome.name}): {error.message}"
        self.ledger.errors[name] += 1

    def _read_directly(self, name: str, address: str, rng: random.Random) -> None:
        """Linearizable reads at one node, past the proxy; one attempt each."""
        with Asker({name: address}) as asker:
            while not self._over.wait(0.02):
                number = rng.randrange(len(self.ledger.accounts))
                promised = self.ledger.accounts[number].acknowledged
                reply = asker.ask(
                    Kind.READ,
                    level=Level.LINEARIZABLE,
                    payload=encode_statements([(_READ, [number])]),
                    timeout_ms=_DIRECT_MS,
                ).get(name)
                if self._was_refused(reply) or reply is None:
                    continue
                with self._reads:
                    self.ledger.direct_reads += 1
                (result,) = decode_results(reply.body)
                value = result.rows[0][0] if result.rows else None
                self._compare(f"directly at {name}", number, promised, value)

    def _write_directly(self, nodes: Mapping[str, str]) -> None:
        """Anonymous writes at the node that was hit; one attempt each."""
        with Asker(nodes) as asker:
            number = 0
            while not self._over.wait(0.02):
                name = self.suspect
                if name is None:
                    continue
                number += 1
                self.ledger.direct[number] = Outcome.UNKNOWN
                reply = asker.ask(
                    Kind.WRITE,
                    names=[name],
                    level=Level.LINEARIZABLE,
                    payload=encode_statements([("INSERT INTO direct VALUES (?)", [number])]),
                    timeout_ms=_DIRECT_MS,
                ).get(name)
                if not self._was_refused(reply):
                    self.ledger.direct[number] = None
                elif reply is not None:
                    kind = WIRE_ERRORS.get(reply.code, OutcomeUnknown)
                    self.ledger.direct[number] = kind.outcome

    def _was_refused(self, reply: Reply | None) -> bool:
        if reply is not None and not reply.code:
            return False
        kind = WIRE_ERRORS.get(reply.code, OutcomeUnknown).__name__ if reply else "no answer"
        self.ledger.refused[kind] += 1
        return True


@dataclass(frozen=True, slots=True)
class Audit:
    """What the database holds, against what the clients were told."""

    acknowledged: int
    unknown: int
    lost: list[str]
    twice: list[str]
    ghosts: list[str]


def audit(entrance: str, ledger: Ledger) -> Audit:
    """Read everything back, after the load has stopped.

    Raises:
        RequestError: it cannot be read.
    """
    lost: list[str] = []
    twice: list[str] = []
    ghosts: list[str] = []
    acknowledged = unknown = 0
    with raftzmq.connect(entrance, timeout_ms=60_000) as database:
        for writer, account in enumerate(ledger.accounts):
            found = _rows(database, writer)
            counter = database.read(_READ, [writer]).scalar()
            acknowledged += account.acknowledged
            for number in range(1, account.sent + 1):
                outcome = account.not_acknowledged.get(number)
                name = f"row {number} of writer {writer}"
                unknown += outcome is Outcome.UNKNOWN
                if outcome is None and not found[number]:
                    lost.append(name)
                elif found[number] > 1:
                    twice.append(name)
                elif found[number] and outcome not in (None, Outcome.UNKNOWN):
                    ghosts.append(f"{name}, refused as not executed")
            ghosts += [f"row {n} of writer {writer}, never sent" for n in found if n > account.sent]
            if counter != sum(found.values()):
                kind = twice if not isinstance(counter, int) or counter > len(found) else lost
                kind.append(f"counter {writer} is {counter!r} with {sum(found.values())} rows")
        _audit_direct(database, ledger, lost, twice, ghosts)
    return Audit(acknowledged, unknown, lost, twice, ghosts)


def _rows(database: Connection, writer: int) -> Counter[int]:
    found: Counter[int] = Counter()
    last = 0
    while True:
        rows = database.read(
            "SELECT number, count(*) FROM written WHERE writer = ? AND number > ? "
            "GROUP BY number ORDER BY number LIMIT 10000",
            [writer, last],
        ).rows
        if not rows:
            return found
        for number, count in rows:
            last = int(str(number))
            found[last] = int(str(count))


def _audit_direct(
    database: Connection, ledger: Ledger, lost: list[str], twice: list[str], ghosts: list[str]
) -> None:
    rows = database.read("SELECT number, count(*) FROM direct GROUP BY number").rows
    found = {int(str(number)): int(str(count)) for number, count in rows}
    for number, outcome in ledger.direct.items():
        name = f"direct write {number}"
        count = found.get(number, 0)
        if count > 1:
            twice.append(name)
        elif outcome is None and not count:
            lost.append(name)
        elif count and outcome not in (None, Outcome.UNKNOWN):
            ghosts.append(f"{name}, refused as not executed")
