"""All that one Raft node knows, and its outbox. Data only; the rules are in the handlers.

Index chain that holds between any two calls::

    base <= committed_given <= commit_index <= last_index
    base <= stable_index <= entries_given <= last_index

``stable_index``: known to be on this node's disk. ``entries_given``: handed out to be written.
``committed_given``: handed out to be applied. Written by: ``roles`` (term, voted_for, role,
leader and what starts anew with them), ``replication`` (log), ``commit`` (commit_index, agreed),
``ready`` (the cursors of what was handed out).
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field

from raftzmq import limits
from raftzmq.raft.log import Log
from raftzmq.raft.messages import MESSAGE_TABLE, Message
from raftzmq.raft.progress import Progress
from raftzmq.raft.types import (
    Configuration,
    Fact,
    HardState,
    LogPosition,
    NodeId,
    ReadState,
    Role,
    Snapshot,
    Standing,
)

_NOTHING = LogPosition(0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class RaftConfig:
    """What a node is told once. Ticks are the host's; bytes count data and overhead."""

    node: NodeId
    configuration: Configuration
    heartbeat_ticks: int = limits.HEARTBEAT_TICKS
    election_ticks: int = limits.ELECTION_TICKS
    leader_lost_ticks_max: int = limits.LEADER_LOST_TICKS_MAX
    append_bytes_max: int = limits.APPEND_BYTES_MAX
    inflight_bytes_max: int = limits.INFLIGHT_BYTES_MAX
    inflight_messages_max: int = limits.INFLIGHT_MESSAGES_MAX
    uncommitted_bytes_max: int = limits.UNCOMMITTED_BYTES_MAX


@dataclass(slots=True)
class Transfer:
    """A leadership transfer under way at the leader."""

    target: NodeId
    deadline_tick: int


@dataclass(slots=True)
class ReadRound:
    """Reads at the leader that wait for one round of heartbeats (thesis 6.4)."""

    number: int
    index: int
    local: list[int]
    remote: dict[NodeId, list[int]]
    """Per asking node, which by asking has confirmed already: its contexts."""


@dataclass(slots=True)
class Reads:
    """Reads that are not answered yet."""

    context_salt: int
    """Makes contexts on the wire unique over restarts: an answer to an earlier life of this
    node must not serve a read of this one."""
    context_count: int = 0
    round: int = 0
    open_local: list[int] = field(default_factory=list)
    """Leader: contexts of this node that join the next round."""
    open_remote: dict[NodeId, list[int]] = field(default_factory=dict)
    rounds: deque[ReadRound] = field(default_factory=deque)
    awaiting_commit: list[tuple[NodeId, int]] = field(default_factory=list)
    """Leader: (asking node, context), waiting for the first commit of the term."""
    asked: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Follower: context on the wire -> (the host's context, tick of asking), oldest first."""


@dataclass(slots=True, kw_only=True)
class RaftState:
    """The state that every handler takes first."""

    config: RaftConfig
    rng: random.Random
    log: Log
    reads: Reads
    configuration: Configuration
    members: frozenset[NodeId]

    # On disk, once handed out (thesis figure 3.1).
    term: int
    voted_for: NodeId | None
    saved: HardState

    standing: Standing = Standing.MEMBER
    proof_context: int = 0
    """Recovering: the context of the last ProofRequest; 0 before the first."""
    proof: LogPosition | None = None
    """Recovering: an entry that was proposed after this node began to recover."""
    recovered: bool = False
    """Recovering ended, and the host has yet to be told."""

    role: Role = Role.FOLLOWER
    leader: NodeId | None = None
    commit_index: int
    stable_index: int
    entries_given: int
    committed_given: int

    agreed: LogPosition = _NOTHING
    """Follower: the term, and how far this log equals that of the term's leader."""

    # Time, in ticks.
    now: int = 0
    contact_tick: int = 0
    """When this node last heard from a leader of its term, or was one."""
    election_elapsed: int = 0
    election_timeout: int = 0
    heartbeat_elapsed: int = 0
    stirred_tick: int = 0
    """Leader: when it last had something to do but to say that it lives."""
    leader_lost_tick: int | None = None
    """When the connection to the leader broke; None as long as it holds."""
    unfit: set[str] = field(default_factory=set)
    """For what the host does not let this node come to lead."""

    # Of a (pre-)candidate, and of a leader.
    votes: dict[NodeId, bool] = field(default_factory=dict)
    progress: dict[NodeId, Progress] = field(default_factory=dict)
    transfer: Transfer | None = None
    replicate_due: bool = False
    """Something happened that may let the leader send: a look at each peer is due."""

    # Outbox.
    messages_now: list[Message] = field(default_factory=list)
    messages_after_persist: list[Message] = field(default_factory=list)
    install: Snapshot | None = None
    read_states: list[ReadState] = field(default_factory=list)
    snapshots_wanted: list[NodeId] = field(default_factory=list)
    trace: list[Fact] = field(default_factory=list)

    @property
    def may_promise(self) -> bool:
        """Whether what this node says binds it; see ``standing.py``."""
        return self.standing is Standing.MEMBER

    @property
    def node(self) -> NodeId:
        """Name of this node."""
        return self.config.node


_AFTER_PERSIST = frozenset(kind for kind, rule in MESSAGE_TABLE.items() if rule.after_persist)


def send(state: RaftState, message: Message) -> None:
    """Put a message into that outbox which MESSAGE_TABLE demands for its type."""
    if type(message) in _AFTER_PERSIST:
        state.messages_after_persist.append(message)
    else:
        state.messages_now.append(message)


def note(state: RaftState, fact: Fact) -> None:
    """Tell the host a fact, for people and for the simulator."""
    state.trace.append(fact)
