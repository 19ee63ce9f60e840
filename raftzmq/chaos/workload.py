"""The clients: a program of its own that asks, through proxies, and writes down what it was told.

It is given a JSON object on stdin (see ``Orders``), works until stdin ends, and prints a JSON line
with its counts every half second. A history per model, ``history-MODEL.jsonl``, grows in its
working folder as operations end.
"""

from __future__ import annotations

import json
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TextIO

import raftzmq
from raftzmq.chaos import tables
from raftzmq.chaos.keys import Keys
from raftzmq.checker.history import Operation, to_line
from raftzmq.client.connection import Connection
from raftzmq.client.results import WriteResult
from raftzmq.errors import Outcome, RequestError

_TELL_S: Final = 0.5
_READS: Final = 0.4
_DIRECT_THINK: Final = 3
"""Who reads from one node alone is one of many, and thinks so much longer."""
_ENDS_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Orders:
    """What the program is given.

    Attributes:
        addresses: of proxies.
        nodes: addresses at which a client reads from that node alone: the one who would see it if
            a leader that was replaced, cut off or asleep answered from what it has.
        seed: of what is asked.
        clients: per model.
        think_ms: pause between two operations of a client, on average.
        timeouts_ms: one of them is the deadline of each operation.
    """

    addresses: list[str]
    nodes: list[str]
    seed: int
    clients: int
    think_ms: float
    timeouts_ms: list[int]


class Told:
    """Where all clients write down; safe for threads."""

    def __init__(self, folder: Path) -> None:
        self._lock = threading.Lock()
        self._files: dict[str, TextIO] = {
            model: (folder / f"history-{model}.jsonl").open("w", encoding="utf-8")
            for model in tables.MODELS
        }
        self._counts: Counter[str] = Counter()
        self._refusals: Counter[str] = Counter()

    def write(self, model: str, operation: Operation, why: str) -> None:
        """One operation has ended; ``why`` names the error, "" for none."""
        with self._lock:
            self._files[model].write(to_line(operation) + "\n")
            word = {True: "acknowledged", False: "refused", None: "unknown"}[operation.ok]
            self._counts[word] += 1
            if why:
                self._refusals[why] += 1

    def counts(self) -> dict[str, Any]:
        """So far."""
        with self._lock:
            return {**self._counts, "errors": dict(self._refusals)}

    def close(self) -> None:
        """All is on its way to the disk."""
        with self._lock:
            for file in self._files.values():
                file.close()


