"""What a round of the raft thread does between its sockets: reports taken, the flush, what it
leaves. The daemon and the simulator host the same code; no sockets, no clock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

from raftzmq.config import LimitsConfig
from raftzmq.errors import StorageDamaged
from raftzmq.node.applier import (
    Applied,
    Checkpointed,
    Failed,
    Installed,
    InstallJob,
    Report,
    Stuck,
    Tired,
)
from raftzmq.node.conditions import Condition, Conditions, standing_condition
from raftzmq.node.content_checks import Hashed, HashFailed
from raftzmq.node.disk import DiskWatch
from raftzmq.node.disk_policy import Room
from raftzmq.node.service import ClientService
from raftzmq.node.snapshots import NotTaken, TakeFailed, Taken
from raftzmq.raft.types import Entry, ReadState, Role, RoleChanged, StandingChanged
from raftzmq.replica.replica import Replica

READY_CONTEXT = 0
"""Context of the node's own read index at start; those of clients count from 1."""
CHECKPOINT_BYTES_MAX = 16 << 20
"""Log written between two checkpoints of state.db; less where the log may hold less."""

CATCHING_UP = "catching up"
"""Name of the condition that a peer cannot be brought up to date."""

Mail: TypeAlias = Report | Taken | NotTaken | TakeFailed | Hashed | HashFailed


class AppliesEntries(Protocol):
    """The applier, as far as a round needs it; see ``node.applier.Applier``."""

    def apply(self, entries: list[Entry]) -> None:
        """Queue committed entries, in log order."""

    def apply_here(self, entries: Sequence[Entry], heard_index: int) -> Applied | None:
        """Apply them at once if that takes much less than a tick; None: ``apply`` them."""

    def checkpoint(self) -> None:
        """Queue a checkpoint of state.db; answered by Checkpointed."""

    def install(self, job: InstallJob) -> None:
        """Queue an install."""

    def relieve(self) -> None:
        """After Tired: go on with a fresh thread."""


