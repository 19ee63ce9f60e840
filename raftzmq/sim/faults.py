"""What goes wrong in a run, and when: drawn from the seed before anything has happened.

Fault number n has its time, kind and numbers from the seed alone. Whether it finds something to
break is decided when it is due; that others were left out changes nothing about it, so a failing
run can be made smaller by leaving faults out (shrink.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from raftzmq.raft.types import Role, Standing
from raftzmq.sim.chance import Chance
from raftzmq.sim.disk import PLENTY_BYTES

if TYPE_CHECKING:
    from raftzmq.sim.host import SimHost
    from raftzmq.sim.world import World


class Fault(NamedTuple):
    """One planned fault.

    Attributes:
        number: in the plan.
        at: microseconds.
        kind: a key of ``KINDS``.
        one: a number that decides whom it hits.
        two: a number for what else there is to decide.
        lasts: microseconds.
    """

    number: int
    at: int
    kind: str
    one: int
    two: int
    lasts: int


def plan(seed: int, kinds: Sequence[str], every_us: int) -> Iterator[Fault]:
    """The faults of a seed, without end."""
    chance = Chance(seed, "faults")
    weights = [(kind, KINDS[kind].weight) for kind in sorted(kinds)]
    at = 0
    number = 0
    while weights:
        number += 1
        at += chance.between(every_us // 4, every_us * 7 // 4)
        kind = chance.weighted(weights)
        longest = KINDS[kind].longest_us
        # Mostly short: that is where the races are.
        lasts = chance.between(longest // 50, longest // (1 if chance.hit(250) else 5))
        yield Fault(number, at, kind, chance.bits(32), chance.bits(32), lasts)


def _victim(world: World, fault: Fault) -> SimHost | None:
    """Every other time the leader, else any running node."""
    running = [host for host in world.hosts.values() if host.up]
    if not running:
        return None
    leader = world.leader()
    if leader is not None and fault.one % 2:
        return leader
    return running[(fault.one >> 1) % len(running)]


def _crash(world: World, fault: Fault) -> bool:
    host = _victim(world, fault)
    if host is None:
        return False
    world.stop_node(host, power=False, back_in=fault.lasts, why="killed")
    return True


def _crash_between_effects(world: World, fault: Fault) -> bool:
    host = _victim(world, fault)
    if host is None:
        return False
    host.crash_in = fault.two % 12
    return True


def _power(world: World, fault: Fault) -> bool:
    host = _victim(world, fault)
    if host is None:
        return False
    world.stop_node(host, power=True, back_in=fault.lasts, why="without power")
    return True


def _blackout(world: World, fault: Fault) -> bool:
    for number, host in enumerate(world.hosts.values()):
        if host.up:
            back_in = fault.lasts // (1 + (fault.two >> number) % 4)
            world.stop_node(host, power=True, back_in=back_in, why="without power, as all")
    return True


def _pause(world: World, fault: Fault) -> bool:
    host = _victim(world, fault)
    if host is None or host.paused:
        return False
    return _paused(world, host, fault.lasts)


def _paused(world: World, host: SimHost, lasts: int) -> bool:
    host.paused = True
    life = host.life

    def resume() -> None:
        if host.up and host.life == life and host.paused:
            world.note(f"{host.name} resumes")
            host.resume()

    world.schedule.after(lasts, resume)
    return True


def _stale_leader(world: World, fault: Fault) -> bool:
    """A leader sleeps, is replaced, wakes, and hears nothing of it but what clients ask."""
    host = world.leader()
    if host is None or host.paused:
        return False
    others = [name for name in world.hosts if name != host.name]
    # Long enough for another to be elected, and not so long that every client has left.
    sleeps = 700_000 + fault.lasts // 3
    _cut(world, fault._replace(lasts=sleeps + 500_000), _both([host.name], others))
    return _paused(world, host, sleeps)


def _cut(world: World, fault: Fault, pairs: list[tuple[str, str]]) -> bool:
    for source, target in pairs:
        world.network.cut(source, target)

    def mend() -> None:
        for source, target in pairs:
            world.network.mend(source, target)
        world.mended(pairs)

    world.schedule.after(fault.lasts, mend)
    world.cut_noticed(pairs, fault.lasts)
    return bool(pairs)


def _both(one: Sequence[str], other: Sequence[str]) -> list[tuple[str, str]]:
    return [(a, b) for a in one for b in other] + [(b, a) for a in one for b in other]


def _partition(world: World, fault: Fault) -> bool:
    """The nodes in two parts; each broker and client is on one side."""
    names = [*world.hosts]
    side = {name: bool(fault.two >> n & 1) for n, name in enumerate(names)}
    leader = world.leader()
    if leader is not None and fault.one % 3:
        # The leader in the minority, alone or with one more.
        side = {name: name == leader.name for name in names}
        if len(names) > 3 and fault.one % 2:
            side[names[fault.two % len(names)]] = True
    here = [name for name in names if side[name]]
    there = [name for name in names if not side[name]]
    if not here or not there:
        return False
    for n, name in enumerate([*world.brokers, *world.clients]):
        (here if fault.two >> (8 + n) & 1 else there).append(name)
    return _cut(world, fault, _both(here, there))


def _isolate(world: World, fault: Fault) -> bool:
    """One node hears and is heard by no other node; clients still reach it."""
    host = _victim(world, fault)
    if host is None:
        return False
    others = [name for name in world.hosts if name != host.name]
    return _cut(world, fault, _both([host.name], others))


def _one_way(world: World, fault: Fault) -> bool:
    """A node that is deaf, or mute, or one dead direction of one link."""
    host = _victim(world, fault)
    if host is None:
        return False
    others = [name for name in world.hosts if name != host.name]
    if fault.two % 3 == 0:
        return _cut(world, fault, [(host.name, other) for other in others])
    if fault.two % 3 == 1:
        return _cut(world, fault, [(other, host.name) for other in others])
    return _cut(world, fault, [(host.name, others[(fault.two >> 2) % len(others)])])


def _bridge(world: World, fault: Fault) -> bool:
    """Two groups that only one node connects."""
    names = [*world.hosts]
    middle = fault.one % len(names)
    rest = names[middle + 1 :] + names[:middle]
    half = len(rest) // 2
    return _cut(world, fault, _both(rest[:half], rest[half:]))


def _flap(world: World, fault: Fault) -> bool:
    """A link that comes and goes."""
    names = [*world.hosts]
    one = names[fault.one % len(names)]
    other = names[(fault.one + 1 + fault.two % (len(names) - 1)) % len(names)]
    pairs = _both([one], [other])
    for n in range(0, 6, 2):

        def down() -> None:
            _cut(world, fault._replace(lasts=fault.lasts // 8), pairs)

        world.schedule.after(n * fault.lasts // 6, down)
    return True


def _broker_cut(world: World, fault: Fault) -> bool:
    """A broker that reaches one node only, at best a leader that is cut off."""
    host = _victim(world, fault)
    if host is None:
        return False
    broker = [*world.brokers][fault.two % len(world.brokers)]
    others = [name for name in world.hosts if name != host.name]
    pairs = _both([broker], others)
    if fault.two >> 8 & 1:
        pairs += _both([host.name], others)
    return _cut(world, fault, pairs)


def _clock(world: World, fault: Fault) -> bool:
    """A wall clock that is wrong, by up to a day in either direction."""
    host = [*world.hosts.values()][fault.one % len(world.hosts)]
    before = host.skew_ms
    span_ms = (1_000, 60_000, 3_600_000, 86_400_000)[fault.two % 4]
    host.skew_ms = (fault.two >> 2) % (2 * span_ms) - span_ms

    def back() -> None:
        host.skew_ms = before

    world.schedule.after(fault.lasts, back)
    return True


def _drift(world: World, fault: Fault) -> bool:
    """A monotonic clock that runs at two thirds to one and a half of the others' speed."""
    host = [*world.hosts.values()][fault.one % len(world.hosts)]
    host.drift = 667 + fault.two % 834

    def back() -> None:
        host.drift = 1000

    world.schedule.after(fault.lasts, back)
    return True


