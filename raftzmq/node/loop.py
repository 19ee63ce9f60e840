"""The raft thread: one poll, all that arrived, one flush; nothing in it outlasts a tick.

Order of a round: peers, clients, workers, the applier's mail, time; then proposals, then one
flush (one fsync, one send per peer), then what the flush allows. Whatever came in meanwhile
shares the flush. A long round is interrupted by peers, time and a flush (``long_rounds``).
"""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import cast

import zmq

from raftzmq.config import ClusterConfig
from raftzmq.errors import MalformedRequest, UnsupportedVersion
from raftzmq.limits import GROWTH_BYTES_MAX, LOG_MEMORY_BYTES
from raftzmq.node.applier import Applied, Applier, Failed, Report
from raftzmq.node.conditions import Conditions, standing_condition
from raftzmq.node.content_checks import ContentChecks
from raftzmq.node.disk import DiskWatch
from raftzmq.node.equality import NodeEquality
from raftzmq.node.gate import StateGate
from raftzmq.node.leaderless import Leaderless
from raftzmq.node.long_rounds import LongRounds
from raftzmq.node.niceness import NICE
from raftzmq.node.observers import Observers
from raftzmq.node.pace import OWED_TICKS_MAX, Pace
from raftzmq.node.queries import Queries
from raftzmq.node.rounds import Mail, Rounds
from raftzmq.node.service import ClientService
from raftzmq.node.short_reads import ShortReads
from raftzmq.node.snapshots import NodeSnapshots
from raftzmq.node.startup import Opened, apply_limits, open_machine
from raftzmq.node.status import StatusReport
from raftzmq.node.workers import ADDRESS, WorkerPool, Workers
from raftzmq.raft.calm import CALM_FACTOR_MAX
from raftzmq.raft.raft import Raft
from raftzmq.raft.state import RaftConfig
from raftzmq.raft.types import Configuration, Standing
from raftzmq.replica.admission import Admission
from raftzmq.replica.replica import Replica
from raftzmq.replica.transfer import Transfers
from raftzmq.statemachine.point_reads import PointReads
from raftzmq.storage.contract import Memory
from raftzmq.transport.clock import monotonic_ms, monotonic_s, wall_ms
from raftzmq.transport.cycles import OldCycles
from raftzmq.transport.doorman import Doorman
from raftzmq.transport.frames import receive, send
from raftzmq.transport.intake import TURN_BYTES, TURN_MS, Intake
from raftzmq.transport.peers import PeerLinks
from raftzmq.transport.readiness import Readiness
from raftzmq.transport.sockets import Purpose, bind, open_context, open_socket
from raftzmq.transport.wakeup import Mailbox
from raftzmq.wire.client import encode_batch, encode_reply
from raftzmq.wire.version import CLIENT_FRAME, CLIENT_TAG

DRAIN_MAX = 256
"""Messages taken from one socket in one round; the others get their turn after that."""
ROUTING_ID_BYTES_MAX = 255
"""What ZeroMQ allows; whatever stands in front of the delimiter is kept until the answer."""


