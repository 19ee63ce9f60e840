"""Replicas whose content was changed behind their back are found, named and rebuilt."""

from __future__ import annotations

import random

import pytest

from raftzmq import limits
from raftzmq.raft.types import LogPosition, Role
from raftzmq.replica import equality
from raftzmq.replica.judge import Finding
from raftzmq.replica.rebuild import ASK_TICKS
from raftzmq.wire.equality import ChecksumReport, ChecksumVerdict, RebuildRequest
from raftzmq.wire.peer import decode_peer
from raftzmq.wire.transfer import SnapshotDone, SnapshotOffer
from tests.replica.equality_world import File, Node, World

LONG = 5 * ASK_TICKS


def tamper(node: Node) -> None:
    node.content[0] = b"tampered"


def findings(world: World, position: LogPosition) -> dict[str, Finding]:
    judgement = world.leader().replica.equality.judgement(position)
    assert judgement is not None
    return judgement.findings


def all_equal(world: World) -> bool:
    return len({node.digest() for node in world.live()}) == 1


def written(size: int = 3, **options: int) -> World:
    world = World(size, **options)
    world.write(b"one", b"two", b"three")
    return world


def test_equal_replicas_are_found_equal() -> None:
    world = written()
    assert set(findings(world, world.check()).values()) == {Finding.EQUAL}
    assert all(node.mark is None for node in world.live())


def test_an_empty_database_is_compared_as_well() -> None:
    world = World()
    assert set(findings(world, world.check()).values()) == {Finding.EQUAL}


def test_a_tampered_follower_quarantines_itself_is_rebuilt_and_serves_again() -> None:
    world = written()
    victim = world.follower()
    tamper(victim)
    position = world.check()
    assert findings(world, position)[victim.name] is Finding.DIFFERS
    assert victim.mark is not None
    assert victim.mark.index == position.index
    world.tick(LONG)
    assert victim.mark is None
    assert all_equal(world)
    assert b"tampered" not in victim.content
    assert set(findings(world, world.check()).values()) == {Finding.EQUAL}


def test_a_quarantine_ends_with_a_comparison_and_not_with_the_install() -> None:
    world = written()
    victim = world.follower()
    tamper(victim)
    world.check()
    world.tick(1)
    for _ in range(LONG):
        if victim.mark is None or victim.mark.rebuilt_index:
            break
        world.tick()
    assert victim.mark is not None, "installed, and not compared yet"
    rebuilt_index = victim.mark.rebuilt_index
    victim.content[0] = b"wrong again"  # as if the snapshot had come from a wrong replica
    while victim.mark is not None and victim.mark.rebuilt_index == rebuilt_index:
        world.tick()
    assert victim.mark is not None, "compared, found wrong, to be rebuilt once more"
    assert victim.mark.index > rebuilt_index
    world.tick(LONG)
    assert victim.mark is None
    assert all_equal(world)


def test_a_tampered_leader_hands_over_and_is_rebuilt() -> None:
    world = written()
    victim = world.leader()
    tamper(victim)
    world.check()
    assert victim.mark is not None
    world.tick(5)
    assert world.leader() is not victim
    world.write(b"four")
    world.tick(LONG)
    assert victim.mark is None
    assert all_equal(world)


def test_a_leader_that_finds_nobody_to_hand_over_to_leads_on() -> None:
    world = written()
    victim = world.leader()
    tamper(victim)
    others = [node for node in world.live() if node is not victim]
    for node in others:
        node.replica.raft.set_electable(False, "test")  # neither of them takes over
    world.check()
    assert victim.mark is not None
    world.tick(LONG)
    assert world.leader() is victim
    others[1].replica.raft.set_electable(True, "test")
    world.tick(LONG)
    assert world.leader() is others[1]
    assert victim.mark is None


def test_writes_go_on_while_a_replica_is_rebuilt_and_it_gets_them() -> None:
    world = written()
    victim = world.follower()
    tamper(victim)
    world.check()
    for number in range(200):
        world.leader().replica.raft.propose(b"%d" % number)
        world.tick()
    world.tick(LONG)
    assert victim.mark is None
    assert all_equal(world)
    assert len(victim.content) == 203


