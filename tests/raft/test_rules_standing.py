"""What a node may do that is not known to its peers, or has forgotten what it promised."""

from __future__ import annotations

import pytest

from raftzmq.raft.messages import (
    AppendResponse,
    HeartbeatResponse,
    Message,
    ProofRequest,
    ProofResponse,
    ReadIndexRequest,
    TimeoutNow,
    VoteResponse,
)
from raftzmq.raft.types import Configuration, EntryKind, ReadState, Role, Standing
from tests.raft.lone import (
    ELECTION_TICKS,
    THREE,
    Lone,
    append,
    appended,
    heard,
    heartbeat,
    pre_vote,
    proof_is,
    proof_request,
    verdicts,
    vote,
)

WITHOUT = [Standing.UNKNOWN, Standing.RECOVERING]
ONE = Configuration(voters=frozenset(("n1",)))
FIVE = Configuration(voters=frozenset(("n1", "n2", "n3", "n4", "n5")))


def bindings(messages: list[Message]) -> list[bool]:
    return [m.binding for m in messages if isinstance(m, AppendResponse | HeartbeatResponse)]


def is_member(lone: Lone) -> bool:
    return lone.raft.standing is Standing.MEMBER


def recovering(*, term: int = 3) -> Lone:
    """It follows n2, holds one entry of it, and has not asked for a proof yet."""
    lone = Lone(standing=Standing.RECOVERING)
    lone.step(append("n2", term, (0, 0), [term], commit=1))
    return lone


def ask(lone: Lone) -> int:
    """The context of the request for a proof that is due within a heartbeat interval."""
    (request,) = [m for m in lone.ticks(2) if isinstance(m, ProofRequest)]
    assert request.receiver == lone.raft.leader
    return request.context


# --- no promises ------------------------------------------------------------------------------


@pytest.mark.parametrize("standing", WITHOUT)
def test_without_standing_nobody_gets_a_vote(standing: Standing) -> None:
    lone = Lone(standing=standing)
    assert verdicts(lone.step(pre_vote("n2", 5, (9, 4)))) == [False]
    assert verdicts(lone.step(vote("n2", 5, (9, 4)))) == [False]
    assert (lone.raft.term, lone.raft.voted_for) == (5, None)


@pytest.mark.parametrize("standing", WITHOUT)
def test_not_even_who_has_the_vote_by_the_disk_gets_it_again(standing: Standing) -> None:
    lone = Lone(term=5, vote="n2", standing=standing)
    assert verdicts(lone.step(vote("n2", 5, (9, 4)))) == [False]


@pytest.mark.parametrize("standing", WITHOUT)
@pytest.mark.parametrize("alone", [False, True])
def test_without_standing_nobody_campaigns(standing: Standing, alone: bool) -> None:
    lone = Lone(standing=standing, configuration=ONE if alone else THREE)
    assert not lone.ticks(10 * ELECTION_TICKS)
    if alone:
        return
    lone.follow("n2", 1)
    assert not lone.step(TimeoutNow(sender="n2", receiver="n1", term=1))
    assert (lone.raft.role, lone.raft.term) == (Role.FOLLOWER, 1)


@pytest.mark.parametrize("standing", WITHOUT)
def test_no_answer_to_a_leader_binds(standing: Standing) -> None:
    lone = Lone(standing=standing)
    assert bindings(lone.step(heartbeat("n2", 3))) == [False]
    assert bindings(lone.step(append("n2", 3, (0, 0), [3]))) == [False]
    assert bindings(lone.step(append("n2", 3, (5, 3), [3]))) == [False]
    assert bindings(lone.step(append("n3", 2, (0, 0), [2]))) == [False]
    assert bindings(lone.step(heartbeat("n3", 2))) == [False]


@pytest.mark.parametrize("standing", WITHOUT)
def test_reads_are_refused_unasked(standing: Standing) -> None:
    lone = Lone(standing=standing)
    lone.follow("n2", 3)
    lone.raft.read_index(7)
    assert not [m for m in lone.drain() if isinstance(m, ReadIndexRequest)]
    assert lone.reads == [ReadState(7, None)]


@pytest.mark.parametrize("standing", WITHOUT)
def test_a_heartbeat_commits_only_what_was_compared_in_this_life(standing: Standing) -> None:
    """It may speak to what was acknowledged before the disk was lost: the log may be shorter, or
    hold other entries there."""
    lone = Lone([1, 1], standing=standing)
    lone.step(heartbeat("n2", 3, commit=9))
    lone.step(heartbeat("n2", 3, commit=2))
    assert lone.raft.commit_index == 0
    lone.step(append("n2", 3, (1, 1), [3, 3]))
    lone.step(heartbeat("n2", 3, commit=9))
    assert (lone.raft.commit_index, lone.applied) == (3, [1, 2, 3])


# --- the leader -------------------------------------------------------------------------------


