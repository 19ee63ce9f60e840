"""A replica whose content is wrong or cannot be read: out of service, rebuilt, compared again.

::

    in order ──verdict: differs──▶ quarantined ──snapshot installed──▶ rebuilt
        ▲                              ▲                                 │
        │                              └───────verdict: differs──────────┤
        └──────────────────verdict: equal, after the snapshot────────────┘

A quarantined node serves no reads, sends no snapshots, does not campaign while anybody else may
come to lead, and if it leads hands over. Its *log* is in order, so it goes on to acknowledge
entries and to vote, and where it alone holds what was promised last, it must lead for a moment,
or nobody could: the others get the entries from it, and then the leadership. A leader that finds
nobody to hand over to goes on to lead, and refuses what its content would answer.

Nobody is trusted with the end of a quarantine but a new comparison: the snapshot came from
one node, whose content nobody may have compared.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final, Protocol

from raftzmq.raft.raft import Raft
from raftzmq.raft.types import LogPosition, NodeId, Role
from raftzmq.replica.hand_over import HandOver
from raftzmq.replica.transfer import Transfers
from raftzmq.storage.quarantine import QuarantineMark
from raftzmq.wire.equality import ChecksumRequest, EqualityMessage, RebuildRequest

ASK_TICKS: Final = 100
"""A request to the leader is repeated after so long: messages are lost, and leaders change."""
HAND_OVER_AGAIN_TICKS: Final = 2 * ASK_TICKS
"""A quarantined leader that nobody took over from asks all again after so long; meanwhile those
that wait for a comparison get one."""


class EqualityHost(Protocol):
    """What the node does about a finding."""

    def quarantined(self, mark: QuarantineMark | None) -> None:
        """Make ``mark`` durable (None: remove it), then put it into effect.

        Raises:
            StorageFailed: it could not be made durable; the process must stop.
        """

    def doubted(self, why: str | None) -> None:
        """Replicas differ and nobody can tell which is right; None: that is over."""


class Rebuild:
    """The quarantine of one replica.

    Args:
        raft: the core.
        transfers: brings the snapshot.
        host: told of each change.
        mark: what the data folder says at start.
    """

    def __init__(
        self, raft: Raft, transfers: Transfers, host: EqualityHost, mark: QuarantineMark | None
    ) -> None:
        self._raft = raft
        self._transfers = transfers
        self._host = host
        self._good: tuple[NodeId, ...] = ()
        self._wait_ticks = 0
        self._hand_over = HandOver(HAND_OVER_AGAIN_TICKS)
        self._asked: tuple[int, NodeId] | None = None
        """Term and leader that were asked for a snapshot."""
        self.mark: QuarantineMark | None = None
        if mark is not None:
            self._quarantine(mark)

    @property
    def leads_for_want_of_others(self) -> bool:
        """Whether this node leads, was rebuilt, and only a comparison is left to make it right."""
        mark = self.mark
        return mark is not None and mark.rebuilt_index > 0 and self._hand_over.exhausted

    def begin(
        self, position: LogPosition, own: bytes, right: bytes, good: Iterable[NodeId]
    ) -> None:
        """The content at ``position`` is ``own`` where a majority has ``right``.

        Args:
            good: who is known to have reported ``right``; only the leader knows.
        """
        mark = self.mark
        if mark is not None and not 0 < mark.rebuilt_index < position.index:
            return  # the rebuild is under way, or what was compared there was replaced since
        self._good = tuple(sorted(good))
        self._quarantine(QuarantineMark(index=position.index, own=own.hex(), right=right.hex()))

    def damaged(self, applied_index: int, why: str, others: Iterable[NodeId]) -> None:
        """SQLite finds the content malformed.

        Args:
            applied_index: an older snapshot will not do.
            why: for people.
            others: to whom a leader may hand over; whether they are right, nobody has asked.
        """
        mark = self.mark
        if mark is not None and not mark.rebuilt_index:
            return  # the rebuild is under way
        self._good = tuple(sorted(others))
        self._quarantine(QuarantineMark(index=applied_index, damage=why))

    def installed(self, index: int) -> None:
        """A snapshot taken at ``index`` took the place of state.db, durably."""
        mark = self.mark
        if mark is not None and index >= mark.index:
            self._quarantine(replace(mark, rebuilt_index=index))

    def equal(self, position: LogPosition) -> None:
        """The content at ``position`` is the majority's: a rebuilt node serves again."""
        mark = self.mark
        if mark is None or not 0 < mark.rebuilt_index < position.index:
            return
        self._host.quarantined(None)
        self.mark = None
        self._transfers.trust()
        self._raft.set_electable(True, "quarantined")

    def tick(self) -> list[EqualityMessage]:
        """One unit of time: hand over, ask for a snapshot, ask for a comparison."""
        if self.mark is None:
            return []
        raft = self._raft
        raft.set_electable(raft.long_without_leader, "quarantined")
        if raft.role is Role.LEADER:
            self._try_to_hand_over()
            return []
        self._hand_over.reset()
        self._wait_ticks -= 1
        if self._wait_ticks > 0:
            return []
        leader = raft.leader
        if leader is None or leader == raft.node:
            return []
        if self.mark.rebuilt_index:
            self._wait_ticks = ASK_TICKS
            return [ChecksumRequest(sender=raft.node, receiver=leader, term=raft.term)]
        # Not older than the log's base: what follows the snapshot must still be in the log.
        least = max(self.mark.index, raft.base.index)
        self._transfers.rebuild_from = least
        self._wait_ticks = ASK_TICKS
        if self._transfers.receiving and self._asked == (raft.term, leader):
            return []
        self._asked = raft.term, leader
        return [RebuildRequest(sender=raft.node, receiver=leader, term=raft.term, index=least)]

    def _quarantine(self, mark: QuarantineMark) -> None:
        self._host.quarantined(mark)
        self.mark = mark
        self._wait_ticks = 0
        self._hand_over.reset()
        self._raft.set_electable(False, "quarantined")
        self._transfers.distrust(self._raft)
        self._transfers.rebuild_from = None if mark.rebuilt_index else mark.index

    def _try_to_hand_over(self) -> None:
        """To a live node, those first whose content is known to be right; each in turn.

        Who leads by such a judgement finds one of them: a quorum of live nodes and the majority
        that is right have a node in common. Who came to lead as a last resort knows of nobody,
        and needs none but one that may lead: it is no worse than any that is elected.
        """
        raft = self._raft
        progress = raft.progress()
        live = [
            peer
            for peer, view in progress.items()
            if view.recent_active and peer in raft.configuration.voters
        ]
        live.sort(key=lambda peer: (peer not in self._good, -progress[peer].match_index, peer))
        target = self._hand_over.tick(live, under_way=raft.propose_refusal() == "transfer")
        if target is not None:
            raft.transfer_leadership(target)
