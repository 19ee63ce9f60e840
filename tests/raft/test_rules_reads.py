"""ReadIndex rule by rule (thesis 6.4)."""

from __future__ import annotations

from dataclasses import replace

from raftzmq.raft.messages import HeartbeatRequest, ReadIndexRequest, ReadIndexResponse
from raftzmq.raft.types import Configuration, ReadState
from tests.raft.lone import (
    ELECTION_TICKS,
    Lone,
    append,
    appended,
    heard,
    heartbeat,
    read_request,
    vote,
)

FIVE = Configuration(voters=frozenset(("n1", "n2", "n3", "n4", "n5")))


def leader(configuration: Configuration | None = None) -> Lone:
    lone = Lone(configuration=configuration) if configuration else Lone()
    lone.lead()
    for peer in sorted(lone.raft.configuration.voters - {"n1"}):
        lone.step(appended(peer, 1, 1))
    assert lone.raft.commit_index == 1
    return lone


def answers(lone: Lone, request: ReadIndexRequest) -> list[tuple[str, int, int]]:
    return [
        (m.receiver, m.context, m.index)
        for m in lone.step(request)
        if isinstance(m, ReadIndexResponse)
    ]


def test_three_nodes_need_one_round_trip() -> None:
    assert answers(leader(), read_request("n2", 1, 77)) == [("n2", 77, 1)]


def test_five_nodes_need_one_more_confirmation() -> None:
    lone = leader(FIVE)
    assert answers(lone, read_request("n2", 1, 77)) == []
    sent = lone.step(heard("n3", 1, 1))
    assert [(m.receiver, m.index) for m in sent if isinstance(m, ReadIndexResponse)] == [("n2", 1)]


def test_the_asker_itself_confirms_only_its_own_reads() -> None:
    """n3 asked after n2's read began, but for n2 only a heartbeat's answer is counted."""
    lone = leader(FIVE)
    lone.raft.step(read_request("n2", 1, 1))
    lone.raft.step(read_request("n3", 1, 2))
    lone.raft.read_index(3)
    lone.drain()
    sent = lone.step(heard("n2", 1, 1))
    assert [(m.receiver, m.context) for m in sent if isinstance(m, ReadIndexResponse)] == [
        ("n3", 2)
    ]
    assert not lone.reads
    sent = lone.step(heard("n4", 1, 1))
    assert [(m.receiver, m.context) for m in sent if isinstance(m, ReadIndexResponse)] == [
        ("n2", 1)
    ]
    assert lone.reads == [ReadState(3, 1)]


def test_confirmation_must_be_younger_than_the_read() -> None:
    """R28: neither an answer to an earlier round nor one to no round at all."""
    lone = leader()
    lone.raft.read_index(1)
    lone.drain()
    lone.step(heard("n2", 1, 1))
    assert lone.reads == [ReadState(1, 1)]
    lone.raft.read_index(2)
    lone.drain()
    lone.step(heard("n2", 1, 1))
    lone.step(heard("n3", 1, 1))
    lone.step(heard("n3", 1, 0))
    assert lone.reads == [ReadState(1, 1)]
    lone.step(heard("n3", 1, 2))
    assert lone.reads == [ReadState(1, 1), ReadState(2, 1)]


def test_a_later_round_confirms_the_earlier_ones() -> None:
    """The answer to a lost round never comes; the regular heartbeats carry on."""
    lone = leader()
    lone.raft.read_index(1)
    lone.drain()
    lone.raft.read_index(2)
    lone.drain()
    assert {m.round for m in lone.ticks(2) if isinstance(m, HeartbeatRequest)} == {2}
    lone.step(heard("n2", 1, 2))
    assert lone.reads == [ReadState(1, 1), ReadState(2, 1)]


def test_answers_with_invented_rounds_confirm_nothing() -> None:
    """A round that was not begun yet cannot be confirmed in advance."""
    lone = leader(FIVE)
    lone.step(heard("n2", 1, 10**9))
    lone.raft.read_index(1)
    lone.drain()
    lone.step(heard("n3", 1, 1))
    assert not lone.reads
    lone.step(heard("n2", 1, 1))
    assert lone.reads == [ReadState(1, 1)]


