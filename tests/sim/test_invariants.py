"""Each invariant can fail: a cluster that breaks it is made up, and the right name is reported."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from raftzmq.checker.invariants import INVARIANTS, Entry, Invariants, NodeView, Violation
from raftzmq.checker.promises import Promises

VOTERS = ("n1", "n2", "n3")
Log = list[tuple[int, str]]


def everywhere(_name: str, _index: int, _term: int) -> bool:
    return True


def view(
    name: str,
    log: Log,
    *,
    term: int = 1,
    leads: bool = False,
    commit: int = 0,
    applied: int = 0,
    durable: int = 0,
    base: int = 0,
    life: int = 1,
    may_fall: bool = False,
) -> NodeView:
    """A node whose log has these (term, content) from index 1 on, of which ``base`` are cut."""

    def entry(index: int) -> Entry:
        return Entry(index, *log[index - 1])

    return NodeView(
        name,
        life,
        leads,
        term,
        commit,
        applied,
        may_fall,
        durable,
        (base, log[base - 1][0] if base else 0),
        (len(log), log[-1][0] if log else 0),
        entry,
    )


def told(found: Invariants, *views: NodeView) -> None:
    for each in views:
        found.node(each)


A: Log = [(1, "a"), (1, "b")]


def election_safety(found: Invariants) -> None:
    told(found, view("n1", A, leads=True), view("n2", A, leads=True))


def leader_append_only(found: Invariants) -> None:
    told(found, view("n1", A, term=2, leads=True))
    told(found, view("n1", [(1, "a"), (2, "c")], term=2, leads=True))


def log_matching(found: Invariants) -> None:
    told(found, view("n1", A), view("n2", [(1, "a"), (1, "x")]))


def log_matching_of_what_lies_before(found: Invariants) -> None:
    told(found, view("n1", [(1, "a"), (2, "b")], term=2))
    told(found, view("n2", [(2, "c"), (2, "b")], term=2))


def leader_completeness(found: Invariants) -> None:
    told(found, view("n1", A, leads=True, commit=2))
    told(found, view("n2", [(1, "a")], term=2, leads=True))


def leader_completeness_of_who_leads_already(found: Invariants) -> None:
    told(found, view("n2", [(1, "a")], term=2, leads=True))
    told(found, view("n1", A, leads=True, commit=2))


def state_machine_safety(found: Invariants) -> None:
    told(found, view("n1", A, leads=True, commit=2))
    told(found, view("n2", [(1, "a"), (2, "c")], term=2, commit=2))


def state_machine_safety_when_applied(found: Invariants) -> None:
    told(found, view("n1", A, leads=True, commit=2))
    found.applied("n2", Entry(2, 2, "c"), [], [])


def committed_on_a_quorum(found: Invariants) -> None:
    alone = Invariants(VOTERS, lambda name, index, term: name == "n1")
    told(alone, view("n1", A, leads=True, commit=2))


def term_monotone(found: Invariants) -> None:
    told(found, view("n1", A, term=3), view("n1", A, term=2))


def term_monotone_on_disk(found: Invariants) -> None:
    found.stored_term("n1", 3, 6)
    found.down("n1", 6)
    found.stored_term("n1", 2, 8)


def commit_monotone(found: Invariants) -> None:
    told(found, view("n1", A, commit=2), view("n1", A, commit=1))


def applied_monotone(found: Invariants) -> None:
    told(found, view("n1", A, commit=2, applied=2), view("n1", A, commit=2, applied=1))


def index_order(found: Invariants) -> None:
    told(found, view("n1", A, commit=2, applied=1, base=2))


def index_order_of_applied(found: Invariants) -> None:
    told(found, view("n1", A, commit=1, applied=2))


def one_vote_per_term(found: Invariants) -> None:
    found.vote_sent("n1", 2, "n2", (2, "n2"), 5)
    found.down("n1", 6)
    found.vote_sent("n1", 2, "n3", (2, "n3"), 5)


def one_vote_per_term_that_left_just_then(found: Invariants) -> None:
    found.vote_sent("n1", 2, "n2", (2, "n2"), 6)
    found.down("n1", 6)
    found.vote_sent("n1", 2, "n3", (2, "n3"), 7)


def persist_before_send_a_vote(found: Invariants) -> None:
    found.vote_sent("n1", 2, "n2", (2, ""), 5)


def persist_before_send_an_acknowledgement(found: Invariants) -> None:
    found.append_acknowledged("n1", 5, 4)


def persist_before_send_a_term(found: Invariants) -> None:
    found.term_sent("n1", 5, 4)


def acknowledged_is_committed(found: Invariants) -> None:
    told(found, view("n1", A, leads=True, commit=1))
    found.acknowledged(b"client", 1, 2)


def exactly_once(found: Invariants) -> None:
    found.applied("n1", Entry(1, 1, "a"), [], [(b"client", 1)])
    found.applied("n1", Entry(2, 1, "b"), [], [(b"client", 1)])


def exactly_once_as_told(found: Invariants) -> None:
    told(found, view("n1", A, leads=True, commit=2))
    found.applied("n1", Entry(1, 1, "a"), [], [(b"client", 1)])
    found.acknowledged(b"client", 1, 2)


def equal_results(found: Invariants) -> None:
    found.applied("n1", Entry(1, 1, "a"), [7], [])
    found.applied("n2", Entry(1, 1, "a"), [8], [])


def equal_content(found: Invariants) -> None:
    found.digest("n1", (4, 1), b"one")
    found.digest("n2", (4, 1), b"other")


def linearizable_read(_: Invariants) -> None:
    promises = Promises()
    promises.wrote("r", 0, 1, "c1")
    floor = promises.floor("r")
    promises.read("r", floor, 0, "c2")


def linearizable_read_of_a_write(_: Invariants) -> None:
    promises = Promises()
    promises.wrote("r", 0, 1, "c1")
    promises.wrote("r", promises.floor("r"), 1, "c2")


def session_read(_: Invariants) -> None:
    promises = Promises()
    promises.session_saw("c1", "r", 2)
    promises.session_read("c1", "r", 1)


def sound_after_crash(_: Invariants) -> None:
    raise Violation("sound-after-crash", "raised where a node starts, see test_world")


def honest_outcome(_: Invariants) -> None:
    promises = Promises()
    promises.refused("o1", "it was not executed")
    promises.judge(["o1"], "here")


def transaction_atomic(_: Invariants) -> None:
    Promises().whole(False, "two halves", {"half": 1})


def no_write_lost(_: Invariants) -> None:
    promises = Promises()
    promises.acknowledged("o1")
    promises.judge(["o2"], "here")


def exactly_once_in_the_end(_: Invariants) -> None:
    Promises().judge(["o1", "o1"], "here")


BROKEN: dict[Callable[[Invariants], None], str] = {
    election_safety: "election-safety",
    leader_append_only: "leader-append-only",
    log_matching: "log-matching",
    log_matching_of_what_lies_before: "log-matching",
    leader_completeness: "leader-completeness",
    leader_completeness_of_who_leads_already: "leader-completeness",
    state_machine_safety: "state-machine-safety",
    state_machine_safety_when_applied: "state-machine-safety",
    committed_on_a_quorum: "committed-on-a-quorum",
    term_monotone: "term-monotone",
    term_monotone_on_disk: "term-monotone",
    commit_monotone: "commit-monotone",
    applied_monotone: "applied-monotone",
    index_order: "index-order",
    index_order_of_applied: "index-order",
    one_vote_per_term: "one-vote-per-term",
    one_vote_per_term_that_left_just_then: "one-vote-per-term",
    persist_before_send_a_vote: "persist-before-send",
    persist_before_send_an_acknowledgement: "persist-before-send",
    persist_before_send_a_term: "persist-before-send",
    acknowledged_is_committed: "acknowledged-is-committed",
    exactly_once: "exactly-once",
    exactly_once_as_told: "exactly-once",
    exactly_once_in_the_end: "exactly-once",
    equal_results: "equal-results",
    equal_content: "equal-content",
    linearizable_read: "linearizable-read",
    linearizable_read_of_a_write: "linearizable-read",
    session_read: "session-read",
    sound_after_crash: "sound-after-crash",
    honest_outcome: "honest-outcome",
    transaction_atomic: "transaction-atomic",
    no_write_lost: "no-write-lost",
}


@pytest.mark.parametrize("breaks", BROKEN, ids=lambda breaks: breaks.__name__)
def test_a_broken_invariant_is_named(breaks: Callable[[Invariants], None]) -> None:
    with pytest.raises(Violation) as caught:
        breaks(Invariants(VOTERS, everywhere))
    assert caught.value.name == BROKEN[breaks]


def test_every_invariant_was_broken() -> None:
    assert set(BROKEN.values()) | {"linearizable-history"} == set(INVARIANTS)


def test_a_sound_cluster_breaks_none() -> None:
    found = Invariants(VOTERS, everywhere)
    told(found, view("n1", A, leads=True, commit=1, applied=1), view("n2", A, commit=1))
    told(found, view("n3", [(1, "a"), (2, "c")], term=2))
    # An uncommitted tail is overwritten, a log is cut, a node starts again.
    new: Log = [(1, "a"), (3, "d")]
    told(found, view("n2", new, term=3, leads=True, commit=1))
    told(found, view("n3", new, term=3, commit=1), view("n2", new, term=3, leads=True, commit=2))
    told(found, view("n3", new, term=3, commit=2, applied=2, durable=2, base=1))
    found.down("n3", 6)
    told(found, view("n3", new, term=3, commit=1, applied=1, base=1, durable=1, life=2))
    told(found, view("n3", new, term=3, commit=2, applied=2, base=1, durable=1, life=2))
    assert [entry.content for entry in found.committed] == ["a", "d"]


def test_a_vote_that_never_left_was_not_given() -> None:
    """The machine lost its power within the fsync, and the message would have left after it."""
    found = Invariants(VOTERS, everywhere)
    found.vote_sent("n1", 2, "n2", (2, "n2"), 7)
    found.vote_sent("n2", 2, "n2", (2, "n2"), 7)
    found.down("n1", 6)
    found.vote_sent("n1", 2, "n3", (2, "n3"), 9)
    with pytest.raises(Violation, match="n2 voted for n2 and n3"):
        found.vote_sent("n2", 2, "n3", (2, "n3"), 9)


def test_a_term_that_was_not_written_yet_may_be_lost() -> None:
    """The machine lost its power within the fsync of a slow disk (seed 1689)."""
    found = Invariants(VOTERS, everywhere)
    found.stored_term("n1", 1, 3)
    found.stored_term("n1", 2, 7)
    found.stored_term("n2", 2, 7)
    found.down("n1", 6)
    found.stored_term("n1", 1, 9)
    found.stored_term("n1", 2, 10)
    found.down("n1", 11)
    with pytest.raises(Violation, match="the disk of n1 went from 2 to 1"):
        found.stored_term("n1", 1, 12)
    with pytest.raises(Violation, match="the disk of n2 went from 2 to 1"):
        found.stored_term("n2", 1, 12)


def test_a_rebuilt_state_may_fall_and_a_lost_disk_may_forget() -> None:
    found = Invariants(VOTERS, everywhere)
    told(found, view("n1", A, commit=2, applied=2))
    told(found, view("n1", A, commit=2, applied=1, may_fall=True))
    found.vote_sent("n1", 2, "n2", (2, "n2"), 5)
    found.stored_term("n1", 2, 5)
    found.down("n1", 6)
    found.forgot("n1")
    found.vote_sent("n3", 4, "n2", (5, ""), 5)
    found.stored_term("n1", 1, 7)
    found.vote_sent("n1", 2, "n3", (2, "n3"), 5)