def test_the_state_goes_back_and_the_log_bridges_what_was_applied_since() -> None:
    """The snapshot was taken before the last writes, which the victim has applied."""
    world = written()
    victim, leader = world.follower(), world.leader()
    tamper(victim)
    world.check()
    for _ in range(LONG):  # until the snapshot is whole at the victim, and not swapped in
        for node in world.live():
            node.replica.tick()
            node.round()
        world.network, batch = [], world.network
        for _, receiver, data in batch:
            world.nodes[receiver].replica.receive(data)
        if any(isinstance(job, tuple) for job in victim.jobs):
            break
    (job,) = [job for job in victim.jobs if isinstance(job, tuple)]
    victim.jobs.clear()
    leader.replica.raft.propose(b"four")
    leader.replica.raft.propose(b"five")
    world.tick(5)
    assert victim.content[-1] == b"five"
    before = victim.applied
    victim.jobs.append(job)
    victim.round()
    assert victim.applied.index < before.index or victim.content[-1] == b"five"
    world.tick(LONG)
    assert victim.mark is None
    assert all_equal(world)
    assert victim.content == [b"one", b"two", b"three", b"four", b"five"]


def test_the_log_is_not_compacted_past_the_snapshot_that_comes() -> None:
    world = written()
    victim = world.follower()
    tamper(victim)
    world.check()
    while not victim.transfers.receiving:
        for node in world.live():
            node.replica.tick()
            node.round()
        world.network, batch = [], world.network
        for _, receiver, data in batch:
            world.nodes[receiver].replica.receive(data)
    base = victim.replica.raft.base
    victim.replica.compact(victim.applied.index, 0)
    assert victim.replica.raft.base == base
    world.tick(LONG)
    assert victim.mark is None
    victim.replica.compact(victim.applied.index, 0)
    assert victim.replica.raft.base.index > base.index


def test_a_victim_that_compacted_asks_for_a_snapshot_its_log_follows_on() -> None:
    world = written()
    victim = world.follower()
    tamper(victim)
    world.cut.add(victim.name)
    world.check()
    world.cut.clear()
    world.write(b"four", b"five", b"six")
    victim.replica.compact(victim.applied.index, 0)
    assert victim.replica.raft.base.index > 0
    world.tick(LONG)
    assert victim.mark is None
    assert all_equal(world)


@pytest.mark.parametrize("moment", range(0, 60, 3))
def test_a_crash_at_any_moment_of_a_quarantine_ends_in_a_whole_replica(moment: int) -> None:
    world = written()
    victim = world.follower()
    tamper(victim)
    world.leader().replica.equality.propose()
    steps = 0
    while steps < moment:  # half rounds: one node at a time does something
        for node in world.live():
            node.replica.tick()
            node.round()
            steps += 1
        world.network, batch = [], world.network
        for _, receiver, data in batch:
            if world.nodes[receiver].up:
                world.nodes[receiver].replica.receive(data)
    marked = victim.mark
    victim.crash()
    world.write(b"four")
    victim.start()
    assert victim.mark == marked
    world.tick(LONG)
    world.check()
    world.tick(LONG)
    assert victim.mark is None
    assert all_equal(world)
    assert b"tampered" not in victim.content


def test_a_node_tampered_with_while_it_was_down_is_judged_late() -> None:
    world = written()
    victim = world.follower()
    victim.crash()
    position = world.check()
    assert findings(world, position)[victim.name] is Finding.WAITING
    tamper(victim)
    victim.start()
    world.tick(50)
    assert victim.mark is not None or all_equal(world)
    world.tick(LONG)
    assert victim.mark is None
    assert all_equal(world)
    assert b"tampered" not in victim.content


def test_a_verdict_that_is_lost_comes_again() -> None:
    world = written()
    victim, leader = world.follower(), world.leader()
    tamper(victim)
    leader.replica.equality.propose()
    for _ in range(30):
        for node in world.live():
            node.replica.tick()
            node.round()
        world.network, batch = [], world.network
        for sender, receiver, data in batch:
            if not (sender == leader.name and receiver == victim.name and is_verdict(data)):
                world.nodes[receiver].replica.receive(data)
    assert victim.mark is None, "the verdict was lost"
    world.tick(equality.REPORT_TICKS + 5)
    assert victim.mark is not None or all_equal(world)
    world.tick(LONG)
    assert all_equal(world)


def is_verdict(data: bytes) -> bool:
    return isinstance(decode_peer(data)[1], ChecksumVerdict)