class Rounds:
    """The order of effects of one node.

    Args:
        replica: the replica this node hosts.
        service: what clients wait for.
        applier: the writer of state.db.
        disk: told when the applier finds no room.
        conditions: told of the standing.
        bounds: when to checkpoint and to compact.
        log: takes one line for people per event.
        on_ready: called once, when the node has caught up.

    Attributes:
        ready: the node has caught up.
    """

    def __init__(
        self,
        *,
        replica: Replica,
        service: ClientService,
        applier: AppliesEntries,
        disk: DiskWatch,
        conditions: Conditions,
        bounds: LimitsConfig,
        log: Callable[[str], None],
        on_ready: Callable[[], None],
    ) -> None:
        self._replica = replica
        self._service = service
        self._applier = applier
        self._disk = disk
        self._conditions = conditions
        self._bounds = bounds
        self._log = log
        self._on_ready = on_ready
        self._checkpointed_bytes = 0
        self._told_abandoned: frozenset[str] = frozenset()
        self._ready_asked = False
        self._ready_index: int | None = None
        self.ready = False

    def take(self, item: Mail) -> None:
        """Take what the applier, a snapshot or a hash came to.

        Raises:
            RaftzmqError: one of them cannot go on; the process must stop.
        """
        if isinstance(item, Applied):
            self._replica.applied_index = item.results[-1].index
            self._service.applied(item.results)
            self._service.run_ready()
            self._maybe_checkpoint()
        elif isinstance(item, Checkpointed):
            if self._replica.log_size.held_bytes() > self._bounds.log_bytes_max:
                self._compact(item.index)
        elif isinstance(item, Installed):
            self._log(
                f"snapshot at index {item.snapshot.index} from {item.sender} "
                + ("installed" if item.why is None else f"refused: {item.why}")
            )
            self._replica.installed(
                item.snapshot, item.sender, item.term, item.why, swapped=item.swapped
            )
            self._service.run_ready()
        elif isinstance(item, Taken):
            self._replica.snapshot_taken(item.source)
        elif isinstance(item, NotTaken):
            self._replica.transfers.not_taken()
        elif isinstance(item, Stuck):
            self._disk.applier_stuck(item.why)
        elif isinstance(item, Tired):
            self._applier.relieve()
        elif isinstance(item, Hashed):
            self._replica.hashed(item.position, item.digest)
        elif isinstance(item, Failed | TakeFailed | HashFailed):
            if isinstance(item, TakeFailed):
                # Also where the node goes on, to be rebuilt: it may lead and take another one.
                self._replica.transfers.not_taken()
            self._failed(item.error)

    def flush(self) -> None:
        """Persist, send, hand over to the applier, answer reads: in this order.

        Raises:
            StorageFailed: the log could not be made durable; the process must stop.
        """
        left = self._replica.flush()
        abandoned = self._replica.transfers.retention.abandoned
        if abandoned != self._told_abandoned:
            self._tell_catching_up(abandoned)
        if left.committed:
            self._replica.bound_memory(self._bounds.log_memory_bytes)
            applied = self._applier.apply_here(left.committed, self._replica.applied_index)
            if applied is None:
                self._applier.apply(list(left.committed))
            else:
                self.take(applied)
        for fact in left.trace:
            if isinstance(fact, RoleChanged):
                self._log(
                    f"term {fact.term}: {fact.role.value}"
                    f"{f', leader {fact.leader}' if fact.leader else ''} ({fact.why})"
                )
                if fact.role is not Role.LEADER:
                    self._service.leadership_lost()
            elif isinstance(fact, StandingChanged):
                self._log(f"standing {fact.standing.value}: {fact.why}")
                self._conditions.set("standing", standing_condition(fact.standing))
        if left.read_states:
            if not self.ready:
                self._take_ready_index(left.read_states)
            self._service.read_states(left.read_states)

    def check_ready(self) -> None:
        """Caught up means: all that was committed before a leader was asked is applied here.

        The own commit_index would not do: after a start it is still the old one.
        """
        raft = self._replica.raft
        if self._ready_index is None:
            if raft.leader is not None and not self._ready_asked:
                self._ready_asked = True
                raft.read_index(READY_CONTEXT)
        elif self._replica.applied_index >= self._ready_index:
            self.ready = True
            self._on_ready()

    def _failed(self, error: BaseException) -> None:
        """state.db cannot be read or written; what a copy from another node repairs, is.

        Raises:
            BaseException: ``error``, when only a person can help.
        """
        alone = len(self._replica.raft.configuration.members()) == 1
        if not isinstance(error, StorageDamaged) or alone:
            raise error
        self._replica.damaged(str(error))

    def _compact(self, durable_index: int) -> None:
        bounds = self._bounds
        # Room on the disk is worth more than a peer that catches up sooner.
        holds = self._disk.policy.room is Room.ENOUGH
        hold_bytes_max = bounds.log_hold_bytes_max if holds else 0
        abandoned = self._replica.compact(durable_index, bounds.log_keep_bytes, hold_bytes_max)
        for peer in abandoned:
            self._log(
                f"{peer} takes a snapshot, and the log that follows on it became too long to be"
                f" kept; it is sent a newer one"
            )

    def _tell_catching_up(self, peers: frozenset[str]) -> None:
        self._told_abandoned = peers
        self._conditions.set(
            CATCHING_UP,
            Condition(
                f"{', '.join(sorted(peers))} cannot catch up: while it takes a snapshot, more is"
                f" written than the {self._bounds.log_hold_bytes_max >> 20} MiB of log that are"
                " kept for it (log_hold_bytes_max), or than there is room for; raise the limit,"
                " make room, or write less for a while"
            )
            if peers
            else None,
        )

    def _take_ready_index(self, states: Sequence[ReadState]) -> None:
        for state in states:
            if state.context == READY_CONTEXT:
                self._ready_index = state.index
                self._ready_asked = state.index is not None

    def _maybe_checkpoint(self) -> None:
        written = self._replica.log_size.total_bytes
        step = min(CHECKPOINT_BYTES_MAX, self._bounds.log_bytes_max // 3)
        if written - self._checkpointed_bytes >= step:
            self._checkpointed_bytes = written
            self._applier.checkpoint()
