"""Raft nodes in memory: disks that lose what was not synced, and a network that does anything.

One call is one event, nothing happens by itself, and the same calls give the same run. A node
carries out a Ready one effect at a time, so that a crash can come between any two of them.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from raftzmq.raft.describe import describe_lines, describe_message
from raftzmq.raft.messages import Message
from raftzmq.raft.raft import Raft
from raftzmq.raft.state import RaftConfig
from raftzmq.raft.types import (
    Configuration,
    Entry,
    HardState,
    LogPosition,
    NodeId,
    ReadState,
    Ready,
    Role,
    Snapshot,
    Standing,
)


@dataclass
class Disk:
    """What survives a crash: every change here counts as synced."""

    hard_state: HardState = field(default_factory=HardState)
    base: LogPosition = field(default_factory=lambda: LogPosition(0, 0))
    entries: list[Entry] = field(default_factory=list)
    applied: list[Entry] = field(default_factory=list)
    """The state machine as of its last checkpoint: all it has applied, from index 1 on."""
    recovering: bool = False
    """The mark of a node that has forgotten promises; a host starts such a node RECOVERING."""
    lives: dict[NodeId, int] = field(default_factory=dict)
    """The latest life of each peer that was heard from."""

    def copy(self) -> Disk:
        return replace(
            self,
            entries=list(self.entries),
            applied=list(self.applied),
            lives=dict(self.lives),
        )

    def save(self, hard_state: HardState | None, entries: tuple[Entry, ...]) -> None:
        """One transaction; the first entry's index truncates the rest."""
        if hard_state is not None:
            self.hard_state = hard_state
        if entries:
            keep = entries[0].index - self.base.index - 1
            assert 0 <= keep <= len(self.entries), "entries reach the disk without a gap"
            self.entries[keep:] = entries

    def compact(self, base: LogPosition) -> None:
        del self.entries[: base.index - self.base.index]
        self.base = base

    def reset(self, snapshot: Snapshot, state: list[Entry]) -> None:
        self.base = LogPosition(snapshot.index, snapshot.term)
        self.entries = []
        self.applied = list(state)

    def holds(self, index: int, term: int) -> bool:
        """Whether the entry (index, term) would survive a crash."""
        if index <= self.base.index:
            return True
        place = index - self.base.index - 1
        return place < len(self.entries) and self.entries[place].term == term


@dataclass(frozen=True)
class SnapshotTransfer:
    """A whole snapshot as one message; a host sends chunks."""

    sender: NodeId
    receiver: NodeId
    term: int
    snapshot: Snapshot
    state: tuple[Entry, ...]


@dataclass(frozen=True)
class SnapshotDone:
    """The receiver's host tells the sender's how it went."""

    sender: NodeId
    receiver: NodeId
    installed: bool


Parcel = Message | SnapshotTransfer | SnapshotDone


class Posted(NamedTuple):
    """A parcel on its way, and which life of its sender sent it; a host has the boot id."""

    parcel: Parcel
    life: int

    @property
    def sender(self) -> NodeId:
        return self.parcel.sender

    @property
    def receiver(self) -> NodeId:
        return self.parcel.receiver


def describe_parcel(parcel: Parcel) -> str:
    match parcel:
        case SnapshotTransfer():
            place = f"{parcel.snapshot.index}@{parcel.snapshot.term}"
            return f"{parcel.sender}>{parcel.receiver} t{parcel.term} Snapshot {place}"
        case SnapshotDone():
            how = "installed" if parcel.installed else "ignored"
            return f"{parcel.sender}>{parcel.receiver} SnapshotDone {how}"
        case _:
            return describe_message(parcel)


class FixedRandom(random.Random):
    """No chance at all: node number ``offset`` waits ``offset`` ticks more than the least.

    Bits are drawn as 0, 2, 4, …, so that what must be unique is.
    """

    def __init__(self, offset: int) -> None:
        super().__init__(0)
        self.offset = offset
        self.drawn = -2

    def randrange(self, start: int, stop: int | None = None, step: int = 1) -> int:
        return self.offset % start

    def randint(self, a: int, b: int) -> int:
        return a + self.offset % (b - a + 1)

    def getrandbits(self, k: int, /) -> int:
        self.drawn += 2
        return self.drawn


