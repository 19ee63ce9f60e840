"""What must be true after each step of a cluster, fed with observations by whoever watches one.

Pure: knows no Raft, no clock and no disk; positions are (index, term), contents are bytes. Each
invariant has a name, under which a violation is reported, and the place where it is stated. Thesis
is Ongaro, "Consensus: Bridging Theory and Practice"; P1 to P10 are the promises in
docs/architecture.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

INVARIANTS: Final[dict[str, str]] = {
    "election-safety": "at most one leader per term (thesis figure 3.2, section 3.4)",
    "leader-append-only": "a leader never overwrites its log (thesis figure 3.2, section 3.5)",
    "log-matching": "index and term name an entry and all before it (thesis figure 3.2, 3.5)",
    "leader-completeness": "a leader holds all that was committed (thesis figure 3.2, 3.6)",
    "state-machine-safety": "one entry per index is applied, anywhere (thesis figure 3.2, 3.6.3)",
    "committed-on-a-quorum": "what is committed is on a majority's disks (thesis 3.3, 3.6.2)",
    "term-monotone": "the term of a node never falls (thesis 3.3, figure 3.1)",
    "commit-monotone": "the commit index of a life never falls (thesis 3.6.2)",
    "applied-monotone": "the applied index of a life never falls (thesis 3.6.3)",
    "index-order": "purged <= snapshot <= applied <= committed <= last (thesis 5.1)",
    "one-vote-per-term": "a node votes once in a term, crashes or not (thesis 3.4, 3.8)",
    "persist-before-send": "what a message promises is on disk when it leaves (thesis 3.8)",
    "acknowledged-is-committed": "a write is acknowledged after its entry is committed (P1)",
    "exactly-once": "a request of a session is carried out once (thesis 6.3, P4)",
    "equal-results": "replicas answer an entry alike (thesis 3.2, P6)",
    "equal-content": "replicas hold the same at the same index (P6)",
    "linearizable-read": "a read sees what was acknowledged before it began (thesis 6.4, P3)",
    "session-read": "a session never sees less than before (thesis 6.4, P3)",
    "sound-after-crash": "a crash by itself damages no data folder (P1)",
    "honest-outcome": "what was refused as not executed never happened (P9)",
    "transaction-atomic": "a transaction happens whole or not at all (P4)",
    "no-write-lost": "every acknowledged write is there in the end (P1)",
    "linearizable-history": "there is an order of all operations that explains it (thesis 6.3)",
}
"""Name -> what it says and where it is stated."""


class Violation(Exception):
    """An invariant does not hold.

    Attributes:
        name: a key of ``INVARIANTS``.
        detail: the facts.
    """

    def __init__(self, name: str, detail: str) -> None:
        super().__init__(f"{name}: {INVARIANTS[name]}: {detail}")
        self.name = name
        self.detail = detail


class Entry(NamedTuple):
    """One entry of a log, as far as invariants go."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs here
    term: int
    content: object


class NodeView(NamedTuple):
    """One node at one moment.

    Attributes:
        name: of the node.
        life: counts its starts.
        leads: whether it takes itself for the leader of its term.
        term: its current term.
        commit: commit index.
        applied: index up to which its state machine has applied.
        may_fall: a snapshot took the place of what it had applied, to rebuild it.
        durable: index up to which its state machine would hold everything after a power cut.
        base: position before the first entry it holds.
        last: position of the last entry it holds.
        entry: the entry at an index between the two.
    """

    name: str
    life: int
    leads: bool
    term: int
    commit: int
    applied: int
    may_fall: bool
    durable: int
    base: tuple[int, int]
    last: tuple[int, int]
    entry: Callable[[int], Entry]


class _Known(NamedTuple):
    """What a node was like when it was last seen."""

    life: int
    leads: bool
    term: int
    commit: int
    applied: int
    base: tuple[int, int]
    last: tuple[int, int]