def test_a_new_leader_hears_the_reports_that_died_with_the_old_one() -> None:
    world = World(5)
    world.write(b"one", b"two")
    victim, leader = world.follower(), world.leader()
    others = [node for node in world.live() if node not in (victim, leader)]
    tamper(victim)
    # Only two reports beside the victim's reach a leader before it dies.
    for node in others[:2]:
        node.crash()
    world.check()
    assert victim.mark is None, "two of five are no majority"
    leader.crash()
    for node in others[:2]:
        node.start()
    world.tick(LONG)
    world.tick(LONG)
    assert victim.mark is None
    assert all_equal(world)
    assert b"tampered" not in victim.content


def test_without_a_majority_people_are_told_and_nobody_is_condemned() -> None:
    world = written()
    first, second = (node for node in world.live() if node is not world.leader())
    first.content[0], second.content[0] = b"x", b"y"
    world.check()
    assert world.leader().doubt is None, "a report may still be on its way"
    world.tick(equality.DOUBT_TICKS)
    doubt = world.leader().doubt
    assert doubt is not None
    for node in world.live():
        assert node.name in doubt
        assert node.mark is None
    second.content[0] = b"one"
    world.check()
    world.tick(LONG)
    assert world.leader().doubt is None
    assert all_equal(world)


def test_the_doubt_of_a_leader_ends_with_its_leadership() -> None:
    world = written()
    first, second = (node for node in world.live() if node is not world.leader())
    first.content[0], second.content[0] = b"x", b"y"
    old = world.leader()
    world.check()
    world.tick(equality.DOUBT_TICKS)
    assert old.doubt
    old.replica.raft.transfer_leadership(first.name)
    world.tick(20)
    assert old.doubt is None
    world.tick(equality.DOUBT_TICKS + equality.REPORT_TICKS)
    assert first.doubt, "the new leader was told the reports and doubts as well"


def test_two_of_five_are_found_and_rebuilt() -> None:
    world = written(5)
    victims = [world.leader(), world.follower()]
    for node in victims:
        tamper(node)
    world.check()
    assert all(node.mark is not None for node in victims)
    world.tick(LONG)
    assert all(node.mark is None for node in world.live())
    assert all_equal(world)


def test_a_quarantined_node_sends_no_snapshots() -> None:
    """Neither of now nor one that it had ready: its content is the wrong one."""
    world = written()
    victim = world.leader()
    sleeper = world.follower()
    sleeper.crash()
    world.write(b"four", b"five", b"six")
    victim.replica.compact(victim.applied.index, 0)
    tamper(victim)
    for node in world.live():
        node.replica.raft.set_electable(False, "test")  # so that it has to lead on
    victim.replica.equality.rebuild.begin(victim.applied, b"wrong", b"right", ())
    sleeper.start()
    sleeper.replica.raft.set_electable(False, "test")
    world.tick(LONG)
    assert world.leader() is victim
    assert victim.snapshots_taken == 0
    assert sleeper.content[0] == b"one"


def test_the_leader_checks_at_its_interval_also_when_nothing_is_written() -> None:
    world = written(interval_ticks=300)
    victim = world.follower()
    last = world.leader().replica.raft.last_position.index
    world.tick(290)
    tamper(victim)
    assert world.leader().replica.raft.last_position.index in (last, last + 1)
    world.tick(320 + LONG)
    assert victim.mark is None
    assert all_equal(world)
    assert b"tampered" not in victim.content


def test_interval_zero_checks_only_on_demand() -> None:
    world = written(interval_ticks=0)
    last = world.leader().replica.raft.last_position
    world.tick(2_000)
    assert world.leader().replica.raft.last_position == last


def test_no_second_check_begins_while_the_leader_hashes_for_the_first() -> None:
    world = written()
    leader = world.leader()
    passed: list[LogPosition] = []
    leader.replica.hashed = lambda position, digest: passed.append(position)  # type: ignore[method-assign]
    first = leader.replica.equality.propose()
    world.tick(2)
    assert passed == [first]
    assert leader.replica.equality.propose() is None
    leader.replica.equality.hashed(passed[0], leader.digest())
    assert leader.replica.equality.propose() is not None


def test_a_node_that_did_not_hash_is_named_and_left_alone() -> None:
    world = written()
    lazy = world.follower()
    lazy.skips_hashes = True
    assert findings(world, world.check())[lazy.name] is Finding.SKIPPED
    world.tick(LONG)
    assert lazy.mark is None


