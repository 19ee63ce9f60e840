"""The log is kept for who takes a snapshot: compaction does not outrun the transfer."""

from __future__ import annotations

from raftzmq.raft.progress import Flow
from raftzmq.replica import retention
from raftzmq.replica.transfer import GIVE_UP_TICKS
from tests.replica.equality_world import File, World

LONG = 300
PLENTY = 1 << 30


class SlowCopy:
    """A leader whose copy of the state takes as long as the test likes.

    n3 was away, and the log was compacted beyond it.
    """

    def __init__(self) -> None:
        self.world = World()
        self.leader = self.world.leader()
        self.away = self.world.follower()
        self.world.write(b"one", b"two")
        self.world.cut.add(self.away.name)
        self.world.write(b"three", b"four")
        self.compact()
        self.copies: list[File] = []
        self.taken: list[File] = []
        self.leader.take = self.begin  # type: ignore[method-assign]
        self.world.cut.clear()
        self.until(lambda: self.copies)

    def begin(self) -> None:
        node = self.leader
        self.copies.append(File(node.applied.index, node.applied.term, list(node.content)))

    def end(self) -> None:
        """The copy that runs is finished."""
        self.taken.append(self.copies[-1])
        self.leader.replica.snapshot_taken(self.copies[-1])

    def until(self, holds) -> None:  # type: ignore[no-untyped-def]
        for _ in range(LONG):
            if holds():
                return
            self.world.tick()
        raise AssertionError("it does not come about")

    def compact(self, hold_bytes_max: int = PLENTY) -> list[str]:
        return self.leader.replica.compact(self.leader.applied.index, 0, hold_bytes_max)

    def write(self, hold_bytes_max: int = PLENTY) -> list[str]:
        """Write, and compact at once: nothing is left but what is kept on purpose."""
        self.world.write(b"more")
        return self.compact(hold_bytes_max)

    def flow(self) -> Flow:
        return self.leader.replica.raft.progress()[self.away.name].flow


def caught_up(slow: SlowCopy) -> bool:
    return slow.away.content == slow.leader.content and slow.flow() is Flow.REPLICATE


def test_what_is_written_during_a_copy_is_kept_and_one_copy_is_enough() -> None:
    slow = SlowCopy()
    for _ in range(5):
        assert slow.write() == []
    slow.end()
    slow.until(lambda: caught_up(slow))
    assert len(slow.copies) == 1
    assert slow.away.content.count(b"more") == 5


def test_what_is_kept_is_on_disk_only() -> None:
    slow = SlowCopy()
    base = slow.leader.replica.raft.base
    for _ in range(5):
        slow.write()
    raft = slow.leader.replica.raft
    assert raft.base == base
    assert raft.log.front.index == slow.leader.applied.index
    assert raft.log_bytes == 0


def test_a_tail_of_the_log_is_enough_in_memory() -> None:
    world = World()
    leader = world.leader()
    world.write(b"one", b"two", b"three")
    leader.replica.bound_memory(0)
    raft = leader.replica.raft
    assert (raft.base.index, raft.log.front.index) == (0, leader.applied.index)
    assert raft.log_bytes == 0
    late = world.follower()
    late.crash()
    world.write(b"four")
    leader.replica.bound_memory(0)
    late.start()
    world.tick(LONG)
    assert late.content == leader.content


def test_what_is_not_committed_stays_in_memory() -> None:
    world = World()
    leader = world.leader()
    world.cut = set(world.nodes) - {leader.name}
    raft = leader.replica.raft
    raft.propose(b"one")
    leader.round()
    leader.replica.bound_memory(0)
    assert raft.log.front.index == raft.commit_index == raft.last_position.index - 1


def stopped_on_the_way() -> SlowCopy:
    """n3 has the snapshot, and takes none of the entries that follow."""
    slow = SlowCopy()
    slow.write()
    slow.away.replica.hold_back(True)
    slow.end()
    slow.until(lambda: slow.away.applied.index >= slow.copies[0].index)
    slow.until(lambda: slow.flow() is not Flow.SNAPSHOT)
    return slow


def test_the_log_is_kept_until_the_receiver_has_come_so_far() -> None:
    """Not only until it has the snapshot: what follows on it is as long as the transfer took."""
    slow = stopped_on_the_way()
    slow.write()
    assert slow.leader.replica.raft.base.index <= slow.copies[0].index
    slow.away.replica.hold_back(False)
    slow.until(lambda: caught_up(slow))
    assert len(slow.copies) == 1
    slow.world.tick()
    slow.compact()
    assert slow.leader.replica.raft.base.index == slow.leader.applied.index


def test_beyond_its_bound_the_log_is_compacted_and_a_newer_snapshot_sent() -> None:
    slow = SlowCopy()
    slow.write()
    assert slow.write(hold_bytes_max=0) == [slow.away.name]
    raft = slow.leader.replica.raft
    assert raft.base.index == slow.leader.applied.index
    assert slow.leader.transfers.retention.abandoned == {slow.away.name}
    first = slow.copies[0]
    slow.end()
    assert first.removed
    assert len(slow.copies) == 2
    slow.end()
    slow.until(lambda: caught_up(slow))
    slow.world.tick()
    assert slow.leader.transfers.retention.abandoned == frozenset()


def test_a_snapshot_that_was_outrun_is_not_sent_to_its_end() -> None:
    slow = SlowCopy()
    slow.write()
    slow.world.cut.add(slow.away.name)
    slow.end()
    assert slow.write(hold_bytes_max=0) == [slow.away.name]
    assert slow.copies[0].removed
    assert len(slow.copies) == 2


def test_nothing_is_kept_for_who_does_not_come() -> None:
    slow = SlowCopy()
    slow.end()
    slow.world.cut.add(slow.away.name)
    slow.world.tick(GIVE_UP_TICKS)
    slow.write()
    raft = slow.leader.replica.raft
    assert raft.base.index == slow.leader.applied.index


def test_nothing_is_kept_for_who_stops_on_the_way() -> None:
    slow = stopped_on_the_way()
    slow.world.tick(retention.IDLE_TICKS_MAX + 1)
    slow.compact()
    assert slow.leader.replica.raft.base.index == slow.leader.applied.index


def test_who_no_longer_leads_keeps_nothing() -> None:
    slow = SlowCopy()
    slow.write()
    old = slow.leader
    slow.world.cut.add(old.name)
    slow.world.tick(LONG)
    slow.world.cut.clear()
    slow.world.tick(LONG)
    assert not old.replica.is_leader
    goal = old.applied.index
    assert old.transfers.retention.least_index(goal) == goal
