"""Replicas are compared: CHECKSUM entries proposed, digests reported, collected and judged (P6).

Every node remembers the last few CHECKSUM entries it passed and what it hashed there, and
reports its last digest to the leader of the moment until a verdict comes. The leader collects;
what it knows is in memory only, and a new leader is told anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from raftzmq.raft.raft import Raft
from raftzmq.raft.types import Configuration, Entry, EntryKind, LogPosition, NodeId, Role
from raftzmq.replica.judge import NOT_HASHED, Finding, Judgement, judge
from raftzmq.replica.rebuild import ASK_TICKS, EqualityHost, Rebuild
from raftzmq.replica.transfer import Transfers
from raftzmq.storage.quarantine import QuarantineMark
from raftzmq.wire.equality import (
    ChecksumReport,
    ChecksumVerdict,
    EqualityMessage,
    RebuildRequest,
)
from raftzmq.wire.transfer import TransferMessage

CHECKS_MAX: Final = 8
"""CHECKSUM entries that a node remembers; a report about an older one is dropped."""
REPORT_TICKS: Final = 100
"""A report without verdict is sent again after so long."""
REPORTS_MAX: Final = 600
"""So often, until the next report or the next leader: too few nodes may be left to judge."""
DOUBT_TICKS: Final = 200
"""Reports that differ without a majority are told to people after so long: most are still
decided by one that is on its way."""

Answer: TypeAlias = EqualityMessage | TransferMessage


@dataclass(slots=True)
class _Check:
    """One CHECKSUM entry and what is reported about it."""

    reports: dict[NodeId, bytes] = field(default_factory=dict)
    right: bytes | None = None
    doubted: bool = False
    doubt_ticks: int = 0


class Unattended:
    """The host of a replica that nobody attends: a quarantine lives as long as the object."""

    def quarantined(self, mark: QuarantineMark | None) -> None:
        """Nothing to do."""

    def doubted(self, why: str | None) -> None:
        """Nothing to do."""


class Equality:
    """The comparison of one replica with the others.

    Args:
        raft: the core.
        transfers: brings the snapshot that rebuilds this replica.
        applied_index: what this replica has applied.
    """

    def __init__(self, raft: Raft, transfers: Transfers, applied_index: Callable[[], int]) -> None:
        self._raft = raft
        self._transfers = transfers
        self._applied_index = applied_index
        self._host: EqualityHost = Unattended()
        self._interval_ticks = 0
        self._idle_ticks = 0
        self._checks: dict[LogPosition, _Check] = {}
        self._own: dict[LogPosition, bytes] = {}
        self._unjudged: LogPosition | None = None
        self._report_ticks = 0
        self._reports = 0
        self._reported_to: tuple[int, NodeId | None] = (0, None)
        self._proposed: LogPosition | None = None
        self._doubt: str | None = None
        self.rebuild = Rebuild(raft, transfers, self._host, None)

    def attend(
        self, host: EqualityHost, *, interval_ticks: int, mark: QuarantineMark | None
    ) -> None:
        """Begin to act on findings; called once, before the first message.

        Args:
            host: told of them.
            interval_ticks: between two CHECKSUM entries of the leader; 0: only on demand.
            mark: what the data folder says about an earlier finding.
        """
        self._host = host
        self._interval_ticks = interval_ticks
        self.rebuild = Rebuild(self._raft, self._transfers, host, mark)

    def committed(self, entries: Iterable[Entry]) -> None:
        """Entries are committed: remember the CHECKSUM entries among them."""
        for entry in entries:
            if entry.kind is EntryKind.CHECKSUM:
                self._check(LogPosition(entry.index, entry.term))

    def hashed(self, position: LogPosition, digest: bytes) -> list[Answer]:
        """This replica passed a CHECKSUM entry; ``digest`` is NOT_HASHED if it could not hash."""
        self._idle_ticks = 0
        if self._proposed is not None and self._proposed.index <= position.index:
            self._proposed = None
        if digest == NOT_HASHED:
            return self._report(position, digest)
        self._own[position] = digest
        _keep_newest(self._own)
        if self._unjudged is None or self._unjudged.index <= position.index:
            self._unjudged = position
            self._report_ticks = self._reports = 0
        return self._report(position, digest)

    def installed(self, index: int) -> None:
        """A snapshot taken at ``index`` took the place of state.db: nothing known of it holds."""
        self._own.clear()
        self._unjudged = None
        self.rebuild.installed(index)

    def receive(self, message: EqualityMessage) -> list[Answer]:
        """Take a message of a peer. A stale term ends it, as for all messages (thesis 3.3)."""
        raft = self._raft
        if message.term < raft.term:
            return []
        if isinstance(message, ChecksumVerdict):
            if message.sender == raft.leader:
                self._judged(message.position, message.digest, ())
            return []
        if raft.role is not Role.LEADER:
            return []
        if isinstance(message, ChecksumReport):
            return self._collect(message.sender, message.position, message.digest)
        if isinstance(message, RebuildRequest):
            if message.index > self._applied_index():
                return []  # a snapshot would be too old; it asks again
            return list(self._transfers.requested(message.sender, message.index, raft))
        self.propose()
        return []

    def propose(self) -> LogPosition | None:
        """Propose a CHECKSUM entry; None: not leader, or an earlier one is still under way."""
        if self._proposed is not None and self._is_ahead(self._proposed):
            return None
        self._proposed = self._raft.propose(b"", EntryKind.CHECKSUM)
        return self._proposed

    def judgement(self, position: LogPosition) -> Judgement | None:
        """What is known about one CHECKSUM entry.

        Returns:
            None when it is certain that nothing will be known: another entry stands there, or
            too many came after it.
        """
        check = self._checks.get(position)
        if check is None and position.index <= self._raft.commit_index:
            return None
        return judge(self._raft.configuration, check.reports if check is not None else {})

    def digests(self, position: LogPosition) -> dict[NodeId, bytes]:
        """The digests that were reported for one CHECKSUM entry."""
        check = self._checks.get(position)
        return dict(check.reports) if check is not None else {}

    def tick(self) -> list[Answer]:
        """One unit of time."""
        answers: list[Answer] = [*self.rebuild.tick()]
        self._idle_ticks += 1
        if self._raft.role is Role.LEADER:
            if 0 < self._interval_ticks <= self._idle_ticks or (
                self.rebuild.leads_for_want_of_others and self._idle_ticks >= ASK_TICKS
            ):
                self.propose()
        else:
            self._proposed = None
        self._tell_doubt()
        answers += self._repeat()
        return answers

    # --- reporting ----------------------------------------------------------------------------

    def _repeat(self) -> list[Answer]:
        """Report again what no verdict came for, and all that counts to a new leader."""
        raft = self._raft
        leader = (raft.term, raft.leader)
        if raft.leader is not None and leader != self._reported_to:
            self._reported_to = leader
            self._unjudged = max(self._own, key=_index_of, default=None)
            self._report_ticks = self._reports = 0
        position = self._unjudged
        if position is None or self._reports >= REPORTS_MAX:
            return []
        self._report_ticks -= 1
        if self._report_ticks > 0:
            return []
        return self._report(position, self._own[position])

    def _report(self, position: LogPosition, digest: bytes) -> list[Answer]:
        self._report_ticks = REPORT_TICKS
        self._reports += 1
        raft = self._raft
        if raft.role is Role.LEADER:
            return self._collect(raft.node, position, digest)
        if raft.leader is None:
            return []
        return [
            ChecksumReport(
                sender=raft.node,
                receiver=raft.leader,
                term=raft.term,
                index=position.index,
                entry_term=position.term,
                digest=digest,
            )
        ]

    def _judged(self, position: LogPosition, right: bytes, good: Iterable[NodeId]) -> None:
        own = self._own.get(position)
        if own is None:
            return
        if position == self._unjudged:
            self._unjudged = None
        if own == right:
            self.rebuild.equal(position)
        else:
            self.rebuild.begin(position, own, right, good)

    # --- collecting ---------------------------------------------------------------------------

    def _collect(self, node: NodeId, position: LogPosition, digest: bytes) -> list[Answer]:
        check = self._check(position)
        if check is None or (digest == NOT_HASHED and node in check.reports):
            return []
        check.reports[node] = digest
        found = judge(self._raft.configuration, check.reports)
        is_news = found.right != check.right
        check.right, check.doubted = found.right, found.doubted
        return self._tell(position, check, check.reports if is_news else [node])

    def _tell(self, position: LogPosition, check: _Check, nodes: Iterable[NodeId]) -> list[Answer]:
        raft, right = self._raft, check.right
        answers: list[Answer] = []
        if right is None:
            return answers
        for node in list(nodes):
            if node == raft.node:
                good = [name for name, each in check.reports.items() if each == right]
                self._judged(position, right, good)
            elif check.reports[node] != NOT_HASHED:
                answers.append(
                    ChecksumVerdict(
                        sender=raft.node,
                        receiver=node,
                        term=raft.term,
                        index=position.index,
                        entry_term=position.term,
                        digest=right,
                    )
                )
        return answers

    def _check(self, position: LogPosition) -> _Check | None:
        """The check at ``position``, begun if need be; None for one too old to remember."""
        check = self._checks.get(position)
        if check is None:
            if position.index > self._raft.last_position.index:
                return None  # no entry that a majority holds
            self._checks[position] = check = _Check()
            _keep_newest(self._checks)
            check = self._checks.get(position)
        return check

    def _is_ahead(self, position: LogPosition) -> bool:
        """Whether this replica may still come to hash at ``position``."""
        return position.index > self._raft.commit_index or position in self._checks

    def _tell_doubt(self) -> None:
        """Tell people of a difference that nobody can judge; of the newest check that says any."""
        why: str | None = None
        if self._raft.role is Role.LEADER:
            for position in sorted(self._checks, key=_index_of, reverse=True):
                check = self._checks[position]
                if check.right is not None:
                    break
                if check.doubted:
                    check.doubt_ticks += 1
                    if check.doubt_ticks >= DOUBT_TICKS:
                        why = _doubt(position, check, self._raft.configuration)
                        break
        if why != self._doubt:
            self._doubt = why
            self._host.doubted(why)


def _doubt(position: LogPosition, check: _Check, configuration: Configuration) -> str:
    found = judge(configuration, check.reports)
    digests = ", ".join(
        f"{node} has {check.reports[node].hex()[:8]}"
        for node, finding in found.findings.items()
        if finding is Finding.DOUBTED
    )
    missing = [node for node, each in found.findings.items() if each is not Finding.DOUBTED]
    advice = f"bring back {', '.join(missing)}" if missing else "see docs/operations.md"
    return (
        f"replicas differ at log index {position.index} and no majority is equal, so nobody can "
        f"tell which is right: {digests}; {advice}"
    )


def _index_of(position: LogPosition) -> int:
    return position.index


def _keep_newest(held: dict[LogPosition, _Check] | dict[LogPosition, bytes]) -> None:
    while len(held) > CHECKS_MAX:
        del held[min(held, key=_index_of)]