def test_a_check_whose_entry_was_lost_with_its_leader_is_said_to_be_lost() -> None:
    world = written()
    old = world.leader()
    world.cut.add(old.name)
    lost = old.replica.equality.propose()
    assert lost is not None
    assert old.replica.equality.judgement(lost) is not None, "it may still be committed"
    world.tick(200)
    new = world.leader()
    assert new is not old
    world.write(b"four", b"five")
    world.cut.clear()
    world.tick(100)
    assert new.replica.equality.judgement(lost) is None
    assert old.replica.equality.judgement(lost) is None


def test_old_checks_are_forgotten() -> None:
    world = written()
    first = world.check()
    for _ in range(equality.CHECKS_MAX):
        world.check()
    assert world.leader().replica.equality.judgement(first) is None


LAST_RESORT_TICKS = limits.LAST_RESORT_ELECTIONS * limits.ELECTION_TICKS


def with_quarantined_follower() -> tuple[World, Node, Node]:
    """A world, its leader, and a follower that is quarantined and not rebuilt."""
    world = written()
    victim, leader = world.follower(), world.leader()
    leader.transfers.requested = lambda *_: []  # type: ignore[method-assign]
    tamper(victim)
    world.check()
    assert victim.mark is not None
    return world, leader, victim


def test_a_quarantined_node_leaves_it_to_others_to_lead() -> None:
    world, leader, victim = with_quarantined_follower()
    (other,) = {*world.live()} - {victim, leader}
    other.replica.raft.transfer_leadership(victim.name)
    leader.replica.raft.transfer_leadership(victim.name)
    world.tick(LONG)
    assert world.leader() is leader, "it is not taken over from either"
    leader.crash()
    other.crash()
    for _ in range(LAST_RESORT_TICKS - 5):
        world.tick()
        assert victim.replica.raft.role is Role.FOLLOWER
    other.start()
    world.tick(4 * limits.ELECTION_TICKS)
    assert world.leader() is other
    assert all_equal(world)


def test_a_quarantined_node_that_alone_holds_the_last_entries_leads_until_another_can() -> None:
    world, leader, victim = with_quarantined_follower()
    (other,) = {*world.live()} - {victim, leader}
    world.cut.add(other.name)
    world.write(b"four", b"five")
    leader.crash()  # for good, as its disk is damaged
    world.cut.clear()
    led = snapshots_of_victim = 0
    for _ in range(2 * LAST_RESORT_TICKS):
        world.tick()
        led += victim.replica.raft.role is Role.LEADER
        assert victim.replica.raft.role is not Role.LEADER or not victim.serves
        snapshots_of_victim += victim.snapshots_taken
    assert led, "nobody else could"
    assert not snapshots_of_victim
    assert world.leader() is other
    world.write(b"six")
    world.tick(LONG)
    assert victim.mark is None, "two of three are a majority also for the comparison"
    assert victim.content == other.content == [b"one", b"two", b"three", b"four", b"five", b"six"]


def test_a_rebuilt_node_that_nobody_takes_over_from_is_compared_at_once() -> None:
    world = written(interval_ticks=0)
    victim, leader = world.follower(), world.leader()
    (other,) = {*world.live()} - {victim, leader}
    tamper(victim)
    world.check()
    while victim.mark is not None and not victim.mark.rebuilt_index:
        world.tick()
    assert victim.mark is not None, "rebuilt and not compared"
    leader.crash()
    other.replica.raft.set_electable(False, "test")
    world.tick(2 * LAST_RESORT_TICKS)
    assert world.leader() is victim
    world.tick(LONG)
    assert victim.mark is None
    assert all_equal(world)


def test_rebuilt_nodes_get_their_comparison_from_a_quarantined_leader() -> None:
    """Its attempts to hand over must not refuse all that they ask for."""
    world = written(5, interval_ticks=0)
    leader, *others = sorted(world.live(), key=lambda node: node is not world.leader())
    tamper(others[0])
    world.check()
    while others[0].mark is not None and not others[0].mark.rebuilt_index:
        world.tick()
    assert others[0].mark is not None
    for node in others[1:]:
        node.replica.raft.set_electable(False, "test")
    leader.replica.equality.rebuild.begin(leader.applied, b"wrong", b"right", ())
    world.tick(2 * LONG)
    assert world.leader() is others[0], "compared, and fit to take over"


def test_a_quarantine_outlives_a_restart() -> None:
    world = written()
    victim = world.follower()
    tamper(victim)
    world.check()
    victim.crash()
    for node in world.live():
        node.crash()
    victim.start()
    world.tick(300)
    assert victim.mark is not None
    assert victim.replica.raft.role is Role.FOLLOWER