def test_learners_confirm_nothing() -> None:
    configuration = Configuration(voters=frozenset(("n1", "n2", "n3")), learners=frozenset(("n4",)))
    lone = leader(configuration)
    assert answers(lone, read_request("n4", 1, 5)) == []
    lone.step(heard("n4", 1, 1))
    assert [m for m in lone.step(heard("n2", 1, 1)) if isinstance(m, ReadIndexResponse)]


def test_reads_wait_for_the_first_commit_of_the_term() -> None:
    """R27: the new leader may not know what its predecessors committed."""
    lone = Lone([1, 1], applied=1)
    lone.lead()
    assert answers(lone, read_request("n2", 2, 5)) == []
    lone.raft.read_index(6)
    lone.drain()
    sent = lone.step(appended("n3", 2, 3))
    assert [(m.receiver, m.index) for m in sent if isinstance(m, ReadIndexResponse)] == [("n2", 3)]
    lone.step(heard("n2", 2, 1))
    assert lone.reads == [ReadState(6, 3)]


def test_stepping_down_refuses_all() -> None:
    """R30: those that wait for a commit, for a round, and those not sent yet."""
    lone = Lone()
    lone.lead()
    lone.raft.read_index(1)
    lone.drain()
    lone.step(appended("n2", 1, 1))
    lone.raft.read_index(2)
    sent = lone.step(heartbeat("n3", 2))
    assert not [m for m in sent if isinstance(m, ReadIndexResponse)]
    assert {(state.context, state.index) for state in lone.reads} == {(1, None), (2, None)}
    lone.step(heard("n2", 1, 1))
    assert len(lone.reads) == 2


def test_old_and_foreign_requests_are_refused() -> None:
    lone = leader()
    assert answers(lone, read_request("n2", 0, 5)) == [("n2", 5, 0)]
    assert answers(lone, read_request("n9", 1, 5)) == [("n9", 5, 0)]
    follower = Lone(term=1)
    assert answers(follower, read_request("n2", 1, 5)) == [("n2", 5, 0)]


def asked(lone: Lone, context: int) -> ReadIndexRequest:
    lone.raft.read_index(context)
    (request,) = lone.drain()
    assert isinstance(request, ReadIndexRequest)
    return request


def response(request: ReadIndexRequest, index: int, *, sender: str = "n2") -> ReadIndexResponse:
    return ReadIndexResponse(
        sender=sender, receiver="n1", term=request.term, context=request.context, index=index
    )


def test_follower_takes_the_leaders_answer_once() -> None:
    lone = Lone(term=1)
    lone.follow("n2", 1)
    request = asked(lone, 5)
    lone.step(response(request, 9, sender="n3"))
    assert not lone.reads
    lone.step(response(request, 9))
    lone.step(response(request, 9))
    assert lone.reads == [ReadState(5, 9)]


def read_answered(lone: Lone, index: int, *, sender: str = "n2") -> None:
    """The host reads, and the leader answers ``index``."""
    lone.step(response(asked(lone, 5), index, sender=sender))
    assert lone.reads[-1] == ReadState(5, index or None)


def test_the_answer_commits_what_the_leader_has_committed() -> None:
    """The read is applied with the answer, and no more than the leader said."""
    lone = Lone(term=1)
    lone.step(append("n2", 1, (0, 0), [1, 1, 1]))
    read_answered(lone, 2)
    assert (lone.raft.commit_index, lone.applied) == (2, [1, 2])
    read_answered(lone, 1)
    read_answered(lone, 0)
    assert lone.raft.commit_index == 2
    read_answered(lone, 9)
    assert lone.raft.commit_index == 3, "what is not there yet cannot be committed"