class Node:
    """One host: a Raft, its disk, its state machine."""

    def __init__(self, config: RaftConfig, rng: random.Random) -> None:
        self.config = config
        self.rng = rng
        self.disk = Disk()
        self.copy: Disk | None = None
        """An earlier copy of the disk, as of a backup."""
        self.lost_disks: list[Disk] = []
        """What this node once held, and may have acknowledged, but does not know any more."""
        self.has_forgotten = False
        """What the peers know of this node, whether it knows it itself yet or not."""
        self.life = 0
        self.raft: Raft | None = None
        self.applied: list[Entry] = []
        self.staged: dict[LogPosition, tuple[Entry, ...]] = {}
        self.outcomes: list[ReadState] = []

    @property
    def name(self) -> NodeId:
        return self.config.node

    @property
    def live(self) -> Raft:
        assert self.raft is not None, f"{self.name} is down"
        return self.raft

    def log(self) -> list[Entry]:
        """The entries in memory, after the base."""
        log = self.live._state.log
        return list(log.between(log.base.index, log.last_index))

    def start(self, standing: Standing | None = None) -> None:
        if standing is None or self.disk.recovering:
            standing = Standing.RECOVERING if self.disk.recovering else Standing.MEMBER
        self.life += 1
        self.applied = list(self.disk.applied)
        self.staged.clear()
        self.raft = Raft(
            self.config,
            hard_state=self.disk.hard_state,
            base=self.disk.base,
            entries=list(self.disk.entries),
            applied_index=len(self.applied),
            rng=self.rng,
            standing=standing,
        )

    def stop(self) -> None:
        self.raft = None