def test_equal_content_ends_no_quarantine_before_the_rebuild() -> None:
    """What a hash does not see, an index for instance, may be wrong as well."""
    world = written()
    victim = world.follower()
    world.leader().transfers.requested = lambda *_: []  # type: ignore[method-assign]
    tamper(victim)
    world.check()
    victim.content[0] = b"one"
    assert set(findings(world, world.check()).values()) == {Finding.EQUAL}
    world.tick(LONG)
    assert victim.mark is not None


def test_a_late_report_is_judged_by_a_leader_that_never_collected() -> None:
    world = written(5)
    victim, leader = world.follower(), world.leader()
    victim.crash()
    world.check()
    leader.crash()
    assert world.leader() is not leader
    tamper(victim)
    victim.start()
    world.tick(LONG)
    world.tick(LONG)
    assert b"tampered" not in victim.content
    assert victim.mark is None


def test_what_was_hashed_before_an_install_is_not_held_against_what_came_with_it() -> None:
    world = written()
    victim, leader = world.follower(), world.leader()
    tamper(victim)
    world.check()
    first = victim.mark
    assert first is not None
    compared = victim.replica.equality
    later = LogPosition(victim.applied.index + 10, 1)
    compared.hashed(later, b"of the old state")
    compared.installed(first.index)
    compared.receive(verdict(leader, victim, later, b"right"))
    assert victim.mark is not None
    assert victim.mark.rebuilt_index == first.index


def test_a_snapshot_older_than_the_finding_rebuilds_nothing() -> None:
    world = written()
    victim = world.follower()
    tamper(victim)
    world.check()
    mark = victim.mark
    assert mark is not None
    victim.replica.equality.installed(mark.index - 1)
    assert victim.mark == mark


def test_the_snapshot_asked_for_is_one_that_the_log_follows_on() -> None:
    world = written()
    victim = world.follower()
    world.leader().transfers.requested = lambda *_: []  # type: ignore[method-assign]
    tamper(victim)
    world.check()
    world.write(b"four", b"five")
    victim.replica.compact(victim.applied.index, 0)
    base = victim.replica.raft.base
    assert victim.mark is not None
    assert base.index > victim.mark.index
    # Offered before it asked for a later one, an older one is not taken.
    sent = File(victim.mark.index, 1, [b"one"])
    offer = SnapshotOffer(
        sender=world.leader().name,
        receiver=victim.name,
        term=victim.replica.raft.term,
        transfer=99,
        index=sent.index,
        snapshot_term=1,
        size=sent.size,
        digest=sent.digest,
        voters=tuple(world.nodes),
        outgoing=(),
        learners=(),
    )
    (answer,) = victim.transfers.receive(offer, victim.replica.raft)
    assert isinstance(answer, SnapshotDone)
    assert not answer.installed
    asked = []
    for _ in range(ASK_TICKS + 1):
        asked += victim.replica.equality.tick()
    assert [message.index for message in asked if isinstance(message, RebuildRequest)] == [
        base.index
    ]


def test_no_snapshot_is_taken_that_would_be_too_old() -> None:
    world = written()
    victim, leader = world.follower(), world.leader()
    for ahead, taken in ((5, 0), (0, 1)):
        leader.replica.equality.receive(
            RebuildRequest(
                sender=victim.name,
                receiver=leader.name,
                term=leader.replica.raft.term,
                index=leader.applied.index + ahead,
            )
        )
        assert leader.jobs.count("take") == taken


def test_a_report_about_no_entry_is_dropped() -> None:
    world = written()
    victim, leader = world.follower(), world.leader()
    position = world.check()
    for number in range(20):
        leader.replica.equality.receive(
            ChecksumReport(
                sender=victim.name,
                receiver=leader.name,
                term=leader.replica.raft.term,
                index=leader.applied.index + 100 + number,
                entry_term=1,
                digest=b"made up",
            )
        )
    assert set(findings(world, position).values()) == {Finding.EQUAL}


def test_a_verdict_of_somebody_who_does_not_lead_counts_for_nothing() -> None:
    world = written()
    victim = world.follower()
    (other,) = {*world.live()} - {victim, world.leader()}
    position = world.check()
    victim.replica.equality.receive(verdict(other, victim, position, b"nonsense"))
    assert victim.mark is None


def verdict(sender: Node, receiver: Node, position: LogPosition, right: bytes) -> ChecksumVerdict:
    return ChecksumVerdict(
        sender=sender.name,
        receiver=receiver.name,
        term=receiver.replica.raft.term,
        index=position.index,
        entry_term=position.term,
        digest=right,
    )