def test_an_acknowledgement_without_standing_commits_nothing() -> None:
    lone = Lone()
    lone.lead()
    lone.step(appended("n2", 1, 1, binding=False))
    lone.step(appended("n3", 1, 1, binding=False))
    assert lone.raft.commit_index == 0
    assert lone.raft.progress()["n2"].match_index == 1
    lone.step(appended("n2", 1, 1))
    assert lone.raft.commit_index == 1


def test_without_standing_nobody_keeps_a_leader_in_office() -> None:
    lone = Lone()
    lone.lead()
    for _ in range(ELECTION_TICKS):
        lone.step(heard("n2", 1, binding=False))
        lone.step(appended("n3", 1, 1, binding=False))
        lone.ticks(1)
    assert (lone.raft.role, lone.raft.term) == (Role.FOLLOWER, 1)


def test_without_standing_nobody_confirms_a_round() -> None:
    lone = Lone()
    lone.lead()
    lone.step(appended("n2", 1, 1))
    lone.raft.read_index(7)
    lone.drain()
    lone.step(heard("n2", 1, 1, binding=False))
    assert not lone.reads
    lone.step(heard("n3", 1, 1))
    assert lone.reads == [ReadState(7, 1)]


def test_a_peer_started_anew_has_acknowledged_nothing() -> None:
    """n2's acknowledgement came before the leader's own write ended."""
    lone = Lone()
    lone.lead()
    lone.step(appended("n2", 1, 1))
    position = lone.raft.propose(b"x")
    assert position is not None
    lone.drain(persist=False)
    lone.step(appended("n2", 1, 2))
    lone.raft.peer_restarted("n2")
    assert lone.raft.progress()["n2"].match_index == 0
    lone.raft.persisted(position)
    assert lone.raft.commit_index == 1
    lone.step(appended("n2", 1, 2))
    assert lone.raft.commit_index == 2


def test_a_restart_of_a_stranger_or_at_a_follower_means_nothing() -> None:
    lone = Lone()
    lone.raft.peer_restarted("n2")
    lone.lead()
    lone.raft.peer_restarted("n9")
    assert set(lone.raft.progress()) == {"n2", "n3"}


def test_acknowledged_again_by_heartbeat_when_the_binding_one_was_lost() -> None:
    lone = Lone()
    lone.lead()
    lone.step(appended("n2", 1, 1, binding=False))
    assert not lone.step(heard("n2", 1, binding=False))
    assert not lone.step(heard("n2", 1, binding=False))
    sent = [*lone.step(heard("n2", 1)), *lone.step(heard("n2", 1))]
    assert [m.receiver for m in sent] == ["n2"]
    lone.step(appended("n2", 1, 1))
    assert not [*lone.step(heard("n2", 1)), *lone.step(heard("n2", 1))]


def test_one_entry_is_proposed_per_context() -> None:
    lone = Lone()
    lone.lead()
    indexes = []
    for context in (5, 5, 6, 6):
        sent = lone.step(proof_request("n3", 1, context))
        indexes += [(m.context, m.index) for m in sent if isinstance(m, ProofResponse)]
    assert indexes == [(5, 2), (5, 2), (6, 3), (6, 3)]
    assert lone.raft.last_position.index == 3


def test_only_a_leader_names_a_proof_and_only_to_members() -> None:
    lone = Lone()
    lone.follow("n2", 1)
    assert not lone.step(proof_request("n3", 1, 5))
    lone = Lone()
    lone.lead()
    assert not lone.step(proof_request("n9", 1, 5))
    assert lone.raft.last_position.index == 1


# --- admitted ---------------------------------------------------------------------------------


def test_admitted_what_was_acknowledged_counts_at_once() -> None:
    lone = Lone(standing=Standing.UNKNOWN)
    lone.step(append("n2", 3, (0, 0), [3]))
    lone.raft.admit("peers know it")
    (answer,) = lone.drain()
    assert isinstance(answer, AppendResponse)
    assert (answer.match_index, answer.binding, lone.raft.standing) == (1, True, Standing.MEMBER)
    assert not lone.readies[-1].recovered
    lone.raft.admit("again")
    assert not lone.drain()


def test_nobody_is_admitted_who_recovers() -> None:
    lone = Lone(standing=Standing.UNKNOWN)
    lone.raft.recover("peers know more of it")
    lone.raft.admit("peers know it")
    assert not is_member(lone)


def test_a_leader_that_recovers_leads_no_more() -> None:
    lone = Lone()
    lone.lead()
    lone.raft.recover("disk was lost")
    lone.drain()
    assert (lone.raft.role, lone.raft.leader) == (Role.FOLLOWER, None)
    assert not lone.ticks(10 * ELECTION_TICKS)


# --- recovering -------------------------------------------------------------------------------


def test_asks_the_leader_again_until_it_answers() -> None:
    lone = recovering()
    context = ask(lone)
    assert ask(lone) == context
    lone.step(proof_is("n2", 3, context, 9))
    assert not lone.ticks(4)


def test_two_lives_ask_by_two_contexts() -> None:
    lives = [Lone(standing=Standing.RECOVERING, seed=seed) for seed in (1, 2)]
    for lone in lives:
        lone.follow("n2", 1)
    assert len({ask(lone) for lone in lives}) == 2


