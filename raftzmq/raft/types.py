"""The nouns of Raft: entries, durable state, configuration, and what the core hands out.

What is durable before what is said once, in the order of the fields of ``Ready``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from raftzmq.raft.messages import Message

NodeId: TypeAlias = str
"""Name of a node in nodes.toml, for instance ``n1``."""


class EntryKind(IntEnum):
    """What the data of an entry means to Raft; numbers are on disk and on the wire."""

    NOOP = 0
    COMMAND = 1
    CONFIGURATION = 2
    CHECKSUM = 3
    """Changes nothing when applied; each replica hashes its content at this index (P6)."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the replicated log; (index, term) names its content forever (thesis 3.5)."""

    index: int
    term: int
    kind: EntryKind
    data: bytes


class HardState(NamedTuple):
    """What must survive a crash beside the log (thesis figure 3.1)."""

    term: int = 0
    voted_for: NodeId | None = None


@dataclass(frozen=True, slots=True)
class LogPosition:
    """Index and term of one place in the log; (0, 0) is before the first entry."""

    index: int
    term: int


class Role(Enum):
    """Role of a node; ``roles.py`` is the only writer."""

    FOLLOWER = "follower"
    PRE_CANDIDATE = "pre-candidate"
    CANDIDATE = "candidate"
    LEADER = "leader"


class Standing(Enum):
    """Whether this node may make promises: vote, campaign, acknowledge, confirm a leader.

    A node that lost its disk, or got an older one back, has forgotten promises that others
    still build on. See ``standing.py``.
    """

    MEMBER = "member"
    UNKNOWN = "unknown"
    """Just started: the peers have yet to say that it is the node they know."""
    RECOVERING = "recovering"
    """It has forgotten; until it is proven to hold all it may have promised."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """Who votes. ``outgoing`` is empty outside of a joint change (thesis 4.3)."""

    voters: frozenset[NodeId]
    outgoing: frozenset[NodeId] = frozenset()
    learners: frozenset[NodeId] = frozenset()

    def members(self) -> frozenset[NodeId]:
        """All nodes that the leader replicates to, itself included."""
        return self.voters | self.outgoing | self.learners


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Names a snapshot: the state after applying the entry at ``index`` of ``term``."""

    index: int
    term: int
    configuration: Configuration


@dataclass(frozen=True, slots=True)
class ReadState:
    """A read with ``context`` may be served once applied_index >= ``index`` (thesis 6.4).

    ``index`` is None when the read was refused (leadership or term changed, no leader): the
    caller asks again or reports NOT_EXECUTED.
    """

    context: int
    index: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleChanged:
    """Fact: the role, term or known leader of this node changed."""

    term: int
    role: Role
    leader: NodeId | None
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VoteCast:
    """Fact: this node answered a vote or pre-vote."""

    term: int
    candidate: NodeId
    granted: bool
    pre_vote: bool
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LogTruncated:
    """Fact: entries from ``index`` on were replaced by a leader's (thesis 3.5)."""

    index: int
    term: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressChanged:
    """Fact: the leader's flow towards a peer changed (PROBE, REPLICATE, SNAPSHOT)."""

    peer: NodeId
    flow: str
    match_index: int
    next_index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferChanged:
    """Fact: a leadership transfer began, finished or was given up."""

    target: NodeId
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StandingChanged:
    """Fact: this node may, or may no longer, make promises."""

    standing: Standing
    why: str


Fact: TypeAlias = (
    RoleChanged | VoteCast | LogTruncated | ProgressChanged | TransferChanged | StandingChanged
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """One round of output. The host carries the fields out in the order they stand here.

    1. ``messages_now`` may be sent at once: the leader's appends and heartbeats go out while
       its own disk still writes (thesis 10.2.1), because the leader counts itself only after
       ``Raft.persisted``.
    2. ``install``: the host makes this staged snapshot its state and its log's base, durably.
    3. ``hard_state`` and ``entries`` become durable, in one transaction, with one fsync. The
       first entry's index truncates whatever the disk holds from there on.
       ``recovered``: the durable mark that this node is recovering goes after them, before
       any message can promise something again.
    4. ``messages_after_persist`` are sent only then: votes, vote requests and append
       acknowledgements promise what step 3 made true (thesis 3.8).
    5. ``committed`` entries are handed to the state machine, in order, each once.
    6. ``read_states`` are answered when applied_index reaches them.
    7. ``snapshots_wanted``: peers that need a snapshot since the log no longer reaches back.
    8. ``trace``: facts, for logs, the simulator and people. No duty.

    After 1 to 4 the host calls ``Raft.persisted(position)`` if ``entries`` was not empty, and
    asks for the next Ready until there is none.
    """

    messages_now: tuple[Message, ...] = ()
    install: Snapshot | None = None
    hard_state: HardState | None = None
    entries: tuple[Entry, ...] = ()
    recovered: bool = False
    messages_after_persist: tuple[Message, ...] = ()
    committed: tuple[Entry, ...] = ()
    read_states: tuple[ReadState, ...] = ()
    snapshots_wanted: tuple[NodeId, ...] = ()
    trace: tuple[Fact, ...] = ()
