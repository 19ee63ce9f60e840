"""Leader election rule by rule (thesis 3.3, 3.4, 3.6.1, 4.2.3, 9.6)."""

from __future__ import annotations

from collections import Counter
from itertools import product

import pytest

from raftzmq.raft import membership
from raftzmq.raft.messages import (
    AppendResponse,
    HeartbeatResponse,
    PreVoteRequest,
    PreVoteResponse,
    TimeoutNow,
    VoteRequest,
    VoteResponse,
)
from raftzmq.raft.types import Configuration, HardState, Role, VoteCast
from tests.raft.lone import (
    ELECTION_TICKS,
    Lone,
    append,
    appended,
    heard,
    heartbeat,
    pre_vote,
    verdicts,
    vote,
    voted,
)


def test_3_3_higher_term_is_adopted_and_written_before_the_answer() -> None:
    """R2, for each kind of request that carries a term in force."""
    for message in (vote("n2", 5), append("n2", 5, (0, 0)), heartbeat("n2", 5)):
        lone = Lone(term=1)
        lone.raft.step(message)
        ready = lone.raft.ready()
        assert ready is not None
        assert ready.hard_state is not None
        assert ready.hard_state.term == 5
        assert not ready.messages_now
        assert [answer.term for answer in ready.messages_after_persist] == [5]


def test_3_3_candidates_and_leaders_step_down_for_a_higher_term() -> None:
    candidate, leader = Lone(), Lone()
    candidate.time_out()
    leader.lead()
    for lone in (candidate, leader):
        lone.step(heartbeat("n3", 9))
        assert (lone.raft.role, lone.raft.term, lone.raft.leader) == (Role.FOLLOWER, 9, "n3")


def test_3_3_old_requests_are_told_the_term_and_change_nothing() -> None:
    """R3: so that an old leader or candidate learns that it is one."""
    lone = Lone([1], term=5, vote="n2")
    answers = [
        *lone.step(append("n3", 4, (1, 1), [4])),
        *lone.step(heartbeat("n3", 4, commit=1)),
        *lone.step(vote("n3", 4, (9, 4))),
        *lone.step(pre_vote("n3", 4, (9, 4))),
    ]
    kinds = [AppendResponse, HeartbeatResponse, VoteResponse, PreVoteResponse]
    assert [type(answer) for answer in answers] == kinds
    assert {answer.term for answer in answers} == {5}
    assert (lone.raft.term, lone.raft.voted_for, lone.raft.leader) == (5, "n2", None)
    assert (lone.raft.last_position.index, lone.raft.commit_index) == (1, 0)


def test_3_3_old_responses_mean_nothing() -> None:
    """R3: a vote or an ack of an earlier term is not counted."""
    lone = Lone(term=3)
    lone.lead()
    lone.raft.propose(b"x")
    lone.drain()
    assert not lone.step(appended("n2", 3, 2))
    assert lone.raft.commit_index == 0
    assert not lone.step(voted("n2", 3, True))


def test_3_4_one_vote_per_term() -> None:
    """R4: first come, first served; the same candidate gets the same vote again."""
    lone = Lone()
    assert verdicts(lone.step(vote("n2", 1))) == [True]
    assert verdicts(lone.step(vote("n3", 1))) == [False]
    assert verdicts(lone.step(vote("n2", 1))) == [True]


def test_3_4_vote_is_written_before_it_is_sent() -> None:
    """R5: the host is told to write term and vote first, and a restart knows the vote."""
    lone = Lone()
    lone.raft.step(vote("n2", 1))
    ready = lone.raft.ready()
    assert ready is not None
    assert ready.hard_state == HardState(1, "n2")
    assert not ready.messages_now
    (answer,) = ready.messages_after_persist
    assert isinstance(answer, VoteResponse)
    assert answer.granted
    again = Lone(term=ready.hard_state.term, vote=ready.hard_state.voted_for)
    assert verdicts(again.step(vote("n3", 1))) == [False]


def test_3_4_own_vote_is_written_before_votes_are_asked_for() -> None:
    lone = Lone()
    lone.time_out()
    lone.raft.step(PreVoteResponse(sender="n2", receiver="n1", term=1, granted=True))
    ready = lone.raft.ready()
    assert ready is not None
    assert ready.hard_state == HardState(1, "n1")
    assert not ready.messages_now
    assert [type(m) for m in ready.messages_after_persist] == [VoteRequest, VoteRequest]


@pytest.mark.parametrize(("mine", "theirs"), list(product(range(3), repeat=2)))
def test_3_6_1_last_term_beats_length(mine: int, theirs: int) -> None:
    """R7: all nine comparisons of (lower, equal, higher) last term and length."""
    lone = Lone([1, 2, 2])  # last is 3@2
    candidate = (2 + theirs, 1 + mine)  # index 2..4, term 1..3
    (answer,) = lone.step(vote("n2", 3, candidate))
    assert isinstance(answer, VoteResponse)
    assert answer.granted == ((candidate[1], candidate[0]) >= (2, 3))


