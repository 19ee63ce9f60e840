"""The log against a dictionary that does everything the slow way."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from raftzmq.invariants import InvariantBroken
from raftzmq.raft.log import ENTRY_MEMORY_BYTES, ENTRY_OVERHEAD_BYTES, Log
from raftzmq.raft.types import Entry, EntryKind, LogPosition


def entry(index: int, term: int, size: int = 1) -> Entry:
    return Entry(index, term, EntryKind.COMMAND, b"x" * size)


def log_of(terms: list[int], base: LogPosition | None = None) -> Log:
    base = base or LogPosition(0, 0)
    return Log(base, [entry(base.index + i, term) for i, term in enumerate(terms, start=1)])


class LogAgainstTwin(RuleBasedStateMachine):
    """Random operations on both, then every question asked of both."""

    def __init__(self) -> None:
        super().__init__()
        self.log = Log(LogPosition(0, 0), (), self.read_back)
        self.front = 0
        self.twin: dict[int, Entry] = {}
        self.base = LogPosition(0, 0)

    @property
    def last(self) -> int:
        return max(self.twin, default=self.base.index)

    def term(self, index: int) -> int | None:
        if index == self.base.index:
            return self.base.term
        return self.twin[index].term if index in self.twin else None

    def read_back(self, first: int, last: int, bytes_max: int) -> list[Entry]:
        """The disk holds every entry; what is in memory is not to be asked for there."""
        assert self.base.index < first <= last <= self.front
        found: list[Entry] = []
        size = 0
        for index in range(first, last + 1):
            size += len(self.twin[index].data) + ENTRY_OVERHEAD_BYTES
            if found and size > bytes_max:
                break
            found.append(self.twin[index])
        return found

    @rule(steps=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 50)), max_size=5))
    def append(self, steps: list[tuple[int, int]]) -> None:
        index, term = self.last, self.term(self.last) or 0
        entries = []
        for step, size in steps:
            index, term = index + 1, term + step
            entries.append(entry(index, term, size))
            self.twin[index] = entries[-1]
        self.log.append(entries)

    @precondition(lambda self: self.twin)
    @rule(data=st.data())
    def truncate(self, data: st.DataObject) -> None:
        first = data.draw(st.integers(self.front + 1, self.last + 1))
        self.log.truncate(first)
        self.twin = {index: e for index, e in self.twin.items() if index < first}

    @precondition(lambda self: self.twin)
    @rule(data=st.data())
    def compact(self, data: st.DataObject) -> None:
        index = data.draw(st.integers(0, self.last))
        self.log.compact(index)
        if index > self.base.index:
            self.base = LogPosition(index, self.twin[index].term)
            self.twin = {i: e for i, e in self.twin.items() if i > index}
            self.front = max(self.front, index)

    @precondition(lambda self: self.twin)
    @rule(data=st.data())
    def shed(self, data: st.DataObject) -> None:
        index = data.draw(st.integers(0, self.last))
        self.log.shed(index)
        self.front = max(self.front, index)

    @rule(bytes_max=st.integers(0, 400))
    def surplus(self, bytes_max: int) -> None:
        held = [e for i, e in self.twin.items() if i > self.front]
        size = sum(len(e.data) + ENTRY_OVERHEAD_BYTES for e in held)
        entries_max = bytes_max // ENTRY_MEMORY_BYTES
        much = size > bytes_max + bytes_max // 4 or len(held) > entries_max + entries_max // 4
        while much and (size > bytes_max or len(held) > entries_max):
            size -= len(held.pop(0).data) + ENTRY_OVERHEAD_BYTES
        assert self.log.surplus(bytes_max) == (self.last - len(held) if much else 0)

    @rule(ahead=st.integers(0, 5))
    def reset(self, ahead: int) -> None:
        self.base = LogPosition(self.last + ahead, (self.term(self.last) or 0) + 1)
        self.twin = {}
        self.front = self.base.index
        self.log.reset(self.base)

    @invariant()
    def same_answers(self) -> None:
        log, last = self.log, self.last
        assert (log.base, log.last_index) == (self.base, last)
        assert log.front == LogPosition(self.front, self.term(self.front) or 0)
        assert log.last_position == LogPosition(last, self.term(last) or 0)
        places = range(max(0, self.base.index - 2), last + 3)
        assert [log.term_at(i) for i in places] == [self.term(i) for i in places]
        sizes = {i: len(e.data) + ENTRY_OVERHEAD_BYTES for i, e in self.twin.items()}
        assert log.size_bytes == sum(size for i, size in sizes.items() if i > self.front)
        for after in range(self.base.index, last + 1):
            assert log.between(after, last) == tuple(
                self.twin[i] for i in range(after + 1, last + 1)
            )
            if after >= self.front:
                assert log.bytes_between(after, last) == sum(
                    sizes[i] for i in range(after + 1, last + 1)
                )

    @rule(data=st.data(), bytes_max=st.integers(0, 300))
    def chunk(self, data: st.DataObject, bytes_max: int) -> None:
        first = data.draw(st.integers(self.base.index + 1, self.last + 1))
        expected: list[Entry] = []
        size = 0
        for index in range(first, (self.front if first <= self.front else self.last) + 1):
            size += len(self.twin[index].data) + ENTRY_OVERHEAD_BYTES
            if expected and size > bytes_max:
                break
            expected.append(self.twin[index])
        assert self.log.chunk(first, bytes_max) == tuple(expected)

    @rule(data=st.data(), term=st.integers(0, 30))
    def last_at_most(self, data: st.DataObject, term: int) -> None:
        index = data.draw(st.integers(0, self.last + 3))
        fitting = [
            i
            for i in range(self.base.index, min(index, self.last) + 1)
            if (self.term(i) or 0) <= term
        ]
        assert self.log.last_at_most(index, term) == max(fitting, default=None)


TestLogAgainstTwin = LogAgainstTwin.TestCase
TestLogAgainstTwin.settings = settings(
    max_examples=40, stateful_step_count=25, deadline=None, derandomize=True
)


def some_terms(size_max: int) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(1, 5), max_size=size_max).map(sorted)


@settings(deadline=None, derandomize=True)
@given(some_terms(12), some_terms(12), some_terms(6))
def test_back_up_finds_what_one_by_one_finds(
    common: list[int], ours: list[int], theirs: list[int]
) -> None:
    """The conflict-term exchange (R23) ends at the last agreed index, as the naive one does, in
    at most one rejection per term of either side's own part."""
    top = max(common, default=0)
    leader_terms = common + [top + 2 * term for term in ours]
    follower_terms = common + [top + 2 * term - 1 for term in theirs]
    leader, follower = log_of(leader_terms), log_of(follower_terms)
    naive = len(common)
    prev = leader.last_index
    rejections = 0
    while follower.term_at(prev) != leader.term_at(prev):
        term = leader.term_at(prev)
        assert term is not None
        hint = follower.last_at_most(prev, term)
        assert hint is not None
        hint_term = follower.term_at(hint)
        assert hint_term is not None
        agreed = leader.last_at_most(hint, hint_term)
        assert agreed is not None
        assert agreed < prev, "each exchange makes progress"
        prev = agreed
        rejections += 1
    assert prev == naive
    assert rejections <= len({*ours}) + len({*theirs}) + 1


def test_terms_never_fall() -> None:
    with pytest.raises(InvariantBroken):
        log_of([2, 1])


def test_indexes_have_no_gap() -> None:
    log = log_of([1])
    with pytest.raises(InvariantBroken):
        log.append([entry(3, 1)])


def test_what_is_compacted_is_gone() -> None:
    log = log_of([1, 1, 2])
    log.compact(2)
    with pytest.raises(InvariantBroken):
        log.between(1, 3)
    with pytest.raises(InvariantBroken):
        log.truncate(2)