class Node:
    """One node of the cluster; ``run`` is the raft thread.

    Args:
        config: the cluster.
        name: which of its nodes this is.
        opened: its data folder.
        log: takes one line for people per event.
        on_ready: called once, when the node serves and has caught up.
    """

    def __init__(
        self,
        config: ClusterConfig,
        name: str,
        opened: Opened,
        log: Callable[[str], None],
        on_ready: Callable[[], None],
    ) -> None:
        self._config = config
        self._name = name
        self._log = log
        self._stop_requested = False
        self._awaits_applied = True
        bounds = config.limits
        boot = opened.folder.boot_id
        # From the system: whoever could guess it could tell the seeds of random() in SQL.
        rng = random.Random(os.urandom(32))
        self._context = open_context()
        self._mail: Mailbox[Mail | None] = Mailbox()
        self._gate = StateGate(opened.state_path)
        self._snapshots = NodeSnapshots(opened.folder.path, self._gate, self._mail.put)
        self._checks = ContentChecks(self._gate, self._mail.put)
        self._applier = Applier(
            opened.state_path,
            opened.machine,
            open_machine,
            self._post,
            self._gate,
            self._checks.reached,
        )
        self._snapshots.bind(self._applier)
        peers = {n: node.peer for n, node in config.nodes.items() if n != name}
        self._links = PeerLinks(self._context, name, peers)
        raft = Raft(
            RaftConfig(
                node=name,
                configuration=Configuration(voters=frozenset(config.nodes)),
                heartbeat_ticks=bounds.heartbeat_ticks,
                election_ticks=bounds.election_ticks,
                uncommitted_bytes_max=bounds.uncommitted_bytes_max,
            ),
            hard_state=opened.log.hard_state,
            base=opened.log.base,
            entries=opened.log.entries,
            applied_index=opened.machine.applied[0],
            rng=rng,
            standing=Standing.RECOVERING if opened.log.recovering else Standing.UNKNOWN,
            read_back=opened.store.read,
        )
        self._replica = Replica(
            raft=raft,
            store=opened.store,
            cluster=config.cluster,
            send=lambda peer, data: self._links.send(peer, [data]),
            transfers=Transfers(self._snapshots),
            applied_index=opened.machine.applied[0],
            admission=Admission(
                raft=raft,
                store=opened.store,
                identities=dict(opened.log.identities),
                incarnation=opened.folder.incarnation,
                boot=boot,
                lives=opened.folder.lives,
                empty=opened.is_empty,
                forgot=opened.log.memory is not Memory.WHOLE,
                next_boot=opened.folder.raise_boot_id,
                rng=random.SystemRandom(),
            ),
        )
        self._peer_odd_frames = 0
        self._conditions = Conditions()
        self._conditions.set("standing", standing_condition(raft.standing))
        self._disk = DiskWatch(
            opened.folder,
            opened.state_path,
            bounds,
            self._replica,
            self._conditions,
            self._applier.try_again,
            log,
        )
        self._snapshots.watch_room(self._disk)
        equality = NodeEquality(opened.folder.path, self._conditions, log)
        self._replica.equality.attend(
            equality,
            interval_ticks=bounds.checksum_interval_s * 1000 // bounds.tick_ms,
            mark=equality.mark,
        )
        self._leaderless = Leaderless(raft, self._conditions, 2 * bounds.election_ticks)
        self._report = StatusReport(config, self._replica, self._conditions)
        self._peer_router = open_socket(self._context, Purpose.PEER_ROUTER)
        self._client_router = open_socket(self._context, Purpose.CLIENT_ROUTER)
        self._worker_router = open_socket(self._context, Purpose.WORKER_ROUTER)
        self._peer_intake = Intake(self._peer_router, DRAIN_MAX, lossy=True)
        self._client_intake = Intake(self._client_router, DRAIN_MAX)
        self._readiness = Readiness()
        self._old_cycles = OldCycles(monotonic_ms())
        self._doorman = Doorman(
            {"peer": self._peer_router, "client": self._client_router},
            bytes_max=GROWTH_BYTES_MAX + max(0, bounds.log_memory_bytes - LOG_MEMORY_BYTES),
        )
        bind(self._peer_router, config.nodes[name].peer)
        bind(self._client_router, config.nodes[name].client)
        self._worker_router.bind(ADDRESS)
        fast = [f"fast-{n}".encode() for n in range(bounds.read_workers_fast)]
        slow = [f"slow-{n}".encode() for n in range(bounds.read_workers_slow)]
        self._workers = Workers(
            self._context,
            self._gate,
            bounds,
            lambda error: self._mail.put(Failed(error)),
            points := PointReads(),
            name,
        )
        self._workers.start(fast)
        self._workers.start(slow, nice=NICE)
        shared = (self._workers.switches, self._workers.bodies, itertools.count(1))
        self._slow = WorkerPool(slow, self._worker_router, *shared)
        self._fast = WorkerPool(fast, self._worker_router, *shared, self._slow)
        self._short = ShortReads(self._fast, self._gate, points, bounds, monotonic_ms, monotonic_s)
        self._queries = Queries(
            node=name,
            boot=boot,
            pools=(self._fast, self._slow),
            doing=lambda: self._applier.doing,
            snapshot=lambda: self._snapshots.taking,
            log=log,
        )
        self._observers = Observers(self._push_status, bounds.heartbeat_ticks * bounds.tick_ms)
        self._service = ClientService(
            replica=self._replica,
            conditions=self._conditions,
            fast=self._short,
            slow=self._slow,
            queries=self._queries,
            send=self._send_reply,
            client_addresses={n: node.client for n, node in config.nodes.items()},
            status=self._report.encoded,
            observe=lambda envelope: self._observers.register(envelope[0], monotonic_ms()),
            pending_max=bounds.node_pending_requests_max,
            apply_limits=apply_limits(config),
            rng=rng,
            seen_index=lambda: self._gate.seen_index,
        )
        self._report.service = self._service
        self._report.dropped_at_sockets = self._dropped_at_sockets
        equality.ended_service = self._service.end_service
        self._rounds = Rounds(
            replica=self._replica,
            service=self._service,
            applier=self._applier,
            disk=self._disk,
            conditions=self._conditions,
            bounds=bounds,
            log=log,
            on_ready=on_ready,
        )

    def stop(self) -> None:
        """Ask the loop to hand over leadership and end; callable from a signal handler."""
        self._stop_requested = True
        self._mail.put(None)

    def run(self) -> None:
        """Serve until ``stop``.

        Raises:
            StorageFailed: a write or fsync failed; nothing that depended on it was sent.
            InvariantBroken: the program is wrong; stop and let the service manager restart.
        """
        try:
            self._applier.start()
            self._doorman.start()
            readiness = self._readiness
            peers = readiness.watch(self._peer_router, receives_only=True)
            clients = readiness.watch(self._client_router)
            workers = readiness.watch(self._worker_router)
            mail = readiness.watch_descriptor(self._mail.fileno())
            monitors = {
                readiness.watch(monitor, receives_only=True) for monitor in self._links.monitors()
            }
            pace = Pace(self._config.limits.tick_ms, monotonic_ms())
            interrupted = 0

            def interrupt(now_ms: int) -> None:
                nonlocal interrupted
                self._take_peers()
                readiness.ask_next(peers)
                due = pace.due(now_ms)
                interrupted += due
                self._count_owed(due)
                self._rounds.flush()

            long_rounds = LongRounds(interrupt)
            stop_at_ms: int | None = None
            while True:
                # Set before the look at the mail: see _post.
                self._awaits_applied = self._service.awaits_applied or not self._rounds.ready
                rest_ms = pace.rest_ms(self._quiet_ticks(), monotonic_ms())
                ready = readiness.wait(0 if self._has_awaited_mail() else rest_ms)
                now_ms = monotonic_ms()
                long_rounds.begins(now_ms)
                slept = pace.slept(now_ms)
                self._count_ticks(slept)
                # An attempt to receive where nothing is costs as much as a small message.
                if peers in ready:
                    self._take_peers()
                if not monitors.isdisjoint(ready):
                    self._take_link_events()
                self._bound_reads()
                if clients in ready:
                    self._take_clients(now_ms)
                    long_rounds.part_done()
                if workers in ready:
                    self._take_workers()
                    long_rounds.part_done()
                if len(self._mail) or mail in ready:
                    self._take_mail()
                due = pace.due(now_ms)
                self._count_owed(due)
                # Also when none is due: a follower that hears each heartbeat in time may never
                # have one that is.
                if slept or due or interrupted:
                    interrupted = 0
                    self._disk.tick(now_ms)
                    self._applier.tick(now_ms)
                    self._service.expire(now_ms)
                    self._queries.tick(now_ms)
                    if self._old_cycles.is_due(now_ms, busy=self._service.busy):
                        self._old_cycles.collect()
                if self._stop_requested and stop_at_ms is None:
                    # Before the flush, which sends what the handover begins with.
                    stop_at_ms = self._begin_stop(now_ms)
                self._service.end_of_round(wall_ms())
                self._rounds.flush()
                self._observers.update(
                    self._report.key(), self._replica.applied_index, self._report.encoded, now_ms
                )
                if not self._rounds.ready:
                    self._rounds.check_ready()
                if stop_at_ms is not None and (
                    now_ms >= stop_at_ms or not (self._hands_over() or self._service.busy)
                ):
                    self._service.answer_all()
                    break
        finally:
            self._close()

    def _count_ticks(self, ticks: int) -> None:
        for _ in range(ticks):
            self._replica.tick()
            self._leaderless.tick()

    def _count_owed(self, ticks: int) -> None:
        if ticks >= OWED_TICKS_MAX:
            self._replica.raft.held_up()
        self._count_ticks(ticks)

    def _quiet_ticks(self) -> int:
        """After so many ticks something may be due, unless something arrives before.

        Followers hear a heartbeat well before they would look by themselves.
        """
        if (
            self._service.busy
            or not self._rounds.ready
            or self._stop_requested
            or self._conditions.names
            or self._replica.transfers.receiving
            or self._slow.running()
            or self._replica.applied_index < self._replica.raft.commit_index
        ):
            return 1
        limit = (CALM_FACTOR_MAX + 1) * self._config.limits.heartbeat_ticks
        return min(limit, self._replica.raft.quiet_ticks())

    def _post(self, report: Report) -> None:
        """Hand over what the applier did; called by the applier.

        A result that nobody waits for does not wake this thread, which comes by at the next
        message or tick: a wake-up per entry is a third of what a follower does for a lone
        write. It cannot be overlooked: the result is put before ``_awaits_applied`` is read
        here, and ``_awaits_applied`` is set before the mail is looked at there.
        """
        self._mail.put(report, wake=False)
        if self._awaits_applied or not isinstance(report, Applied):
            self._mail.wake()

    def _has_awaited_mail(self) -> bool:
        return self._awaits_applied and bool(len(self._mail))

    def _take_peers(self) -> None:
        for frames in self._peer_intake.turn():
            if len(frames) != 2:
                self._peer_odd_frames += 1
                self._peer_intake.refused()
            elif not self._replica.receive(frames[1]):
                self._peer_intake.refused()

    def _take_link_events(self) -> None:
        for event in self._links.events():
            self._log(f"connection to {event.peer} {'up' if event.connected else 'lost'}")
            if event.connected:
                self._replica.connected(event.peer)
            else:
                self._replica.raft.peer_lost(event.peer)

    def _take_clients(self, now_ms: int) -> None:
        for frames in self._client_intake.turn():
            cut = frames.index(b"") if b"" in frames else 0
            # Frames that short are no views.
            envelope, body = cast(list[bytes], frames[:cut]), frames[cut + 1 :]
            if not envelope or max(map(len, envelope)) > ROUTING_ID_BYTES_MAX:
                # No REQ envelope: nobody would understand an answer.
                self._service.counters.no_envelope += 1
                self._client_intake.refused()
                continue
            if len(body) in (2, 3) and body[0] == CLIENT_FRAME:
                flags = body[2][0] if len(body) == 3 and body[2] else 0
                if self._service.receive(envelope, body[1], flags, now_ms):
                    continue
            elif body and body[0][: len(CLIENT_TAG)] == CLIENT_TAG and body[0] != CLIENT_FRAME:
                self._service.refuse(
                    envelope, UnsupportedVersion("this node speaks version 1 of the protocol")
                )
            else:
                self._service.refuse(envelope, MalformedRequest("this is not a raftzmq message"))
            self._client_intake.refused()

    def _take_workers(self) -> None:
        # Workers that are given short reads answer as fast as this thread can take it. What is left
        # makes the next poll return at once.
        until_ms = monotonic_ms() + TURN_MS
        size_bytes = 0
        while size_bytes < TURN_BYTES and monotonic_ms() < until_ms:
            try:
                worker, _, answer = receive(self._worker_router)
            except zmq.Again:
                break
            pool = self._fast if self._fast.owns(worker) else self._slow
            size_bytes += pool.finished(worker, answer)
        if self._gate.seen_index > self._replica.applied_index:
            self._service.run_ready()

    def _bound_reads(self) -> None:
        if self._slow.frugal != self._doorman.outgrown:
            self._slow.frugal = self._doorman.outgrown
            self._slow.dispatch()

    def _take_mail(self) -> None:
        for item in self._mail.drain():
            if item is not None:
                self._rounds.take(item)

    def _begin_stop(self, now_ms: int) -> int:
        """Hand over, take nothing new; returns when to end even if something is under way."""
        self._service.stopping = True
        if self._hands_over():
            self._replica.raft.transfer_leadership(None)
        return now_ms + self._config.limits.election_ticks * self._config.limits.tick_ms

    def _hands_over(self) -> bool:
        return self._replica.is_leader and len(self._config.nodes) > 1

    def _send_reply(self, envelope: list[bytes], frame: bytes) -> None:
        try:
            send(self._client_router, (*envelope, b"", CLIENT_FRAME, frame))
        except zmq.ZMQError as error:
            # The client left or does not read; its deadline tells it.
            if error.errno == zmq.EHOSTUNREACH:
                self._service.counters.replies_unaddressed += 1
                self._client_intake.departed.note(envelope[0])
                self._service.client_left(envelope[0])
            else:
                self._service.counters.replies_unread += 1

    def _dropped_at_sockets(self) -> dict[str, int]:
        counts = {
            "peer frames": self._peer_odd_frames + self._peer_intake.overlong,
            "client frames": self._client_intake.overlong,
            "client that left": self._client_intake.departed.dropped,
            "observers full": self._observers.refused,
        }
        return {**{cause: count for cause, count in counts.items() if count}, **self._doorman.seen}

    def _push_status(self, identity: bytes, body: bytes) -> None:
        blob = encode_reply(b"", 0, 0, self._replica.applied_index, body, self._name)
        try:
            send(
                self._client_router, (identity, b"status", b"", CLIENT_FRAME, encode_batch([blob]))
            )
        except zmq.ZMQError:
            return

    def _close(self) -> None:
        """End every thread, also when one of the steps fails: the process would else go on as
        one that nobody hears of, and never be started again.
        """
        steps: list[Callable[[], object]] = [
            self._gate.interrupt_all,
            self._snapshots.stop,
            self._applier.stop,
            self._checks.stop,
            self._links.close,
            self._doorman.stop,
            self._readiness.close,
            partial(self._peer_router.close, 0),
            partial(self._client_router.close, 200),
            partial(self._worker_router.close, 0),
            self._context.term,
            self._workers.join,
            self._short.close,
            self._mail.close,
            self._replica.close,
        ]
        with ExitStack() as last_first:
            for step in reversed(steps):
                last_first.callback(step)