def test_3_4_timeouts_are_drawn_anew_for_each_attempt() -> None:
    """R9: spread over [election_ticks, 2 * election_ticks), and not the same twice for ever."""
    lone = Lone(seed=1)
    waits: Counter[int] = Counter()
    wait = 0
    for _ in range(3000):
        lone.raft.tick()
        wait += 1
        if any(isinstance(m, PreVoteRequest) for m in lone.drain()):
            waits[wait] += 1
            wait = 0
    assert set(waits) == set(range(ELECTION_TICKS, 2 * ELECTION_TICKS))
    assert max(waits.values()) < 3 * sum(waits.values()) / ELECTION_TICKS


def test_3_4_a_vote_that_was_lost_meanwhile_is_not_counted() -> None:
    """R10: votes, its own included, end with the candidacy."""
    lone = Lone()
    lone.time_out()
    lone.step(PreVoteResponse(sender="n2", receiver="n1", term=1, granted=True))
    role = lone.raft.role
    assert role is Role.CANDIDATE
    lone.step(heartbeat("n3", 1))
    lone.step(voted("n2", 1, True))
    assert lone.raft.role is Role.FOLLOWER
    lone.step(vote("n3", 2))
    lone.step(voted("n2", 2, True))
    assert lone.raft.role is Role.FOLLOWER


def test_3_4_votes_of_one_voter_count_once() -> None:
    configuration = Configuration(voters=frozenset(("n1", "n2", "n3", "n4", "n5")))
    lone = Lone(configuration=configuration)
    lone.time_out()
    for _ in range(3):
        lone.step(PreVoteResponse(sender="n2", receiver="n1", term=1, granted=True))
    role = lone.raft.role
    assert role is Role.PRE_CANDIDATE
    lone.step(PreVoteResponse(sender="n3", receiver="n1", term=1, granted=True))
    for _ in range(3):
        lone.step(voted("n2", 1, True))
    assert lone.raft.role is Role.CANDIDATE


def test_4_2_3_a_vote_request_is_not_even_seen_under_a_lease() -> None:
    """No term, no vote, no answer; after an election timeout without the leader, all three."""
    lone = Lone(term=1)
    lone.follow("n2", 1)
    assert not lone.step(vote("n3", 7, (9, 9)))
    assert lone.raft.term == 1
    lone.ticks(ELECTION_TICKS)
    (answer,) = [m for m in lone.step(vote("n3", 7, (9, 9))) if isinstance(m, VoteResponse)]
    assert answer.granted


def test_4_2_3_a_leader_is_not_deposed_by_a_vote_request() -> None:
    lone = Lone()
    lone.lead()
    assert not lone.step(vote("n3", 7, (9, 9)))
    assert lone.raft.role is Role.LEADER


def test_3_10_transfer_passes_the_lease() -> None:
    lone = Lone(term=1)
    lone.follow("n2", 1)
    (answer,) = lone.step(vote("n3", 2, transfer=True))
    assert isinstance(answer, VoteResponse)
    assert answer.granted


def test_9_6_pre_vote_changes_nothing() -> None:
    """R34: neither term nor vote; nothing is written."""
    lone = Lone([1])
    (answer,) = lone.step(pre_vote("n2", 8, (1, 1)))
    assert isinstance(answer, PreVoteResponse)
    assert (answer.granted, answer.term) == (True, 8)
    assert (lone.raft.term, lone.raft.voted_for) == (1, None)
    assert all(ready.hard_state is None for ready in lone.readies)


def test_9_6_refusals_say_why() -> None:
    lone = Lone([1, 1], term=1)
    lone.step(pre_vote("n2", 2, (1, 1)))
    lone.follow("n2", 1)
    lone.step(pre_vote("n3", 2, (2, 1)))
    reasons = [
        fact.why
        for ready in lone.readies
        for fact in ready.trace
        if isinstance(fact, VoteCast) and not fact.granted
    ]
    assert reasons == ["log is behind", "leader is alive"]


def test_9_6_pre_votes_of_another_attempt_do_not_count() -> None:
    lone = Lone(term=4)
    lone.time_out()
    lone.step(PreVoteResponse(sender="n2", receiver="n1", term=9, granted=True))
    assert lone.raft.role is Role.PRE_CANDIDATE


def test_9_6_without_the_last_vote_nothing_is_won() -> None:
    """A pre-vote of a quorum is needed: refusals end the attempt."""
    lone = Lone(term=1)
    lone.time_out()
    for peer in ("n2", "n3"):
        lone.step(PreVoteResponse(sender=peer, receiver="n1", term=1, granted=False))
    assert (lone.raft.role, lone.raft.term) == (Role.FOLLOWER, 1)