def test_figure_3_1_the_answer_commits_no_unverified_tail() -> None:
    """Up to 2 the logs were found to agree; 3 and 4 may be anything."""
    lone = Lone([1, 1, 1, 1])
    lone.follow("n2", 2)
    read_answered(lone, 4)
    assert lone.raft.commit_index == 0, "a heartbeat compares no logs"
    lone.step(append("n2", 2, (3, 2), [2]))
    read_answered(lone, 4)
    assert lone.raft.commit_index == 0, "a rejected append matched nothing"
    lone.step(append("n2", 2, (1, 1), [1]))
    read_answered(lone, 4)
    assert lone.raft.commit_index == 2


def test_an_answer_that_is_not_awaited_commits_nothing() -> None:
    lone = Lone(term=1)
    lone.step(append("n2", 1, (0, 0), [1, 1]))
    request = asked(lone, 5)
    lone.step(response(request, 2, sender="n3"))
    lone.step(response(replace(request, context=request.context + 1), 2))
    assert lone.raft.commit_index == 0


def test_a_late_append_takes_back_no_agreement() -> None:
    lone = Lone(term=1)
    lone.step(append("n2", 1, (0, 0), [1, 1, 1]))
    lone.step(append("n2", 1, (0, 0), [1]))
    read_answered(lone, 3)
    assert lone.raft.commit_index == 3


def test_agreement_ends_with_the_term() -> None:
    """What equals the log of the old leader may be in the way of the new one's."""
    lone = Lone(term=1)
    lone.step(append("n2", 1, (0, 0), [1, 1, 1]))
    lone.step(heartbeat("n3", 2))
    read_answered(lone, 3, sender="n3")
    assert lone.raft.commit_index == 0
    lone.step(append("n3", 2, (1, 1)))
    read_answered(lone, 3, sender="n3")
    assert lone.raft.commit_index == 1


def test_follower_read_ends_with_the_term() -> None:
    """R31: an answer of the old term does not serve it any more."""
    lone = Lone(term=1)
    lone.follow("n2", 1)
    request = asked(lone, 5)
    lone.step(heartbeat("n3", 2))
    lone.step(response(request, 9))
    assert lone.reads == [ReadState(5, None)]


def test_follower_read_ends_when_it_votes() -> None:
    lone = Lone(term=1)
    lone.follow("n2", 1)
    asked(lone, 5)
    lone.step(vote("n3", 2, transfer=True))
    assert lone.reads == [ReadState(5, None)]


def test_follower_read_ends_after_an_election_timeout() -> None:
    lone = Lone(term=1)
    lone.follow("n2", 1)
    asked(lone, 5)
    for _ in range(ELECTION_TICKS - 1):
        lone.ticks(1)
        lone.step(heartbeat("n2", 1))
    assert not lone.reads
    lone.ticks(1)
    assert lone.reads == [ReadState(5, None)]


def test_follower_asks_again_for_an_answer_that_does_not_come() -> None:
    """A link that breaks for a moment loses what was under way, and nobody else notices."""
    lone = Lone(term=1)
    lone.follow("n2", 1)
    first = asked(lone, 5)
    repeats = []
    for _ in range(ELECTION_TICKS - 1):
        sent = [*lone.ticks(1), *lone.step(heartbeat("n2", 1))]
        repeats += [m for m in sent if isinstance(m, ReadIndexRequest)]
    assert repeats == [first, first], "every second heartbeat"
    lone.step(response(first, 1))
    lone.step(response(first, 9))
    assert lone.reads == [ReadState(5, 1)], "the first answer counts, once"


def test_contexts_of_an_earlier_life_mean_nothing() -> None:
    """The same context of the host, asked again after a restart, is another one on the wire."""
    first, second = Lone(term=1, seed=1), Lone(term=1, seed=2)
    for lone in (first, second):
        lone.follow("n2", 1)
    late = response(asked(first, 5), 1)
    asked(second, 5)
    second.step(late)
    assert not second.reads


def test_single_voter_answers_itself() -> None:
    lone = Lone(configuration=Configuration(voters=frozenset(("n1",))))
    lone.ticks(1)
    lone.raft.read_index(5)
    lone.drain()
    assert lone.reads == [ReadState(5, 1)]
