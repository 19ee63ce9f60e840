"""A simulated node: the production code of ``raftzmq.node`` without its sockets and threads.

One *round* is one pass of the loop in ``node/loop.py``, in its order: peers, links, clients,
readers, mail, time; then proposals, one flush, observers. It is one event of the schedule, and
takes virtual time by what the disk needs; until that has passed the node does nothing else. What
it sends leaves at the moment within the round at which it was sent.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol, TypeAlias

import apsw

from raftzmq.config import ClusterConfig
from raftzmq.errors import NoRoom, RaftzmqError, StorageDamaged
from raftzmq.node.applier import (
    Applied,
    Applier,
    Checkpointed,
    HoldJob,
    Installed,
    InstallJob,
    Report,
)
from raftzmq.node.conditions import Conditions, standing_condition
from raftzmq.node.content_checks import Hashed
from raftzmq.node.disk import DiskWatch
from raftzmq.node.equality import NodeEquality
from raftzmq.node.gate import StateGate
from raftzmq.node.leaderless import Leaderless
from raftzmq.node.observers import Observers
from raftzmq.node.pace import OWED_TICKS_MAX
from raftzmq.node.queries import Queries
from raftzmq.node.rounds import Mail, Rounds
from raftzmq.node.service import ClientService
from raftzmq.node.short_reads import ShortReads
from raftzmq.node.snapshots import NodeSnapshots
from raftzmq.node.startup import apply_limits, reconcile
from raftzmq.node.status import StatusReport
from raftzmq.raft.raft import Raft
from raftzmq.raft.state import RaftConfig
from raftzmq.raft.types import Configuration, Entry, LogPosition, Standing
from raftzmq.replica.admission import Admission
from raftzmq.replica.replica import Replica
from raftzmq.replica.transfer import Partial, Transfers
from raftzmq.sim.chance import Chance
from raftzmq.sim.disk import DiskHabits, SimFolder, SimLogStore
from raftzmq.sim.power import PowerFiles
from raftzmq.sim.reads import ChancePool, SimPool
from raftzmq.sim.schedule import Schedule
from raftzmq.statemachine.digest import Pinned
from raftzmq.statemachine.machine import Machine
from raftzmq.statemachine.point_reads import PointReads
from raftzmq.storage.contract import Memory
from raftzmq.storage.install_plan import planned_steps, write_plan
from raftzmq.storage.snapshot_file import IncomingSnapshot, finish_interrupted_install
from raftzmq.storage.state_mark import StateMark
from raftzmq.wire.client import encode_batch, encode_reply
from raftzmq.wire.transfer import SnapshotOffer
from raftzmq.wire.version import CLIENT_FRAME

CHUNK_BYTES: Final = 4 << 10
"""A snapshot of these small databases travels in several chunks all the same."""
WALL_MS: Final = 1_700_000_000_000


class SimCrash(BaseException):
    """The process dies here, between two effects; nothing may catch it but the world."""


class Surroundings(Protocol):
    """What the world does for a node."""

    def peer_frame(self, host: SimHost, peer: str, frame: bytes) -> None:
        """Send a frame to another node."""

    def client_frames(self, host: SimHost, identity: bytes, frames: tuple[bytes, ...]) -> None:
        """Send to whoever is known by ``identity``."""

    def saw_applied(self, host: SimHost, report: Applied, entries: list[Entry]) -> None:
        """The applier has applied entries."""

    def saw_digest(self, host: SimHost, position: LogPosition, digest: bytes) -> None:
        """The content was hashed."""

    def look_at(self, host: SimHost) -> None:
        """The round before is over: see what it made of the node."""

    def died(self, host: SimHost, why: str) -> None:
        """The node must stop: ``why`` is empty for an injected crash."""


_Task: TypeAlias = Callable[[], None]


@dataclass(slots=True)
class Inbox:
    """What waits for the next round, by kind, in the order in which a round takes it."""

    peers: list[bytes] = field(default_factory=list)
    links: list[tuple[str, bool]] = field(default_factory=list)
    clients: list[tuple[bytes, tuple[bytes, ...]]] = field(default_factory=list)
    readers: list[_Task] = field(default_factory=list)
    mail: list[Mail] = field(default_factory=list)
    ticks: int = 0

    def __bool__(self) -> bool:
        """Whether anything waits."""
        return bool(
            self.peers or self.links or self.clients or self.readers or self.mail or self.ticks
        )


class SimApplier(Applier):
    """The production applier, driven by events."""

    def __init__(
        self,
        *args: object,
        wake: Callable[[], None],
        here: Callable[[Callable[[], Applied | None], Sequence[Entry]], Applied | None],
        **named: object,
    ) -> None:
        super().__init__(*args, **named)  # type: ignore[arg-type]
        self._wake = wake
        self._here = here
        self.given: dict[int, Entry] = {}

    def apply_here(self, entries: Sequence[Entry], heard_index: int) -> Applied | None:
        """See ``Applier.apply_here``."""
        apply = super().apply_here
        return self._here(lambda: apply(entries, heard_index), entries)

    def apply(self, entries: list[Entry]) -> None:
        """See ``Applier.apply``."""
        for entry in entries:
            self.given[entry.index] = entry
        super().apply(entries)
        self._wake()

    def checkpoint(self) -> None:
        """See ``Applier.checkpoint``."""
        super().checkpoint()
        self._wake()

    def install(self, job: InstallJob) -> None:
        """See ``Applier.install``."""
        super().install(job)
        self._wake()

    def hold_file(self, job: HoldJob) -> None:
        """See ``Applier.hold_file``."""
        super().hold_file(job)
        self._wake()

    @property
    def machine(self) -> Machine:
        """The machine in use."""
        return self._machine


class SimSnapshots(NodeSnapshots):
    """The production snapshots: copied in an event some time after state.db was held still, and
    installed step by step."""

    def __init__(self, host: SimHost, gate: StateGate) -> None:
        super().__init__(host.folder.path, gate, host.post)
        self._host = host

    def _begin(self, patience_ms: int = 0) -> None:
        if self._host.world_chance.hit(250):
            self._run(lambda: self._take(None))  # as beside a long read
        else:
            # Nobody would end a read while the applier waits for it.
            super()._begin(patience_ms)

    def _run(self, copy: Callable[[], None]) -> None:
        self._host.later(self._host.world_chance.between(500, 30_000), copy)

    def open_partial(self, offer: SnapshotOffer) -> Partial:
        """See ``NodeSnapshots.open_partial``."""
        return self._open(offer)

    def install(self, offer: SnapshotOffer, partial: Partial, *, rebuild: bool = False) -> None:
        """See ``NodeSnapshots.install``; a crash may come between any two steps of the swap."""
        assert isinstance(partial, IncomingSnapshot)
        assert self._applier is not None
        folder, effect = self._folder, self._host.effect

        def swap() -> None:
            write_plan(folder, partial.path.name)
            for step in planned_steps(folder):
                effect("install")
                step.carry_out(folder)
            partial.close()

        self._applier.install(
            InstallJob(
                snapshot=offer.snapshot(),
                sender=offer.sender,
                term=offer.term,
                verify=partial.verify,
                swap=swap,
                rebuild=rebuild,
            )
        )


class SimHost:
    """One node through all its lives.

    Args:
        config: of the cluster.
        name: which node.
        schedule: virtual time.
        world: sends its messages, and is told what it does.
        chance: its own stream.
        folder: the data folder.

    Attributes:
        up: whether its process runs.
        paused: whether it is stopped by a signal.
        life: counts its starts.
        busy_until: its raft thread is in a round until then.
        unseen: rounds took place that nobody looked at yet.
        crash_in: effects left until it dies; negative: it does not.
        skew_ms: how wrong its wall clock is.
        drift: its ticks take this many thousandths of what they should.
        damaged: why it would not start; its operator has to rebuild it.
        rotten: bits of its files were flipped, so that damage is to be expected.
        windows: fields of RaftConfig that bound what is under way to a peer.
        durable_index: state.db holds so much even after a power cut.
    """

    def __init__(
        self,
        config: ClusterConfig,
        name: str,
        schedule: Schedule,
        world: Surroundings,
        chance: Chance,
        folder: SimFolder,
    ) -> None:
        self.config = config
        self.name = name
        self.schedule = schedule
        self.world = world
        self.world_chance = chance
        self.folder = folder
        self.habits = DiskHabits(
            before=lambda: self.effect("write"), after=lambda: self.effect("written")
        )
        self.store = SimLogStore(folder, self.habits, self.take_time)
        self.lost_stores: list[SimLogStore] = []
        self.up = self.paused = self.unseen = False
        self.life = 0
        self.busy_until = 0
        self.crash_in = -1
        self.skew_ms = 0
        self.drift = 1000
        self.apply_us = 300
        self.damaged = ""
        self.rotten = False
        self.windows: dict[str, int] = {}
        self.durable_index = 0
        self.inbox = Inbox()
        self._elapsed = 0
        self._round_set = False
        self._woken: list[tuple[int, _Task]] = []

    # --- life ---------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the process.

        Raises:
            RaftzmqError: the data folder is damaged, or the disk failed.
            SimCrash: it died while it started.
        """
        config, name, folder = self.config, self.name, self.folder
        bounds = config.limits
        self.life += 1
        self.paused = self._round_set = self.unseen = False
        self.busy_until = self.schedule.now
        self._elapsed = 0
        self.inbox = Inbox()
        lives = folder.lives
        boot = folder.next_boot()
        state_path = folder.path / "state.db"
        log_path = folder.path / "raft.db"
        finish_interrupted_install(folder.path)
        empty = not self.store.is_written
        log = self.store.load()
        self.files = PowerFiles(f"sim-{id(self):x}-{self.life}")
        machine = self._open_machine(state_path)
        try:
            log = reconcile(self.store, log, machine, log_path, state_path)
        except BaseException:
            machine.close()
            raise
        self.durable_index = machine.applied[0]
        rng = Chance(self.world_chance.bits(62), f"{name}/{self.life}").rng
        self.gate = StateGate(state_path)
        self.snapshots = SimSnapshots(self, self.gate)
        self.applier = SimApplier(
            state_path,
            machine,
            self._open_machine,
            self._report,
            self.gate,
            self._reached,
            wake=self._wake_applier,
            here=self._apply_here,
            clock_ms=lambda: self.schedule.now_ms,
        )
        self.snapshots.bind(self.applier)
        raft = Raft(
            RaftConfig(
                node=name,
                configuration=Configuration(voters=frozenset(config.nodes)),
                heartbeat_ticks=bounds.heartbeat_ticks,
                election_ticks=bounds.election_ticks,
                uncommitted_bytes_max=bounds.uncommitted_bytes_max,
                **self.windows,
            ),
            hard_state=log.hard_state,
            base=log.base,
            entries=log.entries,
            applied_index=machine.applied[0],
            rng=rng,
            standing=Standing.RECOVERING if log.recovering else Standing.UNKNOWN,
            read_back=self.store.read,
        )
        self.replica = Replica(
            raft=raft,
            store=self.store,
            cluster=config.cluster,
            send=lambda peer, data: self.world.peer_frame(self, peer, data),
            transfers=Transfers(self.snapshots, CHUNK_BYTES),
            applied_index=machine.applied[0],
            admission=Admission(
                raft=raft,
                store=self.store,
                identities=dict(log.identities),
                incarnation=folder.incarnation,
                boot=boot,
                lives=lives,
                empty=empty,
                forgot=log.memory is not Memory.WHOLE,
                next_boot=folder.next_boot,
                rng=rng,
            ),
        )
        self.conditions = Conditions()
        self.conditions.set("standing", standing_condition(raft.standing))
        self.disk = DiskWatch(
            folder,
            state_path,
            bounds,
            self.replica,
            self.conditions,
            self.applier.try_again,
            self._log,
        )
        self.snapshots.watch_room(self.disk)
        equality = NodeEquality(folder.path, self.conditions, self._log)
        self.replica.equality.attend(
            equality,
            interval_ticks=bounds.checksum_interval_s * 1000 // bounds.tick_ms,
            mark=equality.mark,
        )
        self.equality = equality
        self.leaderless = Leaderless(raft, self.conditions, 2 * bounds.election_ticks)
        self.report = StatusReport(
            config, self.replica, self.conditions, clock=lambda: self.schedule.now_ms, pid=1
        )
        self.observers = Observers(self._push, bounds.heartbeat_ticks * bounds.tick_ms)
        points = PointReads()
        fast, slow = (
            SimPool(self.gate, self._read_later, self._read_done, points) for _ in range(2)
        )
        short = ShortReads(fast, self.gate, points, bounds, lambda: self.schedule.now_ms, float)
        self.service = ClientService(
            replica=self.replica,
            conditions=self.conditions,
            fast=ChancePool(fast, short, lambda: self.world_chance.hit(500)),
            slow=slow,
            queries=Queries(
                node=name,
                boot=boot,
                pools=(),
                doing=lambda: None,
                snapshot=lambda: False,
                log=self._log,
            ),
            send=self._reply,
            client_addresses={n: node.client for n, node in config.nodes.items()},
            status=self.report.encoded,
            observe=lambda envelope: self.observers.register(envelope[0], self.schedule.now_ms),
            pending_max=bounds.node_pending_requests_max,
            apply_limits=apply_limits(config),
            rng=rng,
            seen_index=lambda: self.gate.seen_index,
        )
        self.report.service = self.service
        equality.ended_service = self.service.end_service
        self.rounds = Rounds(
            replica=self.replica,
            service=self.service,
            applier=self.applier,
            disk=self.disk,
            conditions=self.conditions,
            bounds=bounds,
            log=self._log,
            on_ready=lambda: None,
        )
        self.up = True
        self.schedule.after(self._tick_us(), self._tick, self.life)

    def die(self, *, power: bool) -> int:
        """The process is gone, with the machine if ``power``; returns lost log transactions."""
        self.up = self.paused = False
        self.crash_in = -1
        self.habits.fail = False
        now = self.schedule.now
        lost = self.store.crash(now, self.world_chance, power=power)
        files, path = self.files, self.folder.path
        contents = files.contents(path, self.world_chance if power else None)
        files.off, files.fail_sync = True, False
        self.gate.interrupt_all()
        with self.gate.installing():
            pass  # closes all readers
        with suppress(RaftzmqError):  # it may be dead already
            self.applier.machine.close()
        for suffix in ("state.db", "state.db-wal", "state.db-shm"):
            (path / suffix).unlink(missing_ok=True)
        for name, content in contents.items():
            (path / name).write_bytes(content)
        if power:
            self._cut_partials()
        files.unregister()
        return lost

    def wipe(self, incarnation: int) -> None:
        """The disk is lost, or an operator rebuilds the node: an empty folder in its place."""
        assert not self.up, "only a stopped node loses its folder"
        shutil.rmtree(self.folder.path)
        self.folder.path.mkdir()
        self.lost_stores.append(self.store)
        self.folder.incarnation = incarnation
        self.folder.boots, self.folder.lives = 0, ()
        self.damaged = ""
        self.rotten = False
        self.store = SimLogStore(self.folder, self.habits, self.take_time)

    def effect(self, _what: str) -> None:
        """One effect takes place; an armed crash comes just before it."""
        if self.crash_in >= 0:
            self.crash_in -= 1
            if self.crash_in < 0:
                raise SimCrash

    def take_time(self, microseconds: int) -> int:
        """The round takes so much longer; returns the time at that point of it."""
        self._elapsed += microseconds
        return self.schedule.now + self._elapsed

    @property
    def moment(self) -> int:
        """The time at this point of the round."""
        return self.schedule.now + self._elapsed

    # --- what arrives -------------------------------------------------------------------------

    def peer_arrived(self, frame: bytes) -> None:
        """A frame of another node."""
        self.inbox.peers.append(frame)
        self._awake()

    def client_arrived(self, identity: bytes, frames: tuple[bytes, ...]) -> None:
        """A message of a client or broker."""
        self.inbox.clients.append((identity, frames))
        self._awake()

    def link_changed(self, peer: str, *, connected: bool) -> None:
        """The connection to another node came up, or broke."""
        self.inbox.links.append((peer, connected))
        self._awake()

    def post(self, item: Mail) -> None:
        """Mail for the raft thread; it comes after a while."""
        self.later(20, lambda: self._mail(item))

    def resume(self) -> None:
        """The process goes on where it was stopped."""
        self.paused = False
        self.busy_until = max(self.busy_until, self.schedule.now)
        woken, self._woken = self._woken, []
        for life, task in woken:
            self.schedule.after(10, self._task, life, task)
        self._awake()

    def later(self, delay: int, task: _Task) -> None:
        """Call ``task`` after a delay, if the node still lives then."""
        self.schedule.after(delay, self._task, self.life, task)

    def _task(self, life: int, task: _Task) -> None:
        if not self.up or life != self.life:
            return
        if self.paused:
            self._woken.append((life, task))
            return
        self.guarded(task)

    def guarded(self, task: _Task) -> None:
        """Run a part of the process; its death is the world's business."""
        try:
            task()
        except SimCrash:
            self.world.died(self, "")
        except NoRoom as error:
            self.world.died(self, f"no room: {error}")
        except StorageDamaged as error:
            self.damaged = str(error)
            self.world.died(self, str(error))
        except RaftzmqError as error:
            self.world.died(self, f"{type(error).__name__}: {error}")
        except apsw.IOError as error:
            # SQLite swallows what fails while it closes; an exception of a VFS in Python is not
            # swallowed, and comes out of ``close``.
            self.world.died(self, f"StorageFailed: {error}")

    def _open_machine(self, path: Path) -> Machine:
        return Machine(path, vfs=self.files.name, mark=StateMark(path))

    def _mail(self, item: Mail) -> None:
        self.inbox.mail.append(item)
        self._awake()

    def _report(self, report: Report) -> None:
        if isinstance(report, Applied):
            entries = [self.applier.given.pop(result.index) for result in report.results]
            self.world.saw_applied(self, report, entries)
        elif isinstance(report, Checkpointed):
            self.durable_index = report.index
        elif isinstance(report, Installed) and report.swapped:
            self.durable_index = report.snapshot.index
        self.post(report)

    def _reached(self, position: LogPosition) -> None:
        try:
            pinned = Pinned(self.folder.path / "state.db")
            try:
                digest = bytes.fromhex(pinned.digest())
            finally:
                pinned.close()
        except StorageDamaged:
            digest = self.world_chance.bits(256).to_bytes(32, "big")
        self.world.saw_digest(self, position, digest)
        delay = self.world_chance.between(1_000, 50_000)
        self.later(delay, lambda: self._mail(Hashed(position, digest)))

    def _wake_applier(self) -> None:
        delay = self.moment - self.schedule.now + self.world_chance.between(20, self.apply_us)
        self.later(delay, self._apply)

    def _apply(self) -> None:
        self._elapsed = 0
        self.effect("apply")
        self.applier.work()
        self.unseen = True
        self.effect("applied")

    def _apply_here(
        self, apply: Callable[[], Applied | None], entries: Sequence[Entry]
    ) -> Applied | None:
        if self.world_chance.hit(500):
            return None  # both ways must be gone
        self.effect("apply here")
        # Clients hear of it in this very round: if the node dies in it, nobody looks at it again,
        # and what it alone knew to be committed would seem not to be (seed 20045).
        self.world.look_at(self)
        report = apply()
        if report is not None:
            self.world.saw_applied(self, report, list(entries))
            self.effect("applied here")
        return report

    def _read_later(self, task: _Task) -> None:
        self.later(self.world_chance.between(20, 500), task)

    def _read_done(self, task: _Task) -> None:
        def arrived() -> None:
            self.inbox.readers.append(task)
            self._awake()

        self.later(self.world_chance.between(20, 200), arrived)

    # --- the round ----------------------------------------------------------------------------

    def _awake(self) -> None:
        if self._round_set or self.paused or not self.up:
            return
        now = self.schedule.now
        if self.busy_until <= now:
            self._round()
        else:
            self._round_set = True
            self.schedule.at(self.busy_until, self._due_round, self.life)

    def _due_round(self, life: int) -> None:
        if life == self.life and self.up:
            self._round_set = False
            if not self.paused:
                self._round()

    def _tick_us(self) -> int:
        return self.config.limits.tick_ms * self.drift

    def _tick(self, life: int) -> None:
        if life != self.life or not self.up:
            return
        self.schedule.after(self._tick_us(), self._tick, life)
        # A process that was paused does not owe the ticks it slept through, see node/pace.py.
        self.inbox.ticks = min(OWED_TICKS_MAX, self.inbox.ticks + 1)
        self._awake()

    def _round(self) -> None:
        if self.unseen:
            # Who is always busy would never be looked at between two events.
            self.world.look_at(self)
        inbox, self.inbox = self.inbox, Inbox()
        self._elapsed = 0
        self.guarded(lambda: self._carry_out(inbox))
        if self.up:
            self.busy_until = self.schedule.now + self._elapsed
            self._elapsed = 0
            self.unseen = True

    def _carry_out(self, inbox: Inbox) -> None:
        replica, service = self.replica, self.service
        now_ms = self.schedule.now_ms
        for frame in inbox.peers:
            replica.receive(frame)
        for peer, connected in inbox.links:
            if connected:
                replica.connected(peer)
            else:
                replica.raft.peer_lost(peer)
        for identity, frames in inbox.clients:
            self._take_client(identity, frames, now_ms)
        for task in inbox.readers:
            task()
        if self.gate.seen_index > replica.applied_index:
            service.run_ready()
        for item in inbox.mail:
            self.rounds.take(item)
        if inbox.ticks:
            for _ in range(inbox.ticks):
                replica.tick()
                self.leaderless.tick()
            self.disk.tick(now_ms)
            service.expire(now_ms)
        service.end_of_round(WALL_MS + now_ms + self.skew_ms)
        self.rounds.flush()
        self.observers.update(self.report.key(), replica.applied_index, self.report.encoded, now_ms)
        if not self.rounds.ready:
            self.rounds.check_ready()

    def _take_client(self, identity: bytes, frames: tuple[bytes, ...], now_ms: int) -> None:
        cut = frames.index(b"")
        body = frames[cut + 1 :]
        flags = body[2][0] if len(body) == 3 and body[2] else 0
        self.service.receive([identity, *frames[:cut]], body[1], flags, now_ms)

    def _reply(self, envelope: list[bytes], frame: bytes) -> None:
        self.effect("reply")
        frames = (*envelope[1:], b"", CLIENT_FRAME, frame)
        self.world.client_frames(self, envelope[0], frames)

    def _push(self, identity: bytes, body: bytes) -> None:
        blob = encode_reply(b"", 0, 0, self.replica.applied_index, body, self.name)
        frames = (b"status", b"", CLIENT_FRAME, encode_batch([blob]))
        self.world.client_frames(self, identity, frames)

    def _log(self, line: str) -> None:
        """Lines for people; the trace has its own."""

    def _cut_partials(self) -> None:
        """What was received of a snapshot was not synced before it was complete."""
        folder = self.folder.path / "incoming"
        for part in sorted(folder.glob("*.part")) if folder.is_dir() else ():
            size = part.stat().st_size
            if size and self.world_chance.hit(500):
                at = self.world_chance.below(size)
                content = bytearray(part.read_bytes())
                content[at:] = bytes(size - at) if self.world_chance.hit(500) else b""
                part.write_bytes(bytes(content))


def make_folder(root: Path, name: str, chance: Chance) -> SimFolder:
    """An empty data folder for a node."""
    path = root / name
    path.mkdir()
    return SimFolder(path=path, incarnation=chance.bits(63) + 1, chance=chance)