class Invariants:
    """Remembers what was true once and must stay true.

    Every method raises ``Violation`` as soon as an observation contradicts it.

    Args:
        voters: names of the nodes that vote.
        holds: whether this node made this position durable while its promises counted, its
            lost disks included; asked for (name, index, term).
    """

    def __init__(self, voters: Sequence[str], holds: Callable[[str, int, int], bool]) -> None:
        self._voters = tuple(voters)
        self._holds = holds
        self._known: dict[str, _Known] = {}
        self._terms: dict[str, dict[int, int]] = {name: {} for name in voters}
        """Per node: index -> term, as its log was last seen."""
        self._entries: dict[tuple[int, int], tuple[int | None, object]] = {}
        self._leaders: dict[int, str] = {}
        self._votes: dict[tuple[str, int], tuple[str, int]] = {}
        """Node and term -> whom it voted for, and when it said so."""
        self._hard: dict[str, list[tuple[int, int]]] = {}
        """Terms on the disk of each node, and when each was written."""
        self.committed: list[Entry] = []
        self._committed_in: list[int] = []
        """Per committed entry the lowest term of a node that knew of it."""
        self._executed: dict[tuple[bytes, int], int] = {}
        self._results: dict[int, object] = {}
        self._digests: dict[tuple[int, int], tuple[str, bytes]] = {}
        self.checks = 0

    # --- consensus ----------------------------------------------------------------------------

    def node(self, view: NodeView) -> None:
        """A node after a step that happened at it."""
        self.checks += 1
        before = self._known.get(view.name)
        if before is not None and before.life != view.life:
            before = None
        self._cursors(view, before)
        self._log(view, before)
        self._commits(view, before)
        if view.leads:
            self._leader(view, before)
        self._known[view.name] = _Known(
            view.life, view.leads, view.term, view.commit, view.applied, view.base, view.last
        )

    def down(self, name: str, at: int) -> None:
        """A node stopped; its next life starts from its disk. What has not left never will, and
        what was not written by then may not be there."""
        self._known.pop(name, None)
        self._terms[name].clear()
        for place, (_, leaves) in list(self._votes.items()):
            if place[0] == name and leaves > at:
                del self._votes[place]
        stored = self._hard.get(name, [])
        while stored and stored[-1][1] > at:
            stored.pop()

    def forgot(self, name: str) -> None:
        """The disk of a node was lost: its term and votes may fall, this once."""
        self._hard.pop(name, None)
        for place in [place for place in self._votes if place[0] == name]:
            del self._votes[place]

    def _cursors(self, view: NodeView, before: _Known | None) -> None:
        if before is not None:
            _hold(view.term >= before.term, "term-monotone", view, before.term)
            _hold(view.commit >= before.commit, "commit-monotone", view, before.commit)
            if not view.may_fall:
                _hold(view.applied >= before.applied, "applied-monotone", view, before.applied)
        order = view.base[0] <= view.durable <= view.applied <= view.commit <= view.last[0]
        if not order:
            raise Violation(
                "index-order",
                f"{view.name}: purged {view.base[0]}, snapshot {view.durable}, applied"
                f" {view.applied}, committed {view.commit}, last {view.last[0]}",
            )

    def _log(self, view: NodeView, before: _Known | None) -> None:
        if before is not None and before.last == view.last and before.base == view.base:
            return
        terms = self._terms[view.name]
        base, base_term = view.base
        last = view.last[0]
        index = last
        fresh: list[Entry] = []
        while index > base:
            entry = view.entry(index)
            if terms.get(index) == entry.term:
                break  # by log matching all before it are as they were
            fresh.append(entry)
            index -= 1
        stays = before is not None and before.leads and view.leads and before.term == view.term
        if stays and before is not None and before.last[0] > index and before.base == view.base:
            raise Violation(
                "leader-append-only",
                f"{view.name} in term {view.term} replaced entries from {index + 1} on",
            )
        for gone in [each for each in terms if each > last or each <= base]:
            del terms[gone]
        terms[base] = base_term
        previous = terms.get(index)
        for entry in reversed(fresh):
            place = entry.index, entry.term
            known = self._entries.setdefault(place, (previous, entry.content))
            if known != (previous, entry.content):
                raise Violation(
                    "log-matching",
                    f"{view.name} holds another entry at index {entry.index} of term"
                    f" {entry.term}, or after another one, than was seen before",
                )
            terms[entry.index] = previous = entry.term

    def _commits(self, view: NodeView, before: _Known | None) -> None:
        done = max(before.commit if before is not None else 0, view.base[0])
        committed = self.committed
        for index in range(done + 1, view.commit + 1):
            entry = view.entry(index)
            if index <= len(committed):
                if committed[index - 1] != entry:
                    raise Violation(
                        "state-machine-safety",
                        f"{view.name} commits term {entry.term} at index {index}, where term"
                        f" {committed[index - 1].term} was committed",
                    )
                place = index - 1
                self._committed_in[place] = min(self._committed_in[place], view.term)
                continue
            if index != len(committed) + 1:
                raise Violation("state-machine-safety", f"{view.name} skips to index {index}")
            holders = [name for name in self._voters if self._holds(name, index, entry.term)]
            if 2 * len(holders) <= len(self._voters):
                raise Violation(
                    "committed-on-a-quorum",
                    f"{view.name} in term {view.term} takes index {index} of term {entry.term} for"
                    f" committed; only {', '.join(holders) or 'nobody'} made it durable",
                )
            committed.append(entry)
            self._committed_in.append(view.term)
            self._others_hold(entry, view)

    def _others_hold(self, entry: Entry, by: NodeView) -> None:
        """Who leads a later term already must hold what an earlier one commits only now."""
        for name, known in self._known.items():
            later = known.leads and known.term > by.term and known.base[0] < entry.index
            if later and self._terms[name].get(entry.index) != entry.term:
                raise Violation(
                    "leader-completeness",
                    f"{by.name} commits index {entry.index} in term {by.term}, which {name},"
                    f" leader of term {known.term}, lacks",
                )

    def _leader(self, view: NodeView, before: _Known | None) -> None:
        known = self._leaders.setdefault(view.term, view.name)
        if known != view.name:
            raise Violation("election-safety", f"{known} and {view.name} lead term {view.term}")
        if before is not None and before.leads and before.term == view.term:
            return
        for place in range(len(self.committed) - 1, view.base[0] - 1, -1):
            if self._committed_in[place] > view.term:
                continue
            index, term, _ = self.committed[place]
            if self._terms[view.name].get(index) != term:
                raise Violation(
                    "leader-completeness",
                    f"{view.name} leads term {view.term} without index {index}, committed in"
                    f" term {self._committed_in[place]}",
                )
            break  # log matching covers all before it

    # --- promises -----------------------------------------------------------------------------

    def vote_sent(
        self, name: str, term: int, candidate: str, durable: tuple[int, str], leaves: int
    ) -> None:
        """A node grants a vote.

        Args:
            name: of the node.
            term: of the vote.
            candidate: who gets it.
            durable: what the disk of the node holds then: term and vote.
            leaves: when the message leaves, if the node lives as long.
        """
        # Who is in a later term by now will never vote in this one again.
        if durable[0] <= term and durable != (term, candidate):
            raise Violation(
                "persist-before-send",
                f"{name} tells {candidate} of its vote in term {term}; its disk says {durable}",
            )
        known, _ = self._votes.setdefault((name, term), (candidate, leaves))
        if known != candidate:
            raise Violation(
                "one-vote-per-term", f"{name} voted for {known} and {candidate} in term {term}"
            )

    def term_sent(self, name: str, term: int, durable: int) -> None:
        """A node speaks in ``term`` while its disk holds ``durable``."""
        if term > durable:
            raise Violation(
                "persist-before-send", f"{name} speaks in term {term}; its disk says {durable}"
            )

    def append_acknowledged(self, name: str, index: int, durable: int) -> None:
        """A node says that its log equals the leader's up to ``index``."""
        if index > durable:
            raise Violation(
                "persist-before-send",
                f"{name} acknowledges index {index}; its disk ends at {durable}",
            )

    def stored_term(self, name: str, term: int, at: int) -> None:
        """The term on the disk of a node, ``at`` the end of what it writes, if it lives as long."""
        stored = self._hard.setdefault(name, [])
        known = stored[-1][0] if stored else 0
        if term < known:
            raise Violation("term-monotone", f"the disk of {name} went from {known} to {term}")
        if term > known:
            stored.append((term, at))

    # --- state machines -----------------------------------------------------------------------

    def applied(
        self,
        name: str,
        entry: Entry,
        results: object,
        executed: Iterable[tuple[bytes, int]],
    ) -> None:
        """A node applied an entry.

        Args:
            name: of the node.
            entry: as it was given to the state machine.
            results: of its requests; equal on all nodes.
            executed: the named requests (client, sequence) that were carried out now, rather
                than answered from memory.
        """
        index = entry.index
        if index <= len(self.committed) and self.committed[index - 1] != entry:
            raise Violation(
                "state-machine-safety",
                f"{name} applies term {entry.term} at index {index}, where term"
                f" {self.committed[index - 1].term} is committed",
            )
        known = self._results.setdefault(index, results)
        if known != results:
            raise Violation(
                "equal-results", f"{name} at index {index}: {results!r}, another node: {known!r}"
            )
        for request in executed:
            first = self._executed.setdefault(request, index)
            if first != index:
                raise Violation(
                    "exactly-once",
                    f"{name} carries out sequence {request[1]} of {request[0].hex()[:8]} at index"
                    f" {index}; it was carried out at {first}",
                )

    def digest(self, name: str, position: tuple[int, int], digest: bytes) -> None:
        """The content of a node at a position; nobody tampered with it."""
        other, known = self._digests.setdefault(position, (name, digest))
        if known != digest:
            raise Violation("equal-content", f"{name} and {other} differ at index {position[0]}")

    def acknowledged(self, client: bytes, sequence: int, index: int) -> None:
        """A client was told that its write was carried out at ``index``."""
        if not 0 < index <= len(self.committed):
            raise Violation(
                "acknowledged-is-committed",
                f"sequence {sequence} of {client.hex()[:8]} is acknowledged at index {index};"
                f" {len(self.committed)} entries are committed",
            )
        first = self._executed.get((client, sequence))
        if first is not None and first != index:
            raise Violation(
                "exactly-once",
                f"sequence {sequence} of {client.hex()[:8]} is acknowledged at index {index} and"
                f" was carried out at {first}",
            )


def _hold(holds: bool, name: str, view: NodeView, before: int) -> None:
    if not holds:
        raise Violation(name, f"{view.name} fell below {before}: {view}")
