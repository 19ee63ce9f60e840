"""Watches a cluster while faults are on: who leads which term, and since when."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from typing import Final

from raftzmq.chaos.record import Leadership
from raftzmq.observe.ask import Asker
from raftzmq.observe.survey import look
from raftzmq.wire.status import NodeStatus

_LOOK_MS: Final = 150
_EVERY_S: Final = 0.1


class Leaderships:
    """Gathers who said that it leads; no clock."""

    def __init__(self) -> None:
        self._seen: dict[tuple[int, str], tuple[float, float]] = {}

    def see(self, statuses: Iterable[NodeStatus], at_s: float) -> None:
        """One look."""
        for each in statuses:
            if each.role == "leader":
                first, _ = self._seen.get((each.term, each.node), (at_s, at_s))
                self._seen[each.term, each.node] = (first, at_s)

    def see_line(self, node: str, term: int, at_s: float) -> None:
        """A line of a node's log says that it began to lead: some lead too shortly for a look.

        The clock of a log may have been made wrong; the order of terms is right.
        """
        began = {term: first for (term, _), (first, _) in self._seen.items()}
        at_s = max(at_s, max((first for of, first in began.items() if of < term), default=0.0))
        at_s = min(at_s, min((first for of, first in began.items() if of > term), default=at_s))
        first, last = self._seen.get((term, node), (at_s, at_s))
        self._seen[term, node] = (min(first, at_s), last)

    def found(self) -> tuple[Leadership, ...]:
        """In order of their terms."""
        return tuple(
            Leadership(node=node, term=term, from_s=first, until_s=last)
            for (term, node), (first, last) in sorted(self._seen.items())
        )


def shared_terms(leaderships: Iterable[Leadership]) -> list[int]:
    """Terms that more than one node led: there must be none (thesis 3.2, election safety)."""
    by_term: dict[int, set[str]] = {}
    for each in leaderships:
        by_term.setdefault(each.term, set()).add(each.node)
    return sorted(term for term, nodes in by_term.items() if len(nodes) > 1)


class Observer:
    """A thread that looks ten times a second; a context manager.

    Args:
        addresses: of nodes.
        began_s: of the run, on the monotonic clock.
    """

    def __init__(self, addresses: Mapping[str, str], began_s: float) -> None:
        self._addresses = dict(addresses)
        self._began_s = began_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="observer", daemon=True)
        self.leaderships = Leaderships()

    def __enter__(self) -> Observer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        with Asker(self._addresses) as asker:
            while not self._over.wait(_EVERY_S):
                statuses = look(asker, timeout_ms=_LOOK_MS)
                self.leaderships.see(statuses.values(), time.monotonic() - self._began_s)