def test_the_end_of_recovering_in_the_order_of_its_duties() -> None:
    """Vote and mark first, then the acknowledgement that counts."""
    lone = recovering()
    lone.step(proof_is("n2", 3, ask(lone), 2))
    lone.step(append("n2", 3, (1, 3), [3]))
    assert not is_member(lone)
    lone.readies.clear()
    sent = lone.step(heartbeat("n2", 3, commit=2))
    assert is_member(lone)
    assert bindings(sent) == [False, True]
    (ready,) = lone.readies
    assert ready.recovered
    assert ready.hard_state == (3, "n2")
    assert ready.messages_after_persist == tuple(sent)
    assert verdicts(lone.step(vote("n3", 4, (9, 4), transfer=True))) == [True]
    assert not any(ready.recovered for ready in lone.readies[1:])


def test_a_proof_for_another_request_is_none() -> None:
    lone = recovering()
    context = ask(lone)
    lone.step(proof_is("n2", 3, context + 1, 1))
    assert not is_member(lone)
    lone.step(proof_is("n2", 3, context, 1))
    assert is_member(lone)


def test_a_proof_before_the_first_request_is_none() -> None:
    lone = recovering()
    lone.step(proof_is("n2", 3, 0, 1))
    assert not is_member(lone)


def test_a_proof_by_another_than_the_leader_is_none() -> None:
    lone = recovering()
    lone.step(proof_is("n3", 3, ask(lone), 1))
    assert not is_member(lone)


def test_a_proof_of_another_term_is_none() -> None:
    """n2 named entry 2 in term 3; entry 2 of n3's term 4 is another one."""
    lone = recovering()
    context = ask(lone)
    lone.step(proof_is("n2", 3, context, 2))
    lone.step(append("n3", 4, (1, 3), [4], commit=2))
    assert (lone.raft.commit_index, lone.raft.standing) == (2, Standing.RECOVERING)
    assert ask(lone) == context
    lone.step(proof_is("n3", 4, context, 3))
    lone.step(append("n3", 4, (2, 4), [4], commit=3))
    assert is_member(lone)


def test_a_proof_that_is_not_committed_is_none() -> None:
    lone = recovering()
    lone.step(proof_is("n2", 3, ask(lone), 2))
    lone.step(append("n2", 3, (1, 3), [3, 3], commit=1))
    assert not is_member(lone)
    lone.step(append("n2", 3, (3, 3), commit=2))
    assert is_member(lone)


def test_a_proof_that_is_not_on_disk_is_none() -> None:
    lone = recovering()
    lone.step(proof_is("n2", 3, ask(lone), 2))
    lone.raft.step(append("n2", 3, (1, 3), [3], commit=2))
    lone.drain(persist=False)
    assert (lone.raft.commit_index, lone.raft.stable_index) == (2, 1)
    assert not is_member(lone)
    lone.raft.persisted(lone.raft.last_position)
    lone.drain()
    assert is_member(lone)


def test_a_vote_that_the_disk_still_knows_is_kept() -> None:
    lone = Lone([1], term=3, vote="n3", standing=Standing.RECOVERING)
    lone.step(append("n2", 3, (1, 1), [3], commit=2))
    lone.step(proof_is("n2", 3, ask(lone), 2))
    assert (lone.raft.standing, lone.raft.voted_for) == (Standing.MEMBER, "n3")


def test_recovering_anew_needs_another_proof() -> None:
    lone = recovering()
    context = ask(lone)
    lone.step(proof_is("n2", 3, context, 1))
    assert is_member(lone)
    lone.raft.recover("disk was lost once more")
    lone.step(proof_is("n2", 3, context, 1))
    assert not is_member(lone)
    assert ask(lone) != context


def test_of_five_two_that_recover_count_for_nothing() -> None:
    lone = Lone(configuration=FIVE)
    lone.lead()
    for peer in ("n2", "n3"):
        lone.step(appended(peer, 1, 1, binding=False))
    lone.step(appended("n4", 1, 1))
    assert lone.raft.commit_index == 0
    lone.step(appended("n5", 1, 1))
    assert lone.raft.commit_index == 1


def test_a_proof_is_an_entry_without_a_command() -> None:
    lone = Lone()
    lone.lead()
    lone.step(proof_request("n2", 1, 5))
    entry = lone.raft._state.log.between(1, 2)[0]
    assert (entry.kind, entry.data, entry.term) == (EntryKind.NOOP, b"", 1)


def test_refused_in_a_term_that_it_adopts_all_the_same() -> None:
    """A node that recovers holds up nobody: it takes the term over, and follows who wins it."""
    lone = recovering()
    (answer,) = [
        m for m in lone.step(vote("n3", 9, (9, 8), transfer=True)) if isinstance(m, VoteResponse)
    ]
    assert (answer.granted, answer.term, lone.raft.term) == (False, 9, 9)
    lone.follow("n3", 9)