def _slow_disk(world: World, fault: Fault) -> bool:
    host = _victim(world, fault)
    if host is None:
        return False
    host.habits.sync_us = (5_000, 50_000, 300_000)[fault.two % 3]

    def back() -> None:
        host.habits.sync_us = world.sync_us

    world.schedule.after(fault.lasts, back)
    return True


def _slow_apply(world: World, fault: Fault) -> bool:
    """An applier that is far behind, as after a long UPDATE."""
    host = _victim(world, fault)
    if host is None:
        return False
    host.apply_us = (20_000, 200_000)[fault.two % 2]

    def back() -> None:
        host.apply_us = world.apply_us

    world.schedule.after(fault.lasts, back)
    return True


def _full_disk(world: World, fault: Fault) -> bool:
    """No room on one disk, or on all."""
    reserve = world.config.limits.disk_reserve_bytes
    free = (reserve // 2, reserve // 8, 0, 0)[fault.two % 4]
    host = _victim(world, fault)
    hosts = [*world.hosts.values()] if fault.two >> 4 & 7 == 0 else [host] if host else []
    for each in hosts:
        each.folder.free = free

    def back() -> None:
        for each in hosts:
            each.folder.free = PLENTY_BYTES

    world.schedule.after(fault.lasts, back)
    return bool(hosts)


def _sync_fails(world: World, fault: Fault) -> bool:
    """The next fsync of raft.db, or of state.db, fails; the node must stop."""
    host = _victim(world, fault)
    if host is None:
        return False
    if fault.two % 2:
        host.habits.fail = True
    else:
        host.files.fail_sync = True
    return True


def _forget(world: World, fault: Fault, how: Callable[[SimHost], None]) -> bool:
    host = _victim(world, fault)
    if host is None or not world.may_forget(host):
        return False
    world.stop_node(host, power=False, back_in=fault.lasts, why="stopped")
    how(host)
    return True


def _wipe(world: World, fault: Fault) -> bool:
    """A node comes back with an empty disk."""
    return _forget(world, fault, world.wipe)


def _roll_back(world: World, fault: Fault) -> bool:
    """A node comes back with the raft.db and state.db of some time ago."""
    return _forget(world, fault, world.roll_back)


def _log_rots(world: World, fault: Fault) -> bool:
    """A bit of raft.db flips; its operator rebuilds the node."""

    def rot(host: SimHost) -> None:
        host.rotten = True
        host.store.rot("the checksum of an entry does not fit (simulated bit rot)")

    return _forget(world, fault, rot)


def _wal_rots(world: World, fault: Fault) -> bool:
    """A bit of state.db-wal flips: SQLite silently drops what follows."""
    host = _victim(world, fault)
    if host is None or not world.may_forget(host):
        return False
    world.stop_node(host, power=False, back_in=fault.lasts, why="stopped")
    wal = host.folder.path / "state.db-wal"
    content = bytearray(wal.read_bytes()) if wal.exists() else bytearray()
    if not content:
        return False
    host.rotten = True
    content[fault.two % len(content)] ^= 1 << fault.one % 8
    wal.write_bytes(bytes(content))
    return True


def _content_differs(world: World, fault: Fault) -> bool:
    """A row of one replica changes by itself; a comparison must find it (P6)."""
    healthy = [
        host
        for host in world.hosts.values()
        if host.up and host.replica.raft.standing is Standing.MEMBER
    ]
    if world.tampered or len(healthy) < len(world.hosts):
        return False
    host = healthy[fault.one % len(healthy)]
    return world.tamper(host, fault.two)


def _transfer(world: World, fault: Fault) -> bool:
    """Leadership is handed over, to anybody."""
    leader = world.leader()
    if leader is None or leader.paused:
        return False
    target = [None, *world.hosts][fault.two % (len(world.hosts) + 1)]
    leader.replica.raft.transfer_leadership(target)
    return True


def _compare(world: World, fault: Fault) -> bool:
    """`raftzmq verify` asks for a comparison."""
    leader = world.leader()
    if leader is None or leader.paused:
        return False
    leader.replica.equality.propose()
    return True


def _lost_link(world: World, fault: Fault) -> bool:
    """A TCP connection breaks and comes back."""
    names = [*world.hosts]
    one = world.hosts[names[fault.one % len(names)]]
    other = names[(fault.one + 1 + fault.two % (len(names) - 1)) % len(names)]
    if one.up:
        one.link_changed(other, connected=False)
        world.schedule.after(fault.lasts, world.connect_peers, one.name, other)
    return one.up


def _broker_dies(world: World, fault: Fault) -> bool:
    broker = [*world.brokers.values()][fault.one % len(world.brokers)]
    if not broker.up:
        return False
    world.stop_broker(broker, fault.lasts)
    return True


def _broker_pauses(world: World, fault: Fault) -> bool:
    broker = [*world.brokers.values()][fault.one % len(world.brokers)]
    if not broker.up or broker.paused:
        return False
    broker.paused = True
    life = broker.life

    def resume() -> None:
        if broker.life == life and broker.paused:
            broker.resume()

    world.schedule.after(fault.lasts, resume)
    return True


def _client_dies(world: World, fault: Fault) -> bool:
    client = [*world.clients.values()][fault.one % len(world.clients)]
    world.workload.abandon(client)
    return True


def _replay(world: World, fault: Fault) -> bool:
    """Old frames of peers come again, any time later."""
    for n in range(1 + fault.two % 4):
        world.network.replay(fault.one + 7 * n)
    return True


def _storm(world: World, fault: Fault) -> bool:
    """For a while the links lose, double and reorder much."""
    noise = world.network.noise
    before = noise.loss, noise.twice, noise.overtake
    noise.loss, noise.twice, noise.overtake = ((200, 100, 300), (50, 200, 500))[fault.two % 2]

    def back() -> None:
        noise.loss, noise.twice, noise.overtake = before

    world.schedule.after(fault.lasts, back)
    return True


def _behind(world: World, fault: Fault) -> bool:
    """A node is away until the log does not reach back to it: it needs a snapshot."""
    leader = world.leader()
    if leader is None:
        return False
    others = [name for name in world.hosts if name != leader.name]
    host = world.hosts[others[fault.one % len(others)]]
    if not host.up:
        return False
    return _cut(world, fault, _both([host.name], [n for n in world.hosts if n != host.name]))


def _churn(world: World, fault: Fault) -> bool:
    """For a while whoever is elected is gone at once (thesis figure 3.7)."""
    world.churn_until = world.schedule.now + fault.lasts
    leader = world.leader()
    if leader is not None:
        world.stop_node(leader, power=False, back_in=300_000, why="killed, as all who lead")
    return True


class Kind(NamedTuple):
    """One kind of fault: how often, how long at most, and how it is done."""

    weight: int
    longest_us: int
    inject: Callable[[World, Fault], bool]


KINDS: Final[dict[str, Kind]] = {
    "crash": Kind(10, 2_000_000, _crash),
    "crash-between-effects": Kind(12, 0, _crash_between_effects),
    "power": Kind(8, 2_000_000, _power),
    "blackout": Kind(2, 2_000_000, _blackout),
    "pause": Kind(8, 4_000_000, _pause),
    "stale-leader": Kind(8, 3_000_000, _stale_leader),
    "partition": Kind(8, 4_000_000, _partition),
    "isolate": Kind(6, 4_000_000, _isolate),
    "one-way": Kind(6, 3_000_000, _one_way),
    "bridge": Kind(3, 3_000_000, _bridge),
    "flap": Kind(3, 3_000_000, _flap),
    "broker-cut": Kind(4, 3_000_000, _broker_cut),
    "clock": Kind(3, 4_000_000, _clock),
    "drift": Kind(3, 4_000_000, _drift),
    "slow-disk": Kind(4, 2_000_000, _slow_disk),
    "slow-apply": Kind(3, 2_000_000, _slow_apply),
    "full-disk": Kind(3, 2_000_000, _full_disk),
    "sync-fails": Kind(4, 0, _sync_fails),
    "wipe": Kind(3, 1_000_000, _wipe),
    "roll-back": Kind(3, 1_000_000, _roll_back),
    "log-rots": Kind(2, 1_000_000, _log_rots),
    "wal-rots": Kind(3, 1_000_000, _wal_rots),
    "content-differs": Kind(1, 0, _content_differs),
    "transfer": Kind(6, 0, _transfer),
    "compare": Kind(3, 0, _compare),
    "lost-link": Kind(4, 500_000, _lost_link),
    "broker-dies": Kind(3, 1_000_000, _broker_dies),
    "broker-pauses": Kind(2, 2_000_000, _broker_pauses),
    "client-dies": Kind(4, 0, _client_dies),
    "replay": Kind(5, 0, _replay),
    "storm": Kind(4, 1_000_000, _storm),
    "churn": Kind(4, 6_000_000, _churn),
    "behind": Kind(4, 4_000_000, _behind),
}
"""Name -> the fault; names are those of ``raftzmq sim --faults``."""
PLAIN: Final = ("compare", "transfer")
"""What is no fault at all, and is done also where none are wanted."""


def leads(host: SimHost) -> bool:
    """Whether a running node takes itself for the leader."""
    return host.up and host.replica.raft.role is Role.LEADER