class Cluster:
    """Nodes, and the messages between them that are not delivered yet, oldest first.

    Args:
        configuration: of every node.
        rng: per node name its source of chance; default: FixedRandom by position.
        watch: called after each event with the node it happened at, for invariant checks.
        settings: further fields of RaftConfig.
    """

    def __init__(
        self,
        configuration: Configuration,
        *,
        rng: Callable[[NodeId], random.Random] | None = None,
        watch: Callable[[Node], None] | None = None,
        **settings: int,
    ) -> None:
        names = sorted(configuration.members())
        make = rng or (lambda name: FixedRandom(names.index(name) * 3))
        self.nodes = {
            name: Node(RaftConfig(node=name, configuration=configuration, **settings), make(name))
            for name in names
        }
        self.network: list[Posted] = []
        self.cuts: set[tuple[NodeId, NodeId]] = set()
        self.watch = watch
        self.forgot: Callable[[NodeId], None] | None = None
        """Called when a node lost its disk, for whoever keeps account of what disks hold."""
        self.say: Callable[[str], None] = lambda line: None
        self.delivered = False
        """Whether the latest parcel reached its node."""
        self._contexts = 0

    def start_all(self) -> None:
        for node in self.nodes.values():
            node.start()

    def running(self) -> list[Node]:
        return [node for node in self.nodes.values() if node.raft is not None]

    def leader(self) -> Node | None:
        """The leader of the highest term, if any."""
        leaders = [node for node in self.running() if node.live.role is Role.LEADER]
        return max(leaders, key=lambda node: node.live.term, default=None)

    # --- inputs, one event each ---------------------------------------------------------------

    def tick(self, name: NodeId) -> None:
        node = self.nodes[name]
        node.live.tick()
        self._watch(node)

    def propose(self, name: NodeId, data: bytes) -> LogPosition | None:
        node = self.nodes[name]
        position = node.live.propose(data)
        self._watch(node)
        return position

    def read(self, name: NodeId) -> int:
        """Begin a linearizable read; its outcome lands in ``node.outcomes``."""
        self._contexts += 1
        self.nodes[name].live.read_index(self._contexts)
        return self._contexts

    def crash(self, name: NodeId) -> None:
        """Everything that is not on disk is gone; what is on its way stays on its way."""
        node = self.nodes[name]
        node.stop()
        self._watch(node)

    def restart(self, name: NodeId, standing: Standing | None = None) -> None:
        """Start a node; by default RECOVERING when its disk says so, else MEMBER."""
        node = self.nodes[name]
        node.start(standing)
        self._watch(node)

    def wipe(self, name: NodeId, *, mark: bool = True) -> None:
        """Crash, and lose the whole disk. ``mark``: the next start knows that."""
        self._lose_disk(name, Disk(), mark)

    def save_copy(self, name: NodeId) -> None:
        """Remember the disk as it is now, for ``roll_back``."""
        self.nodes[name].copy = self.nodes[name].disk.copy()

    def roll_back(self, name: NodeId, *, mark: bool = True) -> None:
        """Crash, and come back with the disk of ``save_copy``."""
        copy = self.nodes[name].copy
        assert copy is not None, f"nothing of {name} was saved"
        self._lose_disk(name, copy.copy(), mark)

    def welcome(self, name: NodeId) -> None:
        """An UNKNOWN node hears from its peers whether it is the one they know."""
        node = self.nodes[name]
        if node.has_forgotten:
            node.disk.recovering = True
            node.live.recover("peers know more of it")
        else:
            node.live.admit("peers know it")
        self._watch(node)

    def meet(self, name: NodeId, peer: NodeId) -> None:
        """``name`` learns which life ``peer`` is in now, before any message of that life."""
        self._hear_life(self.nodes[name], peer, self.nodes[peer].life)
        self._watch(self.nodes[name])

    def _lose_disk(self, name: NodeId, disk: Disk, mark: bool) -> None:
        self.crash(name)
        node = self.nodes[name]
        node.lost_disks.append(node.disk)
        node.has_forgotten = True
        node.disk = disk
        node.disk.recovering = mark
        if self.forgot is not None:
            self.forgot(name)
        self._watch(node)

    def _hear_life(self, node: Node, peer: NodeId, life: int) -> bool:
        """Tell a node of a peer's new life. False: of an earlier one, to be dropped."""
        known = node.disk.lives.get(peer)
        if known is not None and life < known:
            return False
        if life != known:
            node.disk.lives[peer] = life
            if known is not None:
                node.live.peer_restarted(peer)
        return True

    def compact(self, name: NodeId, index: int) -> LogPosition:
        """Checkpoint the state machine, then forget the log up to ``index``."""
        node = self.nodes[name]
        node.disk.applied = list(node.applied)
        base = node.live.compact(index)
        node.disk.compact(base)
        return base

    def deliver(self, place: int = 0, *, keep: bool = False) -> Parcel:
        """Deliver one message; ``keep`` leaves a copy on its way (a duplicate)."""
        parcel, life = self.network[place] if keep else self.network.pop(place)
        node = self.nodes[parcel.receiver]
        self.delivered = False
        if node.raft is None or (parcel.sender, parcel.receiver) in self.cuts:
            self._lost(parcel)
            return parcel
        if not self._hear_life(node, parcel.sender, life):
            self._lost(parcel)
            return parcel
        self.delivered = True
        match parcel:
            case SnapshotTransfer():
                self._receive_snapshot(node, parcel)
            case SnapshotDone():
                node.live.snapshot_finished(parcel.sender, installed=parcel.installed)
            case _:
                node.live.step(parcel)
        self._watch(node)
        return parcel

    def drop(self, place: int = 0) -> Parcel:
        """Lose one message."""
        parcel = self.network.pop(place).parcel
        self._lost(parcel)
        return parcel

    # --- output -------------------------------------------------------------------------------

    def flush(self, name: NodeId, *, effects_max: int | None = None) -> bool:
        """Carry out Readies until there is none. False: there was nothing to do.

        Args:
            name: the node.
            effects_max: crash after so many effects.
        """
        node = self.nodes[name]
        done = 0
        found = False
        while node.raft is not None and (ready := node.live.ready()) is not None:
            found = True
            for line in describe_lines(ready):
                self.say(f"  {name}: {line}")
            for _ in self._effects(node, ready):
                self._watch(node)
                done += 1
                if done == effects_max:
                    self.crash(name)
                    return True
        return found

    def stabilize(self, *names: NodeId, rounds_max: int = 200) -> None:
        """Flush and deliver until nothing is left among ``names`` (default: all running)."""
        among = set(names) or set(self.nodes)
        for _ in range(rounds_max):
            busy = False
            for name in sorted(among):
                if self.nodes[name].raft is not None:
                    busy |= self.flush(name)
            # Those sent up to here; answers come in the next round.
            batch = [p for p in self.network if p.receiver in among and p.sender in among]
            for posted in batch:
                place = next(i for i, other in enumerate(self.network) if other is posted)
                self.say_delivered(self.deliver(place))
                busy = True
            if not busy:
                return
        raise AssertionError("the cluster does not come to rest")

    def say_delivered(self, parcel: Parcel) -> None:
        self.say(f"  {describe_parcel(parcel)}{'' if self.delivered else '  LOST'}")

    def _effects(self, node: Node, ready: Ready) -> Iterator[None]:
        """The duties of a Ready in their order; a crash may come at each yield."""
        for message in ready.messages_now:
            self._post(message)
            yield
        if ready.install is not None:
            place = LogPosition(ready.install.index, ready.install.term)
            state = list(node.staged[place])
            node.disk.reset(ready.install, state)
            node.applied = state
            yield
        if ready.hard_state is not None or ready.entries:
            node.disk.save(ready.hard_state, ready.entries)
            yield
        if ready.recovered:
            node.disk.recovering = node.has_forgotten = False
            yield
        for message in ready.messages_after_persist:
            self._post(message)
            yield
        if ready.entries:
            last = ready.entries[-1]
            node.live.persisted(LogPosition(last.index, last.term))
            yield
        for entry in ready.committed:
            assert entry.index == len(node.applied) + 1, "each entry is applied once, in order"
            node.applied.append(entry)
            yield
        node.outcomes.extend(ready.read_states)
        for peer in ready.snapshots_wanted:
            self._send_snapshot(node, peer)
            yield

    def _send_snapshot(self, node: Node, peer: NodeId) -> None:
        last = node.applied[-1]
        snapshot = Snapshot(index=last.index, term=last.term, configuration=node.live.configuration)
        term = node.live.term
        self._post(SnapshotTransfer(node.name, peer, term, snapshot, tuple(node.applied)))

    def _receive_snapshot(self, node: Node, parcel: SnapshotTransfer) -> None:
        place = LogPosition(parcel.snapshot.index, parcel.snapshot.term)
        node.staged[place] = parcel.state
        installed = node.live.install_snapshot(parcel.snapshot, parcel.sender, parcel.term)
        self._post(SnapshotDone(parcel.receiver, parcel.sender, installed))

    def _post(self, parcel: Parcel) -> None:
        self.network.append(Posted(parcel, self.nodes[parcel.sender].life))

    def _lost(self, parcel: Parcel) -> None:
        """A host that waits for a snapshot transfer to end notices that it does not."""
        if isinstance(parcel, SnapshotTransfer):
            host, peer = self.nodes[parcel.sender], parcel.receiver
        elif isinstance(parcel, SnapshotDone):
            host, peer = self.nodes[parcel.receiver], parcel.sender
        else:
            return
        if host.raft is not None:
            host.live.snapshot_finished(peer, installed=False)

    def _watch(self, node: Node) -> None:
        if self.watch is not None:
            self.watch(node)


def voters(*names: NodeId, learners: tuple[NodeId, ...] = ()) -> Configuration:
    """A simple configuration."""
    return Configuration(voters=frozenset(names), learners=frozenset(learners))


def with_log(node: Node, terms: list[int], *, term: int, vote: NodeId | None = None) -> None:
    """Give a stopped node a log of one-byte commands with these terms, and a hard state."""
    from raftzmq.raft.types import EntryKind

    node.disk.hard_state = HardState(term, vote)
    node.disk.entries = [
        Entry(index, entry_term, EntryKind.COMMAND, f"t{entry_term}".encode())
        for index, entry_term in enumerate(terms, start=1)
    ]


def with_configuration(node: Node, configuration: Configuration) -> None:
    """Let one stopped node believe in another configuration."""
    node.config = replace(node.config, configuration=configuration)
