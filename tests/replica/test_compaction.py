"""The log forgets only what state.db holds durably, and keeps a tail."""

from raftzmq.raft.types import Entry, EntryKind
from raftzmq.replica.compaction import LogSize


def filled(count: int, size_bytes: int) -> LogSize:
    log = LogSize()
    data = b"x" * (size_bytes - 64)
    log.committed(Entry(index, 1, EntryKind.COMMAND, data) for index in range(1, count + 1))
    return log


def test_never_beyond_the_durable_index() -> None:
    assert filled(100, 1000).compaction_index(durable_index=30, keep_bytes=0) == 30


def test_leaves_a_tail_for_followers_that_are_a_little_behind() -> None:
    assert filled(100, 1000).compaction_index(durable_index=100, keep_bytes=20_000) == 80


def test_nothing_to_forget_when_all_is_tail() -> None:
    assert filled(10, 1000).compaction_index(durable_index=10, keep_bytes=1 << 20) == 0


def test_held_bytes_shrink_with_compaction() -> None:
    log = filled(100, 1000)
    before = log.held_bytes()
    log.compacted(90)
    assert log.held_bytes() < before // 9


def test_entries_that_are_handed_out_again_count_once() -> None:
    log = filled(100, 1000)
    before = log.total_bytes
    log.committed(Entry(index, 1, EntryKind.COMMAND, b"x" * 936) for index in range(50, 111))
    assert log.total_bytes == before + 10_000
    assert log.compaction_index(durable_index=105, keep_bytes=0) == 105
