"""The one rule that must never be wrong: persist before send (thesis 3.8).

Everything a node promises to others (a vote, an acknowledged entry, a term) leaves only after
it is on disk. The order is that of the fields of ``Ready``; nothing else in raftzmq sends a
Raft message.

This module does not decide anything, knows no socket and no clock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from raftzmq.errors import NoRoom
from raftzmq.raft.messages import Message
from raftzmq.raft.raft import Raft
from raftzmq.raft.types import Entry, Fact, LogPosition, NodeId, ReadState, Ready
from raftzmq.storage.contract import LogStore


@dataclass(slots=True)
class Round:
    """What one flush leaves for the host, in order; filled by ``carry_out``."""

    committed: tuple[Entry, ...] = ()
    read_states: tuple[ReadState, ...] = ()
    snapshots_wanted: tuple[NodeId, ...] = ()
    trace: tuple[Fact, ...] = ()
    fsyncs: int = 0
    unsaved: Ready | None = None
    """There was no room to persist this one. Nothing that follows it may happen before it."""


def carry_out(
    raft: Raft,
    store: LogStore,
    send: Callable[[Sequence[Message]], None],
    unsaved: Ready | None = None,
) -> Round:
    """Carry out all that ``raft`` has ready; return what is left for the host.

    A leader's appends (``messages_now``) go out before its own fsync, so that the followers'
    disks work at the same time as its own (thesis 10.2.1).

    Args:
        unsaved: what the previous call left behind; it is tried again first.

    Raises:
        StorageFailed: the log could not be made durable. Nothing that depended on it was
            sent; the process must stop.
    """
    left = Round()
    ready = unsaved or raft.ready()
    while ready is not None:
        if ready.messages_now and ready is not unsaved:
            send(ready.messages_now)
        try:
            if ready.install is not None:
                store.reset(LogPosition(ready.install.index, ready.install.term))
                left.fsyncs += 1
            if ready.hard_state is not None or ready.entries:
                store.save(ready.hard_state, ready.entries)
                left.fsyncs += 1
            if ready.recovered:
                store.set_recovering(False)
                left.fsyncs += 1
        except NoRoom:
            left.unsaved = ready
            return left
        if ready.messages_after_persist:
            send(ready.messages_after_persist)
        if ready.entries:
            last = ready.entries[-1]
            raft.persisted(LogPosition(last.index, last.term))
        left.committed += ready.committed
        left.read_states += ready.read_states
        left.snapshots_wanted += ready.snapshots_wanted
        left.trace += ready.trace
        ready = raft.ready()
    return left