def test_a_rebuild_does_not_wait_for_a_leader_that_died_in_it() -> None:
    world = written()
    victim, leader = world.follower(), world.leader()
    tamper(victim)
    world.check()
    while not victim.transfers.receiving:
        for node in world.live():
            node.replica.tick()
            node.round()
        world.network, batch = [], world.network
        for _, receiver, data in batch:
            world.nodes[receiver].replica.receive(data)
    leader.crash()
    world.network.clear()
    assert world.leader() is not leader
    world.tick(2 * ASK_TICKS)
    assert victim.mark is None or victim.mark.rebuilt_index
    world.tick(LONG)
    assert victim.mark is None


@pytest.mark.parametrize("leads", [False, True])
@pytest.mark.parametrize("restarts", [False, True])
def test_a_state_that_cannot_be_read_is_rebuilt_with_what_was_passed_over(
    leads: bool, restarts: bool
) -> None:
    world = written()
    victim = world.leader() if leads else world.follower()
    victim.damaged = True
    applied = victim.applied.index
    world.write(b"four")
    assert victim.mark is not None
    assert victim.mark.damage == "the file is malformed"
    assert victim.mark.index == applied
    assert not victim.serves
    world.write(b"five")
    if restarts:
        victim.crash()
        world.network.clear()
        victim.start()
    world.tick(LONG)
    assert world.leader() is not victim or not leads
    assert victim.mark is None
    assert all_equal(world)
    assert victim.content[-2:] == [b"four", b"five"]


def test_a_state_damaged_again_after_its_rebuild_is_rebuilt_again() -> None:
    world = written()
    victim = world.follower()
    victim.damaged = True
    world.write(b"four")
    while victim.mark is None or not victim.mark.rebuilt_index:
        world.tick()
    rebuilt_index = victim.mark.rebuilt_index
    victim.damaged = True
    world.write(b"five")
    assert victim.mark.rebuilt_index == 0
    assert victim.mark.index >= rebuilt_index
    world.tick(LONG)
    assert victim.mark is None
    assert all_equal(world)


@pytest.mark.parametrize("damaged", [False, True])
@pytest.mark.parametrize("seed", range(25))
def test_whatever_the_network_does_the_victim_is_found_and_rebuilt(
    seed: int, damaged: bool
) -> None:
    """Loss, delay, doubling and crashes while replicas are checked, written to and wrong."""
    rng = random.Random(seed)
    world = written(5 if seed % 2 else 3, interval_ticks=200, seed=seed)
    names = sorted(world.nodes)
    victims = rng.sample(names, 1 if len(names) == 3 else 2)
    for name in victims:
        if damaged:
            world.nodes[name].damaged = True
        else:
            tamper(world.nodes[name])
    waiting: list[tuple[str, str, bytes]] = []
    down: dict[str, int] = {}
    led_before: set[str] = set()
    waited_long: set[str] = set()
    for step in range(3_000):
        for node in world.live():
            node.replica.tick()
            node.round()
            leads = node.replica.raft.role is Role.LEADER
            if node.mark is not None and leads:
                assert node.name in led_before | waited_long, (
                    "a quarantined node comes to lead as a last resort only"
                )
            led_before = {*led_before, node.name} if leads else led_before - {node.name}
            waits = node.replica.raft.long_without_leader
            waited_long = {*waited_long, node.name} if waits else waited_long - {node.name}
        waiting += world.network
        world.network = []
        rng.shuffle(waiting)
        for _ in range(rng.randrange(len(waiting) + 1)):
            _, receiver, data = waiting.pop()
            node = world.nodes[receiver]
            if not node.up or rng.random() < 0.1:
                continue
            node.replica.receive(data)
            if rng.random() < 0.1:
                node.replica.receive(data)
        if step % 40 == 0:
            for node in world.live():
                node.replica.raft.propose(b"%d" % step)
        if not down and rng.random() < 0.003:
            name = rng.choice(names)
            world.nodes[name].crash()
            down[name] = step + rng.randrange(1, 300)
        for name, until in list(down.items()):
            if until <= step:
                world.nodes[name].start()
                del down[name]
    for name in down:
        world.nodes[name].start()
    world.network = waiting
    world.settle()
    world.tick(1_500)
    assert all(node.mark is None for node in world.live())
    assert all_equal(world)
    assert all(b"tampered" not in node.content for node in world.live())
