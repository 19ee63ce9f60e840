"""A replica: Raft, its log on disk, and what waits for them. No sockets, no clock, no threads.

The host feeds it bytes from peers, ticks and proposals, calls ``flush`` once per round (one
fsync for all that came in meanwhile) and hands the committed entries to the state machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from raftzmq import limits
from raftzmq.errors import NoRoom
from raftzmq.raft.raft import Raft
from raftzmq.raft.types import LogPosition, NodeId, Ready, Role, Snapshot
from raftzmq.replica.admission import Admission
from raftzmq.replica.compaction import LogSize
from raftzmq.replica.equality import Equality
from raftzmq.replica.holding_back import needs_room
from raftzmq.replica.persist import Round, carry_out
from raftzmq.replica.transfer import Source, Transfers
from raftzmq.storage.contract import LogStore
from raftzmq.wire.codec import DecodeError
from raftzmq.wire.equality import EqualityMessage
from raftzmq.wire.greeting import GreetingMessage
from raftzmq.wire.peer import Envelope, PeerMessage, decode_peer, encode_peer
from raftzmq.wire.transfer import TransferMessage
from raftzmq.wire.version import VersionMismatch


class Replica:
    """One member of the cluster.

    Args:
        raft: the core, as loaded from ``store``.
        store: the durable log; only this replica writes it.
        cluster: id of the cluster, put on every message.
        send: sends bytes to a peer; may drop, must not block.
        transfers: snapshots on their way in and out.
        applied_index: what state.db holds at start.
        admission: knows which life of each peer speaks.

    Attributes:
        holds_back: no entries that need room are taken; see ``hold_back``.
        lacks_entries: entries were refused since ``holds_back`` was set.
    """

    def __init__(
        self,
        *,
        raft: Raft,
        store: LogStore,
        cluster: str,
        send: Callable[[NodeId, bytes], object],
        transfers: Transfers,
        applied_index: int,
        admission: Admission,
    ) -> None:
        self.raft = raft
        self.transfers = transfers
        self.applied_index = applied_index
        self.equality = Equality(raft, transfers, lambda: self.applied_index)
        self.log_size = LogSize()
        self.fsyncs = 0
        self.dropped: dict[str, int] = {}
        self.holds_back = False
        self.lacks_entries = False
        self._unsaved: Ready | None = None
        self._try_again = False
        self._store = store
        self._cluster = cluster
        self._send = send
        self._admission = admission

    def tick(self) -> None:
        """One unit of time passed."""
        if self.stalled:
            return
        self.raft.tick()
        self._send_all(self._admission.tick())
        self._send_all(self.transfers.tick(self.raft))
        self._send_all(self.equality.tick())

    def receive(self, data: bytes | memoryview) -> bool:
        """Take one message of a peer; what does not belong here is dropped and counted.

        Returns:
            Whether it belonged here.
        """
        if self.stalled:
            return self._drop("no room for the log")
        try:
            envelope, message = decode_peer(data)
        except VersionMismatch:
            return self._drop("other version")
        except DecodeError:
            return self._drop("malformed")
        if envelope.cluster != self._cluster:
            return self._drop("foreign cluster")
        if message.receiver != self.raft.node:
            return self._drop("wrong receiver")
        if envelope.sender not in self.raft.configuration.members():
            return self._drop("unknown sender")
        if envelope.sender == self.raft.node:
            return self._drop("own name as sender")
        if isinstance(message, GreetingMessage):
            return self._greeted(message, envelope)
        if (objection := self._admission.objection(envelope)) is not None:
            return self._drop(objection)
        if isinstance(message, TransferMessage):
            self._send_all(self.transfers.receive(message, self.raft))
        elif isinstance(message, EqualityMessage):
            self._send_all(self.equality.receive(message))
        elif self.holds_back and needs_room(message, self.raft.last_position.index):
            self.lacks_entries = True
            return self._drop("no room for entries")
        else:
            self.raft.step(message)
        return True

    def connected(self, peer: NodeId) -> None:
        """The connection to ``peer`` came up."""
        self._send_all(self._admission.connected(peer))

    @property
    def stalled(self) -> bool:
        """Whether raft.db had no room for what Raft decided.

        Until it has, this node is to the others as if its process were paused: it takes no
        messages, lets no time pass and sends nothing, so it cannot break a promise.
        """
        return self._unsaved is not None

    def try_again(self) -> None:
        """There may be room by now; the next flush tries to end the stall."""
        self._try_again = True

    def hold_back(self, on: bool) -> None:
        """Take no more entries that need room, or take all again."""
        self.holds_back = on
        self.lacks_entries = self.lacks_entries and on

    def flush(self) -> Round:
        """Carry out what Raft decided since the last flush: persist, send, commit.

        Raises:
            StorageFailed: the log could not be made durable; the process must stop.
        """
        if self.stalled and not self._try_again:
            return Round()
        self._try_again = False
        left = carry_out(self.raft, self._store, self._send_all, self._unsaved)
        self._unsaved = left.unsaved
        self.fsyncs += left.fsyncs
        if left.committed:
            self.log_size.committed(left.committed)
            self.equality.committed(left.committed)
        for peer in left.snapshots_wanted:
            self._send_all(self.transfers.wanted(peer, self.raft))
        return left

    def installed(
        self,
        snapshot: Snapshot,
        sender: NodeId,
        term: int,
        why: str | None,
        *,
        swapped: bool = True,
    ) -> None:
        """An install ended.

        Args:
            why: the file was refused for this; None: state.db holds the snapshot's state, or a
                later one.
            swapped: the snapshot took the place of state.db, which may have been ahead of it.
        """
        if why is None:
            self.applied_index = (
                snapshot.index if swapped else max(self.applied_index, snapshot.index)
            )
            self.raft.install_snapshot(snapshot, sender, term)
            if swapped:
                # The state may have gone back, or have been passed over while it was damaged.
                self.raft.reapply(snapshot.index)
                self.equality.installed(snapshot.index)
        self._send_all(self.transfers.installed(self.raft, sender, ok=why is None))

    def damaged(self, why: str) -> None:
        """The host cannot read state.db: it is not served, and rebuilt by a snapshot."""
        others = self.raft.configuration.voters - {self.raft.node}
        self.equality.rebuild.damaged(self.applied_index, why, others)

    def hashed(self, position: LogPosition, digest: bytes) -> None:
        """The host passed a CHECKSUM entry, see ``Equality.hashed``."""
        self._send_all(self.equality.hashed(position, digest))

    def snapshot_taken(self, source: Source) -> None:
        """The host finished a snapshot file that a peer waits for."""
        self._send_all(self.transfers.taken(source, self.raft))

    def compact(
        self,
        durable_index: int,
        keep_bytes: int,
        hold_bytes_max: int = limits.LOG_HOLD_BYTES_MAX,
    ) -> list[NodeId]:
        """Forget log entries that a durable state.db covers, but for a tail of ``keep_bytes``.

        Not what follows on a snapshot that a peer takes: that is kept on disk, unless the log is
        longer than ``hold_bytes_max`` (docs/decisions/012). And nothing while this replica is
        rebuilt: the snapshot that comes lies behind what it applied, and the log must bridge that.

        Returns:
            The peers that the log was not kept for; they are sent newer snapshots.
        """
        if self.transfers.rebuild_from is not None and self.transfers.receiving:
            return []
        goal = min(
            self.log_size.compaction_index(durable_index, keep_bytes), self.raft.commit_index
        )
        if goal <= self.raft.base.index or self.stalled:
            return []
        retention = self.transfers.retention
        index = min(goal, retention.least_index(goal))
        abandoned: list[NodeId] = []
        if index < goal and self.log_size.held_bytes() > hold_bytes_max:
            abandoned = retention.abandon(goal)
            index = goal
        if index < goal:
            self.raft.shed(goal)
        if index > self.raft.base.index:
            self._forget(index)
        if abandoned:
            self._send_all(self.transfers.outrun(self.raft))
        return abandoned

    def bound_memory(self, bytes_max: int) -> None:
        """Keep committed log entries on disk only, but for the last ``bytes_max``."""
        if not self.stalled:
            self.raft.bound_memory(bytes_max)

    def _forget(self, index: int) -> None:
        base: LogPosition = self.raft.compact(index)
        try:
            self._store.compact(base)
        except NoRoom:
            return  # raft.db holds more than it must; a later compaction takes these along
        self.log_size.compacted(base.index)

    @property
    def is_leader(self) -> bool:
        """Whether this node takes itself for the leader of its term."""
        return self.raft.role is Role.LEADER

    @property
    def boot(self) -> int:
        """Boot id under which the peers know this node."""
        return self._admission.boot

    def close(self) -> None:
        """Close the log."""
        self._store.close()

    def _greeted(self, message: GreetingMessage, envelope: Envelope) -> bool:
        try:
            answer = self._admission.receive(message, envelope)
        except NoRoom:
            return self._drop("no room for the log")  # said again, as it was not answered
        if isinstance(answer, str):
            return self._drop(answer)
        self._send_all(answer)
        return True

    def _drop(self, cause: str) -> bool:
        self.dropped[cause] = self.dropped.get(cause, 0) + 1
        return False

    def _send_all(self, messages: Iterable[PeerMessage]) -> None:
        for message in messages:
            frame = encode_peer(message, self._cluster, self._admission.boot)
            self._send(message.receiver, frame)
