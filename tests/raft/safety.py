"""The safety properties of Raft (thesis figure 3.2) and of its reads, checked after each event.

``Safety`` sees every node after each event that happened at it and remembers what was true
once and must stay true.
"""

from __future__ import annotations

from raftzmq.raft.types import Entry, NodeId, Role
from tests.raft.cluster import Cluster, Node


class Safety:
    """Everything that was ever decided, by whomever.

    Raises AssertionError, naming the property, as soon as a node contradicts it.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        cluster.forgot = self.forgot
        self.leaders: dict[int, NodeId] = {}
        self.entries: dict[tuple[int, int], tuple[int | None, Entry]] = {}
        self.committed: list[Entry] = []
        self.committed_by: list[int] = []
        """Per committed entry: the lowest term of a node that knew of it."""
        self.logs: dict[NodeId, tuple[int, bool, int, list[Entry]]] = {}
        self.commits: dict[NodeId, tuple[int, int]] = {}
        self.votes: dict[tuple[NodeId, int], NodeId | None] = {}
        self.terms: dict[NodeId, int] = {}
        self.applied: dict[NodeId, int] = {}
        self.reads: dict[int, tuple[NodeId, int]] = {}
        self.reads_done = 0
        self.seen_outcomes: dict[NodeId, int] = {}

    def read_began(self, name: NodeId, context: int) -> None:
        """Everything committed so far must be seen by this read, which begins at ``name``."""
        self.reads[context] = (name, len(self.committed))

    def forgot(self, name: NodeId) -> None:
        """The disk of ``name`` is not the one it was: term and votes may fall, this once."""
        self.terms.pop(name, None)
        for place in [place for place in self.votes if place[0] == name]:
            del self.votes[place]

    def check(self, node: Node) -> None:
        """Check what the latest event changed at ``node``."""
        self._durable(node)
        if node.raft is None:
            self.logs.pop(node.name, None)
            self.commits.pop(node.name, None)
            self.applied.pop(node.name, None)
            for context in [c for c, (name, _) in self.reads.items() if name == node.name]:
                del self.reads[context]
            return
        self._cursors(node)
        self._log(node)
        self._commit(node)
        self._leader(node)
        self._applied(node)
        self._reads(node)

    def _durable(self, node: Node) -> None:
        term, vote = node.disk.hard_state
        assert term >= self.terms.get(node.name, 0), "term never falls"
        self.terms[node.name] = term
        before = self.votes.get((node.name, term))
        assert before is None or before == vote, "one vote per term"
        self.votes[node.name, term] = vote

    def _cursors(self, node: Node) -> None:
        state = node.live._state
        base, last = state.log.base.index, state.log.last_index
        assert base <= state.committed_given <= state.commit_index <= last, "order of cursors"
        assert base <= state.stable_index <= state.entries_given <= last, "order of cursors"
        for progress in state.progress.values():
            assert progress.match_index < progress.next_index <= last + 1, "order of progress"
            sizes = sum(size for _, size in progress.inflight)
            assert sizes == progress.inflight_bytes, "the window adds up"

    def _log(self, node: Node) -> None:
        raft = node.live
        log = node.log()
        base = raft.base
        is_leader = raft.role is Role.LEADER
        term, was_leader, old_base, old = self.logs.get(node.name, (0, False, 0, []))
        if is_leader and was_leader and term == raft.term:
            kept = old[base.index - old_base :]
            assert log[: len(kept)] == kept, "leader append-only"
        if not (old_base == base.index and log == old):
            previous: int | None = base.term
            for entry in log:
                place = (entry.index, entry.term)
                known = self.entries.setdefault(place, (previous, entry))
                assert known == (previous, entry), "log matching"
                previous = entry.term
        self.logs[node.name] = (raft.term, is_leader, base.index, log)

    def _commit(self, node: Node) -> None:
        raft = node.live
        _, before = self.commits.get(node.name, (0, 0))
        commit = raft.commit_index
        assert commit >= before, "commit_index never falls"
        self.commits[node.name] = (raft.term, commit)
        base = raft.base.index
        log = self.logs[node.name][3]
        for index in range(max(before, base) + 1, commit + 1):
            entry = log[index - base - 1]
            if index <= len(self.committed):
                assert self.committed[index - 1] == entry, "state machine safety (commit)"
                known = self.committed_by[index - 1]
                self.committed_by[index - 1] = min(known, raft.term)
                continue
            assert index == len(self.committed) + 1, "commits come from somebody who counted"
            assert raft.role is Role.LEADER, "a leader commits first"
            self._on_quorum(entry)
            self.committed.append(entry)
            self.committed_by.append(raft.term)

    def _on_quorum(self, entry: Entry) -> None:
        configuration = next(iter(self.cluster.nodes.values())).config.configuration
        for half in (configuration.voters, configuration.outgoing):
            holders = [name for name in half if _may_have_promised(self.cluster.nodes[name], entry)]
            assert 2 * len(holders) > len(half) or not half, "committed means on a quorum's disks"

    def _leader(self, node: Node) -> None:
        raft = node.live
        if raft.role is not Role.LEADER:
            return
        known = self.leaders.setdefault(raft.term, node.name)
        assert known == node.name, f"election safety: {known} and {node.name} in t{raft.term}"
        base = raft.base.index
        log = self.logs[node.name][3]
        for place in range(len(self.committed) - 1, base - 1, -1):
            if self.committed_by[place] > raft.term:
                continue
            held = log[place - base] if place - base < len(log) else None
            assert held == self.committed[place], "leader completeness"
            break  # log matching covers all before it

    def _applied(self, node: Node) -> None:
        done = self.applied.get(node.name, 0)
        assert len(node.applied) <= node.live.commit_index, "only committed entries are applied"
        for entry in node.applied[done:]:
            assert self.committed[entry.index - 1] == entry, "state machine safety (apply)"
        self.applied[node.name] = len(node.applied)

    def _reads(self, node: Node) -> None:
        done = self.seen_outcomes.get(node.name, 0)
        for outcome in node.outcomes[done:]:
            began = self.reads.pop(outcome.context, None)
            assert began is not None, "a read has one outcome"
            floor = began[1]
            if outcome.index is not None:
                assert outcome.index >= floor, f"stale read: {outcome.index} < {floor}"
                self.reads_done += 1
        self.seen_outcomes[node.name] = len(node.outcomes)


def _may_have_promised(node: Node, entry: Entry) -> bool:
    """Whether the node made the entry durable while its acknowledgement counted.

    One that it gave before it lost its disk counts, even if it arrives only now.
    """
    disks = node.lost_disks if node.disk.recovering else [*node.lost_disks, node.disk]
    return any(disk.holds(entry.index, entry.term) for disk in disks)
