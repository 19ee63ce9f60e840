"""Which keys the clients of one process work on: few at a time, each for a while.

A history is judged key by key, and what that costs grows faster than the key's history; so a key
is left after a number of operations and a new one begun. A new ledger is opened by one client
before the others see it, since a history of a ledger begins with its opening.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Mapping
from typing import Final

ACTIVE: Final[Mapping[str, int]] = {"register": 3, "append": 3, "counter": 2, "bank": 1}
OPERATIONS: Final[Mapping[str, int]] = {
    "register": 600,
    "append": 240,
    "counter": 600,
    "bank": 800,
}


class Keys:
    """Shared by the clients of all models; safe for threads.

    Args:
        seed: of which key is taken.
    """

    def __init__(self, seed: int) -> None:
        self._lock = threading.Lock()
        self._rng = random.Random(seed)
        self._born: dict[str, int] = {}
        self._active: dict[str, list[str]] = {}
        self._left: dict[str, int] = {}

    def take(self, model: str) -> str:
        """A key for one operation; of a bank none ("") while no ledger is open."""
        with self._lock:
            active = self._active.setdefault(model, [])
            if model != "bank":
                while len(active) < ACTIVE[model]:
                    active.append(self._new(model))
            if not active:
                return ""
            key = self._rng.choice(active)
            self._left[key] -= 1
            if self._left[key] <= 0:
                active.remove(key)
            return key

    def new_ledger(self) -> str:
        """The key of a ledger to open; ``opened`` makes it known to all."""
        with self._lock:
            return self._new("bank")

    def opened(self, key: str) -> None:
        """The ledger exists."""
        with self._lock:
            self._active.setdefault("bank", []).append(key)

    def _new(self, model: str) -> str:
        number = self._born[model] = self._born.get(model, 0) + 1
        key = f"{model}-{number}"
        self._left[key] = OPERATIONS[model]
        return key