def test_3_10_timeout_now_only_from_the_own_leader() -> None:
    lone = Lone(term=1)
    lone.follow("n2", 1)
    assert not lone.step(TimeoutNow(sender="n3", receiver="n1", term=1))
    sent = lone.step(TimeoutNow(sender="n2", receiver="n1", term=1))
    assert [type(m) for m in sent] == [VoteRequest, VoteRequest]
    assert all(isinstance(m, VoteRequest) and m.transfer for m in sent)


def test_3_10_timeout_now_at_a_leader_does_nothing() -> None:
    """R40: who leads does not campaign."""
    lone = Lone()
    lone.lead()
    assert not lone.step(TimeoutNow(sender="n2", receiver="n1", term=lone.raft.term))
    assert lone.raft.role is Role.LEADER


def test_a_configuration_without_the_target_ends_the_transfer() -> None:
    """R51: whoever is no voter any more could not take over, and proposals must not wait for it."""
    lone = Lone()
    lone.lead()
    assert lone.raft.transfer_leadership("n3")
    assert lone.raft.propose_refusal() == "transfer"
    demoted = Configuration(voters=frozenset(("n1", "n2")), learners=frozenset(("n3",)))
    membership.adopt(lone.raft._state, demoted)
    assert lone.raft.propose_refusal() is None
    assert not lone.raft.transfer_leadership("n3")


def test_4_2_1_learners_vote_but_never_campaign() -> None:
    """R42: the asking node may know a newer configuration, in which this one votes."""
    configuration = Configuration(voters=frozenset(("n2", "n3")), learners=frozenset(("n1",)))
    lone = Lone(configuration=configuration)
    assert not lone.ticks(10 * ELECTION_TICKS)
    assert verdicts(lone.step(vote("n2", 1))) == [True]
    lone.follow("n2", 1)
    assert not lone.step(TimeoutNow(sender="n2", receiver="n1", term=1))
    lone.raft.peer_lost("n2")
    assert not lone.ticks(10 * ELECTION_TICKS)


def test_6_2_check_quorum_asks_for_news_within_an_election_timeout() -> None:
    """R37: one follower of two is enough, a follower of ten ticks ago is not."""
    lone = Lone()
    lone.lead()
    for _ in range(5):
        lone.ticks(ELECTION_TICKS - 1)
        assert lone.raft.role is Role.LEADER
        lone.step(heard("n2", 1))
    lone.ticks(ELECTION_TICKS)
    assert (lone.raft.role, lone.raft.leader, lone.raft.term) == (Role.FOLLOWER, None, 1)


def test_leader_lost_starts_pre_vote_within_few_ticks() -> None:
    """However the dice fall: at most leader_lost_ticks_max."""
    seen = set()
    for seed in range(30):
        lone = Lone(term=1, seed=seed)
        lone.follow("n2", 1)
        lone.raft.peer_lost("n2")
        assert not lone.raft.has_leader_lease()
        for tick in range(1, 4):
            if any(isinstance(m, PreVoteRequest) for m in lone.ticks(1)):
                seen.add(tick)
                break
        else:
            pytest.fail("no pre-vote within three ticks")
    assert seen == {1, 2, 3}


def test_another_peer_lost_means_nothing_to_a_follower() -> None:
    lone = Lone(term=1)
    lone.follow("n2", 1)
    lone.raft.peer_lost("n3")
    assert lone.raft.has_leader_lease()
    assert not lone.ticks(4)


def test_a_lease_returns_with_the_leader_after_a_while() -> None:
    """What arrives right after the break may be left over; what comes later is alive."""
    lone = Lone(term=1)
    lone.follow("n2", 1)
    lone.raft.peer_lost("n2")
    lone.step(heartbeat("n2", 1))
    assert not lone.raft.has_leader_lease()
    lone.ticks(4)
    lone.step(heartbeat("n2", 1))
    assert lone.raft.has_leader_lease()
    assert not lone.ticks(ELECTION_TICKS - 1)


def test_haste_ends() -> None:
    """A leader lost for good: beyond an election timeout the ordinary pace returns."""
    lone = Lone(term=1)
    lone.follow("n2", 1)
    lone.raft.peer_lost("n2")
    lone.ticks(ELECTION_TICKS)
    attempts = [m for m in lone.ticks(4 * ELECTION_TICKS) if isinstance(m, PreVoteRequest)]
    assert len(attempts) <= 2 * 5


def test_a_node_that_shall_not_be_elected_votes_and_never_stands() -> None:
    lone = Lone([1])
    lone.raft.set_electable(False, "test")
    assert lone.ticks(5 * ELECTION_TICKS) == []
    assert lone.raft.role is Role.FOLLOWER
    lone.follow("n2", 2)
    assert lone.step(TimeoutNow(sender="n2", receiver="n1", term=2)) == []
    assert verdicts(lone.step(vote("n3", 3, (9, 2), transfer=True))) == [True]
    lone.raft.set_electable(True, "test")
    assert any(isinstance(message, PreVoteRequest) for message in lone.time_out())
