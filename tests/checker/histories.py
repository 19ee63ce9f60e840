"""Random histories: of a database that is right, and with mistakes put in."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

from raftzmq.checker.history import Operation

ACCOUNTS = ("a", "b", "c")


class World:
    """A database that is right: each operation takes effect at one moment between call and return.

    Args:
        model: see `raftzmq.checker.models`.
        values: how many different values are written; 0 for always new ones.
        unknown: the part of updates whose outcome is not known.
        step: how far apart in time things are; 1 makes calls and returns coincide.
    """

    def __init__(
        self,
        model: str,
        chance: random.Random,
        *,
        values: int = 0,
        unknown: float = 0.1,
        step: int = 10,
        key: str = "k",
    ) -> None:
        self._model = model
        self._chance = chance
        self._values = values
        self._unknown = unknown
        self._step = step
        self._key = key
        self._fresh = 0
        self.state: Any = {
            "register": None,
            "append": [],
            "counter": 0,
            "bank": dict.fromkeys(ACCOUNTS, 100),
        }[model]

    def history(self, operations: int, clients: int) -> list[Operation]:
        """Clients that each ask one thing after the other."""
        chance = self._chance
        done: list[Operation] = []
        names = [f"c{number}" for number in range(clients)]
        now = 1_000
        if self._model == "bank":
            opening = Operation("c", "open", self._key, dict(self.state), None, None, 1, 2, True)
            done.append(opening)
        waiting: dict[str, Operation] = {}
        applied: dict[str, Operation] = {}
        later: list[tuple[int, Operation]] = []
        asked = 0
        while asked < operations or waiting:
            now += chance.randint(0, self._step)
            for at, operation in [each for each in later if each[0] <= asked]:
                later.remove((at, operation))
                self.apply(operation)
            name = chance.choice(names)
            if name not in waiting:
                if asked < operations:
                    asked += 1
                    waiting[name] = self._ask(name, now)
                continue
            if name not in applied:
                operation = waiting[name]
                if operation.op != "read" and chance.random() < self._unknown:
                    del waiting[name]
                    returned = chance.choice([None, now])
                    done.append(replace(operation, ok=None, returned=returned))
                    if chance.random() < 0.6:
                        later.append((asked + chance.choice([0, 1, 3, 20]), operation))
                    names[names.index(name)] = f"{name}'"
                    continue
                if operation.op != "read" and chance.random() < 0.05:
                    del waiting[name]
                    done.append(replace(operation, ok=False, returned=now))
                    continue
                applied[name] = self.apply(operation)
            if chance.random() < 0.5:
                del waiting[name]
                done.append(replace(applied.pop(name), returned=now, ok=True))
        return done

    def _ask(self, name: str, now: int) -> Operation:
        chance = self._chance
        self._fresh += 1
        value: Any = chance.randint(1, self._values) if self._values else self._fresh
        expected = None
        if self._model == "register":
            op = chance.choice(["read", "write", "cas"])
            if op == "cas":
                expected = self.state if chance.random() < 0.6 else value
                value = chance.randint(1, self._values) if self._values else self._fresh
        elif self._model == "append":
            op = chance.choice(["read", "append"])
        elif self._model == "counter":
            op = chance.choice(["read", "add"])
            value = chance.choice([1, 1, 2, 5]) if self._values else 1
        else:
            op = chance.choice(["read", "transfer"])
            source, target = chance.sample(ACCOUNTS, 2)
            value = {"from": source, "to": target, "amount": chance.randint(1, 3)}
        if op == "read":
            value = None
        return Operation(name, op, self._key, value, expected, None, now, None, None)

    def apply(self, operation: Operation) -> Operation:
        """Take effect now; returns the operation with what it saw."""
        state, value = self.state, operation.value
        result: Any = None
        if operation.op == "read":
            result = dict(state) if isinstance(state, dict) else state
            result = list(result) if isinstance(result, list) else result
        elif operation.op == "write":
            self.state = value
        elif operation.op == "cas":
            result = state == operation.expected
            if result:
                self.state = value
        elif operation.op == "append":
            self.state = [*state, value]
        elif operation.op == "add":
            self.state = state + value
        else:
            self.state = dict(state)
            self.state[value["from"]] -= value["amount"]
            self.state[value["to"]] += value["amount"]
        return replace(operation, result=result)


def with_mistake(history: list[Operation], chance: random.Random) -> list[Operation]:
    """One mistake a database could make: stale, lost, doubled, reordered, half a transfer."""
    history = list(history)
    reads = [number for number, each in enumerate(history) if each.op == "read" and each.ok]
    others = [number for number, each in enumerate(history) if each.op not in ("read", "open")]
    kind = chance.choice(["stale", "lost", "returned earlier", "called later", "value", "refuse"])
    if kind == "stale" and len(reads) >= 2:
        one, other = chance.sample(reads, 2)
        history[one] = replace(history[one], result=history[other].result)
    elif kind == "lost" and others:
        number = chance.choice(others)
        history[number] = replace(history[number], ok=chance.choice([False, True, None]))
        if history[number].ok and history[number].returned is None:
            history[number] = replace(history[number], returned=history[number].call + 5)
        if history[number].ok and history[number].op == "cas":
            history[number] = replace(history[number], result=True)
    elif kind in ("returned earlier", "called later"):
        number = chance.randrange(len(history))
        each = history[number]
        if each.op != "open" and each.returned is not None:
            at = chance.randint(each.call, each.returned)
            early = kind == "returned earlier"
            history[number] = replace(each, **({"returned": at} if early else {"call": at}))
    elif kind == "value" and reads:
        number = chance.choice(reads)
        history[number] = replace(history[number], result=_changed(history[number].result, chance))
    elif kind == "refuse":
        sets = [number for number, each in enumerate(history) if each.op == "cas" and each.ok]
        if sets:
            number = chance.choice(sets)
            history[number] = replace(history[number], result=not history[number].result)
    return history


def _changed(result: Any, chance: random.Random) -> Any:
    if isinstance(result, list):
        changed = list(result)
        if changed and chance.random() < 0.5:
            changed.pop(chance.randrange(len(changed)))
        else:
            chance.shuffle(changed)
        return changed
    if isinstance(result, dict):
        changed_balances = dict(result)
        changed_balances[chance.choice(ACCOUNTS)] += chance.choice([-1, 1])
        return changed_balances
    return (result or 0) + chance.choice([-1, 1])


def noise(model: str, chance: random.Random, operations: int) -> list[Operation]:
    """Anything that has the form of a history; no database was asked."""
    history: list[Operation] = []
    span = chance.choice([6, 12, 30])
    if model == "bank":
        balances = dict.fromkeys(ACCOUNTS, 2)
        history.append(Operation("c", "open", "k", balances, None, None, -2, -1, True))
    for number in range(operations):
        call = chance.randint(0, span)
        returned = call + chance.randint(0, span)
        ok = chance.choice([True, True, True, True, None, False])
        ops = {
            "register": ["read", "read", "write", "cas"],
            "append": ["read", "append"],
            "counter": ["read", "add"],
            "bank": ["read", "transfer"],
        }
        op = chance.choice(ops[model])
        value: Any = chance.randint(1, 3)
        expected, result = None, None
        if op == "cas":
            expected, result = chance.choice([None, 1, 2, 3]), chance.random() < 0.6
        elif op == "transfer":
            source, target = chance.sample(ACCOUNTS, 2)
            value = {"from": source, "to": target, "amount": chance.randint(1, 2)}
        elif op == "read":
            value = None
            if model == "append":
                result = [1, 2, 3, 1][: chance.randint(0, 4)]
            elif model == "bank":
                moved = chance.randint(-1, 2)
                result = {"a": 2 - moved, "b": 2 + moved, "c": 2}
            else:
                result = chance.choice([0, 1, 2, 3, 4] if model == "counter" else [None, 1, 2, 3])
        history.append(
            Operation(f"c{number}", op, "k", value, expected, result, call, returned, ok)
        )
    return history