class Client:
    """One client: one operation at a time.

    Args:
        number: unique.
        model: what it asks.
        node: address of the node that it reads from; "" for one that goes through proxies.
    """

    def __init__(
        self, number: int, model: str, node: str, orders: Orders, keys: Keys, told: Told
    ) -> None:
        self._number = number
        self._node = node
        self._model = model
        self._orders = orders
        self._keys = keys
        self._told = told
        self._rng = random.Random(f"{orders.seed} {number}")
        self._life = 1
        self._serial = 0
        self._seen: dict[str, str] = {}

    def run(self, over: threading.Event) -> None:
        """Until ``over``."""
        addresses = [self._node] if self._node else list(self._orders.addresses)
        self._rng.shuffle(addresses)
        think_ms = max(0.01, self._orders.think_ms) * (_DIRECT_THINK if self._node else 1)
        with raftzmq.connect(*addresses) as database:
            while not over.is_set():
                self._one(database)
                over.wait(self._rng.expovariate(1 / think_ms) / 1000)

    def _one(self, database: Connection) -> None:
        key = self._keys.take(self._model)
        if self._model == "bank" and not key:
            if not self._node:
                self._open(database)
        elif self._node or self._rng.random() < _READS:
            self._read(database, key)
        else:
            {
                "register": self._write_register,
                "append": self._append,
                "counter": self._add,
                "bank": self._transfer,
            }[self._model](database, key)

    def _name(self) -> str:
        self._serial += 1
        return f"c{self._number}-{self._serial}"

    def _read(self, database: Connection, key: str) -> None:
        sql, parameters = tables.read(self._model, key)
        found = self._ask(
            "read", key, None, None,
            lambda timeout: _read_value(database, self._model, sql, parameters, timeout),
        )  # fmt: skip
        if self._model == "register" and isinstance(found, str):
            self._seen[key] = found

    def _write_register(self, database: Connection, key: str) -> None:
        value = self._name()
        expected = self._seen.get(key)
        if expected is not None and self._rng.random() < 0.5:
            self._ask(
                "cas", key, value, expected,
                lambda timeout: _write(
                    database, tables.compare_and_set(key, expected, value), timeout,
                    lambda result: result.rows_affected == 1,
                ),
            )  # fmt: skip
        else:
            self._change("write", key, value, tables.write_register(key, value), database)
        self._seen[key] = value

    def _append(self, database: Connection, key: str) -> None:
        value = self._name()
        self._change("append", key, value, tables.append(key, value), database)

    def _add(self, database: Connection, key: str) -> None:
        number = self._rng.randint(1, 3)
        self._change("add", key, number, tables.add(key, number, self._name()), database)

    def _transfer(self, database: Connection, key: str) -> None:
        source, target = self._rng.sample(tables.ACCOUNTS, 2)
        amount = self._rng.randint(1, 9)
        value = {"from": source, "to": target, "amount": amount}
        statements = tables.transfer(key, source, target, amount, self._name())
        self._change("transfer", key, value, statements, database)

    def _open(self, database: Connection) -> None:
        key = self._keys.new_ledger()
        value = dict.fromkeys(tables.ACCOUNTS, tables.OPENING)
        # One whose opening is in doubt is never used, and not a history either.
        began = time.monotonic_ns()
        try:
            result = database.write(tables.open_ledger(key))
        except RequestError:
            return
        operation = Operation(
            self._who(), "open", key, value, None, None, began, time.monotonic_ns(), True,
            f"{result.server}@{result.index}",
        )  # fmt: skip
        self._told.write("bank", operation, "")
        self._keys.opened(key)

    def _change(
        self,
        op: str,
        key: str,
        value: object,
        statements: list[tables.Statement],
        database: Connection,
    ) -> None:
        # Of what adds up, the name of the operation: for the search for what is lost and doubled.
        name = statements[-1][1][0] if op in ("add", "transfer") else None
        self._ask(
            op,
            key,
            value,
            None,
            lambda timeout: _write(database, statements, timeout, lambda _: name),
            name=name,
        )

    def _ask(
        self,
        op: str,
        key: str,
        value: object,
        expected: object,
        act: Callable[[int], tuple[Any, str]],
        name: object = None,
    ) -> object:
        began = time.monotonic_ns()
        result: Any = name
        ok: bool | None = True
        why = node = ""
        try:
            result, node = act(self._rng.choice(self._orders.timeouts_ms))
        except RequestError as error:
            why = type(error).__name__
            ok = None if error.outcome is Outcome.UNKNOWN else False
            if error.outcome is Outcome.REJECTED:
                why = f"REJECTED {why}: {error.message[:120]}"
        returned = None if ok is None else time.monotonic_ns()
        operation = Operation(
            self._who(), op, key, value, expected, result, began, returned, ok, node
        )
        self._told.write(self._model, operation, why)
        if ok is None:
            self._life += 1
        return result if ok else None

    def _who(self) -> str:
        return f"c{self._number}.{self._life}"


def _read_value(
    database: Connection, model: str, sql: str, parameters: Any, timeout_ms: int
) -> tuple[Any, str]:
    result = database.read(sql, parameters, timeout_ms=timeout_ms)
    return tables.found(model, result.rows), f"{result.server}@{result.index}"


def _write(
    database: Connection,
    statements: list[tables.Statement],
    timeout_ms: int,
    result_of: Callable[[WriteResult], Any],
) -> tuple[Any, str]:
    result = database.write(statements, timeout_ms=timeout_ms)
    return result_of(result), f"{result.server}@{result.index}"


def main() -> None:
    """Work until stdin ends."""
    orders = Orders(**json.loads(sys.stdin.readline()))
    told = Told(Path.cwd())
    keys = Keys(orders.seed)
    over = threading.Event()
    seats = [(model, "") for model in tables.MODELS for _ in range(orders.clients)]
    seats += [(model, node) for model in tables.MODELS for node in orders.nodes]
    clients = [
        Client(number, model, node, orders, keys, told)
        for number, (model, node) in enumerate(seats, start=1)
    ]
    threads = [threading.Thread(target=client.run, args=(over,), daemon=True) for client in clients]
    for thread in threads:
        thread.start()
    threading.Thread(target=_wait_for_end, args=(over,), daemon=True).start()
    while not over.wait(_TELL_S):
        _tell(told)
        if not all(thread.is_alive() for thread in threads):
            sys.exit("a client ended by itself; see its traceback above")
    deadline = time.monotonic() + _ENDS_S
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    if any(thread.is_alive() for thread in threads):
        sys.exit(f"a request has not ended {_ENDS_S:.0f} s after its client was to stop")
    told.close()
    _tell(told)


def _tell(told: Told) -> None:
    sys.stdout.write(json.dumps(told.counts()) + "\n")
    sys.stdout.flush()


def _wait_for_end(over: threading.Event) -> None:
    sys.stdin.read()
    over.set()


if __name__ == "__main__":
    main()
