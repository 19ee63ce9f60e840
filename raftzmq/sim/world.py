"""The whole: nodes, brokers, clients, network and faults under one clock, and who watches them."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import apsw

from raftzmq.checker.history import Operation
from raftzmq.checker.invariants import Entry as SeenEntry
from raftzmq.checker.invariants import Invariants, NodeView, Violation
from raftzmq.checker.linearizability import judge
from raftzmq.client.session import Call
from raftzmq.config import ClusterConfig, LimitsConfig, NodeConfig
from raftzmq.errors import LedgerExpired, RaftzmqError, StorageDamaged
from raftzmq.node.applier import Applied
from raftzmq.raft.messages import AppendResponse, VoteResponse
from raftzmq.raft.types import Entry, EntryKind, LogPosition, Role, Standing
from raftzmq.sim import faults
from raftzmq.sim.brokers import SimBroker
from raftzmq.sim.chance import Chance
from raftzmq.sim.clients import SimClient
from raftzmq.sim.disk import PLENTY_BYTES, SimLogStore
from raftzmq.sim.host import SimCrash, SimHost, make_folder
from raftzmq.sim.network import Network, Noise, Parcel
from raftzmq.sim.schedule import Schedule
from raftzmq.sim.trace import Trace
from raftzmq.sim.workload import Workload
from raftzmq.statemachine.command import CommandFlags, decode_command
from raftzmq.statemachine.digest import content_digest
from raftzmq.statemachine.outcomes import storage_failed
from raftzmq.wire.peer import decode_peer

FAULTS_BEGIN_US: Final = 1_500_000
CLUSTER: Final = "sim"
RESTART_US: Final = 300_000
"""The service manager starts a node that stopped by itself after so long."""


class LivenessFailed(Exception):
    """The faults are over, and the cluster does not come to serve in the time it has."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a run is made of; with the code, it decides every event.

    Attributes:
        seed: the source of all chance.
        nodes: 3 or 5.
        steps: events before the faults end.
        kinds: faults that may happen.
        without: numbers of faults of the plan that are left out.
        quiet: the links neither lose nor double nor reorder.
    """

    seed: int
    nodes: int = 3
    steps: int = 2_500
    kinds: tuple[str, ...] = tuple(faults.KINDS)
    without: frozenset[int] = frozenset()
    quiet: bool = False


@dataclass(slots=True)
class Counts:
    """What happened; a run in which nothing did proves nothing."""

    faults: dict[str, int] = field(default_factory=dict)
    fired: list[int] = field(default_factory=list)
    leaders: int = 0
    snapshots: int = 0
    compactions: int = 0
    lost_transactions: int = 0
    rebuilt: int = 0
    recoveries: int = 0
    rolled_back: int = 0
    judged: int = 0
    undecided: int = 0
    deaths: dict[str, int] = field(default_factory=dict)


class World:
    """One run.

    Args:
        options: of the run.
        root: an empty folder for the state.db of the nodes.
        trace: takes every event.
    """

    def __init__(self, options: Options, root: Path, trace: Trace) -> None:
        seed = options.seed
        self.options = options
        self.trace = trace
        self.schedule = Schedule()
        self.counts = Counts()
        chance = self.chance = Chance(seed, "world")
        self.config = _config(root, options, chance)
        noise = _noise(chance, quiet=options.quiet or not options.kinds)
        self.network = Network(self.schedule, Chance(seed, "network"), self._deliver, noise)
        self.sync_us = chance.pick((50, 200, 2_000))
        self.apply_us = chance.pick((100, 1_000))
        self.hosts = {
            name: SimHost(
                self.config,
                name,
                self.schedule,
                self,
                Chance(seed, name),
                make_folder(root, name, Chance(seed, f"{name} folder")),
            )
            for name in self.config.nodes
        }
        if chance.hit(500):
            # What is one message at the usual limits travels in several, and piles up.
            for host in self.hosts.values():
                host.windows = {
                    "append_bytes_max": 400,
                    "inflight_bytes_max": 1_500,
                    "inflight_messages_max": 4,
                }
        addresses = {name: node.client for name, node in self.config.nodes.items()}
        self.brokers = {
            name: SimBroker(name, addresses, CLUSTER, self.schedule, self)
            for name in (("b1", "b2") if chance.hit(400) else ("b1",))
        }
        self.workload = Workload(
            Chance(seed, "workload"), self.schedule, chance.pick((100_000, 300_000, 800_000))
        )
        self._servers = {address: name for name, address in addresses.items()}
        self._servers |= {f"tcp://{name}:7000": name for name in self.brokers}
        self.clients = {name: self._client(name) for name in ("c1", "c2", "c3", "c4", "c5")}
        self._client_links: dict[str, tuple[str, int, int]] = {}
        self.invariants = Invariants([*self.hosts], self._holds)
        self.amnesiacs: set[str] = set()
        self._newcomers = set(self.hosts)
        self.tampered = ""
        self._tampered_value = 0
        self._tampering_found = False
        self._copies: dict[str, tuple[SimLogStore, dict[str, bytes]]] = {}
        self._died_at: dict[tuple[str, int], int] = {}
        self._faults = faults.plan(seed, options.kinds, chance.pick((150_000, 300_000, 600_000)))
        self.calm = False
        self.churn_until = 0
        self._standing: dict[str, Standing] = {}
        self._seen: dict[str, tuple[object, ...]] = {}
        self._quarantined: set[str] = set()

    # --- the run ------------------------------------------------------------------------------

    def begin(self) -> None:
        """Everything starts."""
        for number, host in enumerate(self.hosts.values()):
            self.schedule.at(number * 3_000, self._start_node, host)
        for broker in self.brokers.values():
            self._start_broker(broker)
        first = next(iter(self.clients.values()))
        self.schedule.at(200_000, self.workload.set_up, first)
        for client in self.clients.values():
            self.schedule.at(1_000_000, self._begin_client, client)
        self._next_fault()

    def step(self) -> None:
        """One event, and all that must be true after it."""
        if not self.schedule.step():
            raise LivenessFailed("nothing is left to happen")
        now = self.schedule.now
        for host in self.hosts.values():
            if host.unseen and host.busy_until <= now:
                self.look_at(host)
        if self.workload.acknowledged:
            for client, sequence, index in self.workload.acknowledged:
                self.invariants.acknowledged(client, sequence, index)
            self.workload.acknowledged.clear()

    def close(self) -> None:
        """Release files and memory."""
        for host in self.hosts.values():
            if host.up:
                host.die(power=False)

    def note(self, line: str) -> None:
        """A line of the trace."""
        self.trace.note(self.schedule.now, line)

    # --- watching -----------------------------------------------------------------------------

    def look_at(self, host: SimHost) -> None:
        """See ``host.Surroundings``."""
        host.unseen = False
        if not host.up:
            return
        raft = host.replica.raft
        log = raft.log
        base, last = log.base, log.last_position
        leads = raft.role is Role.LEADER
        what = (
            raft.role,
            raft.term,
            last,
            raft.commit_index,
            host.replica.applied_index,
            base,
            raft.standing,
            host.equality.mark,
        )
        if what == self._seen.get(host.name):
            return
        before = self._seen.get(host.name)
        self._seen[host.name] = what
        if (
            leads
            and self.schedule.now < self.churn_until
            and (not before or before[1] != raft.term)
        ):
            self.schedule.after(self.chance.below(8_000), self._end_reign, host, host.life)
        quarantined = host.equality.mark is not None
        may_fall = quarantined or host.name in self._quarantined
        if quarantined:
            self._quarantined.add(host.name)
            self._tampering_found |= host.name == self.tampered
        elif host.name in self._quarantined:
            self._quarantined.discard(host.name)
            self.counts.rebuilt += 1

        def entry(index: int) -> SeenEntry:
            found = log.between(index - 1, index)[0]
            return SeenEntry(found.index, found.term, (found.kind, found.data))

        self.invariants.node(
            NodeView(
                host.name,
                host.life,
                leads,
                raft.term,
                raft.commit_index,
                host.replica.applied_index,
                may_fall,
                min(host.durable_index, host.replica.applied_index),
                (base.index, base.term),
                (last.index, last.term),
                entry,
            )
        )
        self.invariants.stored_term(host.name, host.store.hard_state.term, host.moment)
        standing = raft.standing
        if standing is Standing.MEMBER and self._standing.get(host.name) is not standing:
            if self._standing.get(host.name) is Standing.RECOVERING:
                self.counts.recoveries += 1
            self.amnesiacs.discard(host.name)
            self._newcomers.discard(host.name)
        self._standing[host.name] = standing
        self.note(
            f"{host.name} {raft.role.value} t{raft.term} {last.index}@{last.term}"
            f" c{raft.commit_index} a{host.replica.applied_index} b{base.index}"
        )

    def _holds(self, name: str, index: int, term: int) -> bool:
        """Whether a node made it durable while its acknowledgement counted.

        What it acknowledged before its disk was lost counts, even if that arrives only now.
        """
        host = self.hosts[name]
        stores = [*host.lost_stores]
        if not host.store.recovering:
            stores.append(host.store)
        return any(store.holds(index, term) for store in stores)

    def saw_applied(self, host: SimHost, report: Applied, entries: list[Entry]) -> None:
        """See ``host.Surroundings``."""
        for result, entry in zip(report.results, entries, strict=True):
            executed: list[tuple[bytes, int]] = []
            if entry.kind is EntryKind.COMMAND:
                command = decode_command(entry.data)
                named = not command.flags & CommandFlags.KEYED
                executed = [
                    (request.client, request.sequence)
                    for request, reply in zip(command.requests, result.replies, strict=True)
                    if named
                    and request.client
                    and not reply.index
                    and reply.code != LedgerExpired.code
                ]
            self.invariants.applied(
                host.name,
                SeenEntry(entry.index, entry.term, (entry.kind, entry.data)),
                result.replies,
                executed,
            )

    def saw_digest(self, host: SimHost, position: LogPosition, digest: bytes) -> None:
        """See ``host.Surroundings``."""
        if not self.tampered:
            self.invariants.digest(host.name, (position.index, position.term), digest)

    # --- messages -----------------------------------------------------------------------------

    def peer_frame(self, host: SimHost, peer: str, frame: bytes) -> None:
        """See ``host.Surroundings``; what the frame promises must be on the disk already."""
        host.effect("send")
        _, message = decode_peer(frame)
        store = host.store
        hard = store.hard_state
        if isinstance(message, VoteResponse) and message.granted:
            durable = hard.term, hard.voted_for or ""
            self.invariants.vote_sent(
                host.name, message.term, message.receiver, durable, host.moment
            )
        elif isinstance(message, AppendResponse) and message.accepted and message.binding:
            self.invariants.append_acknowledged(host.name, message.match_index, store.last_index)
        self.note(f"{host.name}>{peer} {type(message).__name__} t{message.term}")
        self._send(host.name, host.life, peer, host.moment, b"", (frame,), peers=True)

    def client_frames(self, host: SimHost, identity: bytes, frames: tuple[bytes, ...]) -> None:
        """See ``host.Surroundings``."""
        target = identity.split(b"/", 1)[0].decode()
        self._send(host.name, host.life, target, host.moment, identity, frames)

    def to_node(self, broker: SimBroker, node: str, frames: tuple[bytes, ...]) -> None:
        """See ``brokers.BrokerWorld``."""
        link = b"%s/%d/%d/%d" % (
            broker.name.encode(),
            broker.life,
            broker.links[node],
            self.hosts[node].life,
        )
        self._send(broker.name, broker.life, node, self.schedule.now, link, frames)

    def to_client(self, broker: SimBroker, identity: bytes, frames: tuple[bytes, ...]) -> None:
        """See ``brokers.BrokerWorld``."""
        target = identity.split(b"/", 1)[0].decode()
        self._send(broker.name, broker.life, target, self.schedule.now, identity, frames)

    def to_server(self, client: SimClient, address: str, frames: tuple[bytes, ...]) -> None:
        """See ``clients.ClientWorld``."""
        found = self._client_links.get(client.name)
        if found is not None:
            server, life, epoch = found
            link = b"%s/0/%d/%d" % (client.name.encode(), epoch, life)
            self._send(client.name, 0, server, self.schedule.now, link, frames)

    def _send(
        self,
        source: str,
        life: int,
        target: str,
        leaves: int,
        link: bytes,
        frames: tuple[bytes, ...],
        *,
        peers: bool = False,
    ) -> None:
        self.network.send(Parcel(source, life, target, leaves, link, frames), peers=peers)

    def _deliver(self, parcel: Parcel) -> None:
        source, target = parcel.source, parcel.target
        died = self._died_at.get((source, parcel.life))
        if died is not None and died < parcel.leaves:
            return
        if target in self.hosts:
            host = self.hosts[target]
            if not host.up:
                return
            if not parcel.link:
                host.peer_arrived(parcel.frames[0])
            elif int(parcel.link.rsplit(b"/", 1)[1]) == host.life:
                host.client_arrived(parcel.link, parcel.frames)
        elif target in self.brokers:
            self._deliver_to_broker(self.brokers[target], parcel)
        else:
            epoch = int(parcel.link.split(b"/")[2])
            self.clients[target].arrived(epoch, parcel.frames)

    def _deliver_to_broker(self, broker: SimBroker, parcel: Parcel) -> None:
        if not broker.up:
            return
        _, life, link, server = map(int, (b"0" + parcel.link[2:]).split(b"/"))
        if parcel.source in self.hosts:
            if life == broker.life and link == broker.links[parcel.source]:
                broker.answer_arrived(parcel.source, parcel.frames)
        elif server == broker.life:
            broker.request_arrived(parcel.link, parcel.frames)

    # --- connections --------------------------------------------------------------------------

    def connect(self, client: SimClient, address: str, epoch: int) -> None:
        """See ``clients.ClientWorld``."""
        server = self._servers[address]
        delay = self.network.chance.between(200, 2_000)
        if self.network.is_cut(client.name, server):
            return
        end = self.hosts.get(server) or self.brokers[server]
        if not end.up:
            self.schedule.after(delay, client.broke, epoch)
            return
        self._client_links[client.name] = (server, end.life, epoch)
        self.schedule.after(delay, client.connected, epoch)

    def connect_peers(self, one: str, other: str) -> None:
        """Two nodes find each other, if both are there."""
        first, second = self.hosts[one], self.hosts[other]
        if first.up and second.up and not self.network.is_cut(one, other):
            first.link_changed(other, connected=True)
            second.link_changed(one, connected=True)

    def mended(self, pairs: Sequence[tuple[str, str]]) -> None:
        """Links work again; who was given up connects anew."""
        for one, other in pairs:
            if one < other and one in self.hosts and other in self.hosts:
                self.schedule.after(20_000, self.connect_peers, one, other)
            elif one in self.brokers and other in self.hosts:
                self.schedule.after(20_000, self._connect_broker, one, other)

    def cut_noticed(self, pairs: Sequence[tuple[str, str]], lasts_us: int) -> None:
        """ZeroMQ gives up a connection over which nothing comes for long."""
        after = self.network.chance.between(1_000_000, 3_000_000)
        if after < lasts_us:
            self.schedule.after(after, self._give_up, tuple(pairs))

    def _give_up(self, pairs: Sequence[tuple[str, str]]) -> None:
        for one, other in pairs:
            if not self.network.is_cut(one, other):
                continue
            if one in self.hosts and other in self.hosts and self.hosts[one].up:
                self.hosts[one].link_changed(other, connected=False)
            elif one in self.brokers and other in self.hosts and self.brokers[one].up:
                self.brokers[one].link_changed(other, connected=False)

    def _connect_broker(self, broker: str, node: str) -> None:
        end = self.brokers[broker]
        if end.up and self.hosts[node].up and not self.network.is_cut(broker, node):
            end.link_changed(node, connected=True)

    def _server_gone(self, server: str, life: int) -> None:
        """The kernel of a dead process closes its connections."""
        for client in self.clients.values():
            link = self._client_links.get(client.name)
            if link is None or link[:2] != (server, life):
                continue
            if not self.network.is_cut(client.name, server):
                client.broke(link[2])
        if server not in self.hosts:
            return
        for name, host in self.hosts.items():
            if name != server and host.up and not self.network.is_cut(name, server):
                host.link_changed(server, connected=False)
        for name, broker in self.brokers.items():
            if broker.up and not self.network.is_cut(name, server):
                broker.link_changed(server, connected=False)

    # --- nodes and brokers come and go --------------------------------------------------------

    def leader(self) -> SimHost | None:
        """The leader of the highest term, if any."""
        found = [host for host in self.hosts.values() if faults.leads(host)]
        return max(found, key=lambda host: host.replica.raft.term, default=None)

    def stop_node(self, host: SimHost, *, power: bool, back_in: int, why: str) -> None:
        """A node stops, and is started again after a while."""
        if not host.up:
            return
        now, life = self.schedule.now, host.life
        self.note(f"{host.name} is {why}")
        self._died_at[host.name, life] = now
        self.counts.lost_transactions += host.die(power=power)
        self.invariants.down(host.name, now)
        self._standing.pop(host.name, None)
        self._seen.pop(host.name, None)
        # A machine without power says good-bye to nobody; what it left open breaks in time.
        delay = self.network.chance.between(500, 3_000)
        if power and self.network.chance.hit(500):
            delay += 1_500_000
        self.schedule.after(delay, self._server_gone, host.name, life)
        self.schedule.after(max(back_in, 5_000), self._start_node, host)

    def died(self, host: SimHost, why: str) -> None:
        """See ``host.Surroundings``."""
        kind = why.split(":")[0][:40] if why else "injected"
        self.counts.deaths[kind] = self.counts.deaths.get(kind, 0) + 1
        self.stop_node(host, power=False, back_in=RESTART_US, why=f"dead: {kind}")

    def _end_reign(self, host: SimHost, life: int) -> None:
        """A leader dies, or is cut off, at once after it was elected (thesis figure 3.7)."""
        if self.calm or not host.up or host.life != life:
            return
        if self.chance.hit(500):
            self.stop_node(host, power=False, back_in=200_000, why="killed, as all who lead")
            return
        pairs = [(host.name, other) for other in self.hosts if other != host.name]
        for source, target in pairs:
            self.network.cut(source, target)
        self.schedule.after(900_000, self._mend, pairs)

    def _mend(self, pairs: list[tuple[str, str]]) -> None:
        for source, target in pairs:
            self.network.mend(source, target)
        self.mended(pairs)

    def _start_node(self, host: SimHost) -> None:
        if host.up:
            return
        if host.damaged:
            self._rebuild(host)
            return
        self.note(f"{host.name} starts")
        try:
            host.start()
        except StorageDamaged as error:
            host.damaged = str(error)
            if not host.rotten:
                raise Violation("sound-after-crash", f"{host.name}: {error}") from error
            self.note(f"{host.name} refuses to start: its files are damaged")
            self.schedule.after(RESTART_US, self._start_node, host)
            return
        except RaftzmqError as error:
            self.note(f"{host.name} does not start: {type(error).__name__}")
            self.schedule.after(RESTART_US, self._start_node, host)
            return
        except SimCrash:
            raise AssertionError("no crash is armed while a node is down") from None
        host.unseen = True
        host.rotten = False
        for other in self.hosts.values():
            if other is not host:
                delay = self.network.chance.between(500, 5_000)
                self.schedule.after(delay, self.connect_peers, host.name, other.name)
        for broker in self.brokers.values():
            delay = self.network.chance.between(500, 5_000)
            self.schedule.after(delay, self._connect_broker, broker.name, host.name)

    def _rebuild(self, host: SimHost) -> None:
        """`raftzmq rebuild`, once few enough others have forgotten what they promised."""
        if host.name not in self.amnesiacs and not self.may_forget(host):
            self.schedule.after(RESTART_US, self._start_node, host)
            return
        self.note(f"{host.name} is rebuilt")
        self.wipe(host)
        self.schedule.after(RESTART_US, self._start_node, host)

    def may_forget(self, host: SimHost) -> bool:
        """Whether this node may lose its disk: at most a minority may be without theirs.

        With more nobody can tell any more what was promised, and the cluster stands still: safe,
        but dead (docs/decisions/008-a-node-that-forgot.md). A newcomer that no majority has
        admitted yet may take itself for one that forgot. Nor while wrong content may spread, or
        a quarantined node's content would be all that is left of something (005).
        """
        waiting = self._newcomers | {
            name
            for name, each in self.hosts.items()
            # Also one that was never more than a newcomer to the others.
            if each.damaged or each.rotten or each.store.recovering or not each.store.is_written
        }
        without = self.amnesiacs | waiting | {host.name}
        if len(without) > (len(self.hosts) - 1) // 2 or self._may_spread_wrong_content(host):
            return False
        committed = {name: each.replica.raft.commit_index for name, each in self.hosts.items()}
        sound = [committed[name] for name in self.hosts.keys() - without - self._quarantined]
        wrong = [committed[name] for name in self._quarantined - without]
        return max(wrong, default=0) <= max(sound, default=0)

    def _may_spread_wrong_content(self, leaving: SimHost) -> bool:
        """Whether a node that was tampered with, or got a snapshot from it, is not found yet.

        Args:
            leaving: its content is about to be lost.
        """
        if not self.tampered:
            return False
        if not self._tampering_found:
            return True
        return any(
            each.replica.transfers.receiving or self._is_wrong(each)
            for name, each in self.hosts.items()
            if each is not leaving and not each.damaged and name not in self._quarantined
        )

    def _is_wrong(self, host: SimHost) -> bool:
        if not host.up:
            return True  # who looked would copy its write-ahead log: nobody knows
        connection = apsw.Connection(
            str(host.folder.path / "state.db"), flags=apsw.SQLITE_OPEN_READONLY
        )
        try:
            connection.set_busy_timeout(0)
            found = connection.execute(
                "SELECT 1 FROM ballast WHERE a = ? LIMIT 1", (self._tampered_value,)
            )
            return found.fetchone() is not None
        except apsw.SQLError:
            return False  # a new folder, without the tables
        except apsw.Error as error:
            raise storage_failed(error) from error
        finally:
            connection.close(True)

    def wipe(self, host: SimHost) -> None:
        """The folder of a stopped node is empty from now on."""
        host.wipe(self.chance.bits(63) + 1)
        self._forgot(host)

    def roll_back(self, host: SimHost) -> None:
        """A stopped node gets the files that were saved some time ago; without any, none.

        Only such as every peer can tell from the node they know. A copy that was made in the
        latest life of a node they take for it, and one of them that has not met its later life
        might be the one that is asked (docs/simulator.md, "What is not found").
        """
        copy = self._copies.get(host.name)
        peers = [other for other in self.hosts.values() if other is not host]
        if copy is None or any(
            other.store.starts_met(host.name) <= copy[0].boots for other in peers
        ):
            self.wipe(host)
            return
        self.counts.rolled_back += 1
        store, contents = copy
        incarnation = host.folder.incarnation
        host.wipe(incarnation)
        host.folder.boots, host.folder.lives = store.boots, store.lives
        host.store.copy_of(store)
        for name, content in contents.items():
            (host.folder.path / name).write_bytes(content)
        self._forgot(host)

    def _forgot(self, host: SimHost) -> None:
        self.amnesiacs.add(host.name)
        self.invariants.forgot(host.name)

    def tamper(self, host: SimHost, value: int) -> bool:
        """A row that no client looks at changes on one node."""
        path = host.folder.path / "state.db"
        connection = apsw.Connection(str(path))
        try:
            connection.set_busy_timeout(0)
            connection.execute("UPDATE ballast SET a = ?", (1 + value,))
        except apsw.SQLError:
            return False  # the tables are not there yet
        except apsw.Error as error:
            raise storage_failed(error) from error
        finally:
            connection.close(True)
        self.tampered = host.name
        self._tampered_value = 1 + value
        return True

    def stop_broker(self, broker: SimBroker, back_in: int) -> None:
        """A broker dies, and is started again after a while."""
        self.note(f"{broker.name} dies")
        life = broker.life
        self._died_at[broker.name, life] = self.schedule.now
        broker.die()
        self.schedule.after(1_000, self._server_gone, broker.name, life)
        self.schedule.after(max(back_in, 5_000), self._start_broker, broker)

    def _start_broker(self, broker: SimBroker) -> None:
        if not broker.up:
            broker.start()

    # --- clients ------------------------------------------------------------------------------

    def _client(self, name: str) -> SimClient:
        chance = self.chance
        brokers = [f"tcp://{broker}:7000" for broker in self.brokers]
        nodes = [node.client for node in self.config.nodes.values()]
        addresses = list(nodes if chance.hit(400) else brokers)
        first = chance.below(len(addresses))
        return SimClient(
            name,
            addresses[first:] + addresses[:first],
            self.schedule,
            self,
            Chance(self.options.seed, f"client {name}"),
            self._call_done,
        )

    def _call_done(self, client: SimClient, call: Call) -> None:
        code = call.error.code if call.error is not None else 0
        self.note(f"{client.name} is answered {code}")
        self.workload.finished(client, call)

    def _begin_client(self, client: SimClient) -> None:
        if self.workload.is_set_up:
            self.workload.think(client)
        else:
            self.schedule.after(100_000, self._begin_client, client)

    # --- faults -------------------------------------------------------------------------------

    def _next_fault(self) -> None:
        fault = next(self._faults, None)
        if fault is not None:
            self.schedule.at(FAULTS_BEGIN_US + fault.at, self._fault, fault)

    def _fault(self, fault: faults.Fault) -> None:
        if self.calm:
            return
        self._next_fault()
        self._save_copy(fault)
        if fault.number in self.options.without:
            return
        if faults.KINDS[fault.kind].inject(self, fault):
            self.note(f"fault {fault.number}: {fault.kind}")
            self.counts.faults[fault.kind] = self.counts.faults.get(fault.kind, 0) + 1
            self.counts.fired.append(fault.number)

    def _save_copy(self, fault: faults.Fault) -> None:
        """Now and then somebody copies the files of a node."""
        if fault.two % 8 or "roll-back" not in self.options.kinds:
            return
        host = [*self.hosts.values()][fault.one % len(self.hosts)]
        if not host.up or host.busy_until > self.schedule.now or self.tampered:
            return
        if host.replica.raft.standing is not Standing.MEMBER:
            return
        store = SimLogStore(host.folder, host.habits, lambda _: 0)
        store.copy_of(host.store)
        store.boots, store.lives = host.folder.boots, host.folder.lives
        self._copies[host.name] = store, host.files.contents(host.folder.path, None)

    def end_faults(self) -> None:
        """Everything is in order from now on, and who is down comes back."""
        self.calm = True
        self.note("the faults end")
        self.network.heal()
        for host in self.hosts.values():
            host.crash_in = -1
            host.folder.free = PLENTY_BYTES
            host.habits.sync_us, host.habits.fail = self.sync_us, False
            host.apply_us = self.apply_us
            host.drift = 1000
            if host.up:
                host.files.fail_sync = False
                if host.paused:
                    host.resume()
            else:
                self._start_node(host)
        for broker in self.brokers.values():
            if not broker.up:
                self._start_broker(broker)
            elif broker.paused:
                broker.resume()
        names = [*self.hosts]
        for one in names:
            for other in names:
                if one < other:
                    self.connect_peers(one, other)
            for name in self.brokers:
                self._connect_broker(name, one)

    def unsettled(self) -> str:
        """Why the cluster is not yet as it should be without faults; empty: it is."""
        for host in self.hosts.values():
            if not host.up:
                return f"{host.name} is down"
            raft = host.replica.raft
            if raft.standing is not Standing.MEMBER:
                return f"{host.name} is {raft.standing.value}"
            if host.conditions.refusing_reads or host.conditions.refusing_writes:
                return f"{host.name}: {'; '.join(host.conditions.sentences())}"
        leader = self.leader()
        if leader is None:
            return "there is no leader"
        last = leader.replica.raft.last_position.index
        for host in self.hosts.values():
            if host.replica.applied_index != last:
                return f"{host.name} applied {host.replica.applied_index} of {last}"
        if self.tampered and len(set(self._digests().values())) > 1:
            return f"what differs since {self.tampered} was tampered with was not found"
        return ""

    def _digests(self) -> dict[str, str]:
        return {
            name: content_digest(host.folder.path / "state.db")[1]
            for name, host in self.hosts.items()
        }

    def judge_end(self) -> None:
        """What must be true of the content when all is at rest."""
        leader = self.leader()
        assert leader is not None, "a settled cluster has a leader"
        position = (leader.replica.applied_index, -1)
        for name, digest in self._digests().items():
            self.invariants.digest(name, position, bytes.fromhex(digest))
        connection = apsw.Connection(
            str(leader.folder.path / "state.db"), flags=apsw.SQLITE_OPEN_READONLY
        )
        try:
            done = [str(row[0]) for row in connection.execute("SELECT op FROM done")]
        finally:
            connection.close(True)
        self.workload.promises.judge(done, "in the end")
        self._judge_history()

    def _judge_history(self) -> None:
        """There is an order of all operations in which one database could have done them."""
        models: dict[str, list[Operation]] = {}
        for model, operation in self.workload.history:
            models.setdefault(model, []).append(operation)
        for model, operations in sorted(models.items()):
            judgement = judge(model, operations)
            if judgement.holds is False:
                wrong = [key for key in judgement.keys if key.holds is False]
                keys = ", ".join(key.key for key in wrong)
                raise Violation("linearizable-history", f"model {model}, {keys}: {wrong[0]}")
            # None: given up, or nothing was read. Counted, so that it is not taken for a proof.
            self.counts.undecided += judgement.holds is None
            self.counts.judged += judgement.operations


def temporary_root(within: Path | None = None) -> tempfile.TemporaryDirectory[str]:
    """A folder in memory where there is one: no run needs what outlives it."""
    memory = within or Path("/dev/shm")
    return tempfile.TemporaryDirectory(
        prefix="raftzmq-sim-", dir=memory if memory.is_dir() else None, ignore_cleanup_errors=True
    )


def _config(root: Path, options: Options, chance: Chance) -> ClusterConfig:
    limits = LimitsConfig(
        tick_ms=chance.pick((40, 60)),
        heartbeat_ticks=chance.pick((2, 3)),
        election_ticks=10,
        log_bytes_max=chance.pick((3_000, 9_000, 1 << 20)),
        log_keep_bytes=chance.pick((0, 1_500)),
        # From a stream of its own, so that seeds written down earlier still mean the same run.
        log_hold_bytes_max=Chance(options.seed, "hold").pick((0, 6_000, 40_000, 1 << 20)),
        log_memory_bytes=Chance(options.seed, "memory").pick((0, 2_000, 8 << 20)),
        checksum_interval_s=chance.pick((1, 3)),
        disk_reserve_bytes=1 << 20,
        ledger_ms=chance.pick((2_000, 600_000, 600_000)),
    )
    return ClusterConfig(
        cluster=CLUSTER,
        nodes={
            f"n{number}": NodeConfig(
                name=f"n{number}",
                peer=f"tcp://n{number}:7100",
                client=f"tcp://n{number}:7200",
                data=root / f"n{number}",
            )
            for number in range(1, options.nodes + 1)
        },
        proxies={},
        limits=limits,
    )


def _noise(chance: Chance, *, quiet: bool) -> Noise:
    loss = chance.pick((0, 0, 10, 50, 200))
    twice = chance.pick((0, 20, 100))
    overtake = chance.pick((0, 20, 200))
    client_loss = chance.pick((0, 0, 5, 20))
    delay = chance.pick((500, 2_000, 10_000))
    if quiet:
        loss = twice = overtake = client_loss = 0
    return Noise(
        loss=loss,
        twice=twice,
        overtake=overtake,
        client_loss=client_loss,
        delay_least=50,
        delay_most=delay,
        delay_rare=delay * 20,
    )
