"""What the broker decides, without sockets and without waiting."""

from __future__ import annotations

import pytest

from raftzmq import limits
from raftzmq.broker.dispatch import ANSWER_LOST_MS
from raftzmq.broker.health import LEADER_QUIET_MS_MAX
from raftzmq.broker.routing import AHEAD_MAX, RETRY_MS, Router
from raftzmq.client.pipeline import says_cut_off
from raftzmq.errors import (
    ConstraintFailed,
    DeadlineExpired,
    Deferred,
    DiskFull,
    LedgerExpired,
    MalformedRequest,
    NotLeader,
    OutcomeUnknown,
    Overloaded,
    Rejected,
    ShuttingDown,
    TooStale,
    Unavailable,
    UnsupportedVersion,
)
from raftzmq.wire.client import (
    Flags,
    Kind,
    Level,
    decode_batch,
    decode_reply,
    decode_request,
    encode_batch,
    encode_reply,
    encode_request,
)
from raftzmq.wire.codec import pack, unpack_map
from raftzmq.wire.version import CLIENT_FRAME
from tests.broker.fake_cluster import ALICE, BOB, NODES, FakeCluster, read, sequences, write


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


# -- where requests go ---------------------------------------------------------------------


def test_writes_go_to_the_leader_unchanged(cluster: FakeCluster) -> None:
    blob = write(1)
    cluster.ask(blob)
    (batch,) = cluster.round()
    assert batch.node == "n1"
    assert decode_batch(batch.frames[3]) == [blob]
    cluster.answer(batch)
    assert cluster.verdicts() == [(ALICE, 1, 0)]


def test_reads_are_spread_over_followers(cluster: FakeCluster) -> None:
    cluster.ask(*(read(n) for n in range(1, 201)))
    out = cluster.round()
    assert {batch.node for batch in out} == {"n2", "n3"}
    assert all(batch.frames[4][0] & Flags.FAST_ONLY for batch in out)
    assert sorted(n for batch in out for n in sequences(batch)) == list(range(1, 201))


@pytest.mark.parametrize(
    ("reads", "sizes"),
    [
        (20, [20]),
        (64, [32, 32]),
        (100, [50, 50]),
        (128, [64, 64]),
        (256, [64] * 4),
        (400, [100] * 4),
    ],
)
def test_each_follower_has_a_batch_before_one_has_two(
    cluster: FakeCluster, reads: int, sizes: list[int]
) -> None:
    cluster.ask(*(read(n) for n in range(1, reads + 1)))
    out = cluster.round()
    assert [len(sequences(batch)) for batch in out] == sizes
    assert len({batch.node for batch in out}) == min(2, len(sizes))


def test_batches_of_reads_do_not_fall_apart(cluster: FakeCluster) -> None:
    cluster.ask(*(read(n) for n in range(1, 257)))
    out = cluster.round()
    for batch in out[:2]:
        cluster.answer(batch)
    cluster.ask(*(read(n) for n in range(257, 321)))
    (again,) = cluster.round()
    assert len(sequences(again)) == 64
    # With less under way there is less to a batch.
    for batch in out[2:]:
        cluster.answer(batch)
    cluster.answer(again)
    cluster.ask(*(read(n) for n in range(321, 385)))
    assert [len(sequences(batch)) for batch in cluster.round()] == [32, 32]


def test_the_follower_with_less_to_do_gets_the_next_read(cluster: FakeCluster) -> None:
    cluster.ask(read(1))
    (first,) = cluster.round()
    cluster.ask(read(2))
    (second,) = cluster.round()
    assert {first.node, second.node} == {"n2", "n3"}
    cluster.answer(second)
    cluster.ask(read(3))
    (third,) = cluster.round()
    assert third.node == second.node


def test_reads_go_to_the_leader_when_no_follower_can(cluster: FakeCluster) -> None:
    cluster.router.node_lost("n2", cluster.now_ms)
    cluster.router.node_lost("n3", cluster.now_ms)
    cluster.ask(read(1))
    (batch,) = cluster.round()
    assert batch.node == "n1"


def test_leader_reads_go_to_the_leader(cluster: FakeCluster) -> None:
    cluster.ask(read(1, Level.LEADER))
    (batch,) = cluster.round()
    assert batch.node == "n1"


def test_session_reads_go_where_the_index_is_applied(cluster: FakeCluster) -> None:
    cluster.status("n3", "n1", 1, 20)
    for n in range(1, 3):
        cluster.ask(read(n, Level.SESSION, min_index=15))
        (batch,) = cluster.round()
        assert batch.node == "n3"
    cluster.ask(read(3, Level.SESSION, min_index=99))
    (batch,) = cluster.round()
    assert batch.node == "n1", "nobody is known to have it, so the leader will"


def test_who_has_seen_what_nobody_can_have_is_told_so(cluster: FakeCluster) -> None:
    """It would hold up all that are in its batch, until its time is over."""
    cluster.status("n1", "n1", 1, 20)
    cluster.ask(read(1, Level.SESSION, min_index=20 + AHEAD_MAX))
    cluster.ask(read(2, Level.SESSION, min_index=21 + AHEAD_MAX))
    (batch,) = cluster.round()
    assert (batch.node, sequences(batch)) == ("n1", [1])
    assert cluster.verdicts() == [(ALICE, 2, TooStale.code)]
    assert cluster.router.counters.requests == 2


def test_a_broker_that_knows_nothing_yet_refuses_no_session() -> None:
    router = Router(NODES)
    request = read(1, Level.SESSION, min_index=1 << 62)
    assert router.from_client(ALICE, [b"", CLIENT_FRAME, encode_batch([request])], 1_000)
    assert router.take_replies() == []


def test_what_only_brings_refusals_counts_as_refused(cluster: FakeCluster) -> None:
    for blobs, taken in (([b"x", b"y"], False), ([b"x", read(1)], True)):
        frames = [b"", CLIENT_FRAME, encode_batch(blobs)]
        assert cluster.router.from_client(ALICE, frames, cluster.now_ms) is taken


def test_a_silent_node_gets_nothing_new_and_its_reads_go_elsewhere(cluster: FakeCluster) -> None:
    cluster.ask(read(1))
    (batch,) = cluster.round()
    cluster.now_ms += 1_001
    for node in {"n1", "n2", "n3"} - {batch.node}:
        cluster.status(node, "n1", 1)
    (again,) = cluster.round()
    assert again.node not in (batch.node, "n1")
    cluster.answer(again)
    cluster.answer(batch)
    assert cluster.verdicts() == [(ALICE, 1, 0)], "the late answer is nobody's"


def test_no_writes_for_a_silent_leader(cluster: FakeCluster) -> None:
    cluster.now_ms += 1_001
    cluster.status("n2", "n1", 1)
    cluster.round()
    cluster.ask(write(1))
    assert cluster.round() == []
    cluster.status("n1", "n1", 1)
    (batch,) = cluster.round()
    assert batch.node == "n1"


# -- lanes and batches ---------------------------------------------------------------------


def test_writes_collect_while_the_lanes_are_busy(cluster: FakeCluster) -> None:
    lanes = []
    for n in range(limits.WRITE_LANES):
        cluster.ask(write(n + 1))
        lanes += cluster.round()
    assert len(lanes) == limits.WRITE_LANES
    for n in range(100, 150):
        cluster.ask(write(n))
        assert cluster.round() == []
    cluster.answer(lanes[0])
    (batch,) = cluster.round()
    assert sequences(batch) == list(range(100, 150))


def test_batches_are_bounded_in_requests_and_bytes(cluster: FakeCluster) -> None:
    for n in range(2):
        cluster.ask(*(write(n * 1000 + k) for k in range(1000)))
    assert [len(sequences(batch)) for batch in cluster.round()] == [1024, 976]
    big = b"x" * (limits.BATCH_BYTES_MAX // 2)
    cluster.ask(*(encode_request(Kind.WRITE, b"c", n, payload=big) for n in range(1, 4)))
    assert [len(sequences(batch)) for batch in cluster.round()] == [1, 1]


def test_a_slow_read_moves_to_a_lane_of_its_own(cluster: FakeCluster) -> None:
    cluster.ask(read(1), read(2))
    (fast,) = cluster.round()
    cluster.answer(fast, 0, Deferred.code)
    (slow,) = cluster.round()
    (blob,) = decode_batch(slow.frames[3])
    request = decode_request(blob)
    assert request.sequence == 2
    assert request.flags & Flags.SLOW
    assert slow.frames[4] == bytes((Flags.SLOW,)), "no fast worker tries it again"
    cluster.ask(*(read(n) for n in range(3, 8)))
    (batch,) = cluster.round()
    cluster.answer(batch)
    cluster.answer(slow)
    assert [code for _, _, code in cluster.verdicts()] == [0] * 7


def test_slow_lanes_are_bounded_and_leave_the_fast_ones_free(cluster: FakeCluster) -> None:
    cluster.ask(*(read(n, flags=int(Flags.SLOW)) for n in range(1, 100)))
    out = cluster.round()
    assert len(out) == 2 * limits.SLOW_READ_LANES
    assert all(len(sequences(batch)) == 1 for batch in out)
    cluster.ask(read(200))
    (fast,) = cluster.round()
    assert sequences(fast) == [200]


# -- bounds and bad input ------------------------------------------------------------------


def test_beyond_the_bounds_a_request_is_refused_at_once() -> None:
    cluster = FakeCluster(requests_max=2)
    cluster.ask(write(1), write(2), write(3))
    assert cluster.verdicts() == [(ALICE, 3, Overloaded.code)]
    cluster = FakeCluster(bytes_max=200)
    cluster.ask(write(1), encode_request(Kind.WRITE, b"c", 2, payload=b"x" * 200))
    assert cluster.verdicts() == [(ALICE, 2, Overloaded.code)]


def test_answered_requests_make_room() -> None:
    cluster = FakeCluster(requests_max=1)
    for n in range(1, 4):
        cluster.ask(write(n))
        (batch,) = cluster.round()
        cluster.answer(batch)
    assert [code for _, _, code in cluster.verdicts()] == [0, 0, 0]
    held = cluster.router.status(0)["broker"]
    assert isinstance(held, dict)
    assert held["held_requests"] == held["held_bytes"] == 0


def test_a_batch_of_several_connections_makes_room_for_each() -> None:
    cluster = FakeCluster()
    for n in range(1, 4):
        cluster.ask(write(10 * n), write(10 * n + 1))
        cluster.ask(write(10 * n, b"client-b"), write(10 * n + 1, b"client-b"), client=BOB)
    out = cluster.round()
    failed = ConstraintFailed.code
    for batch in out:
        cluster.answer(batch, 0, 0, failed, 0)
    verdicts = cluster.verdicts()
    assert {(who, n) for who, n, _ in verdicts} == {
        (who, 10 * n + more) for who in (ALICE, BOB) for n in range(1, 4) for more in (0, 1)
    }
    assert [code for *_, code in verdicts].count(failed) == len(out)
    state = cluster.router.status(0)["broker"]
    assert isinstance(state, dict)
    assert state["held_requests"] == state["held_bytes"] == 0
    assert state["replies"] == state["requests"] == len(verdicts) == 12


def test_a_proxy_says_whether_a_leader_is_within_reach(cluster: FakeCluster) -> None:
    def takes_writes() -> object:
        told = cluster.router.status(cluster.now_ms)["broker"]
        assert isinstance(told, dict)
        return told["takes_writes"]

    assert takes_writes() is True
    cluster.now_ms += LEADER_QUIET_MS_MAX + 1
    assert takes_writes() is False
    leader = cluster.router.view.leader
    assert leader is not None
    cluster.router.view.heard(leader, cluster.now_ms)
    assert takes_writes() is True
    cluster.router.node_lost(leader, cluster.now_ms)
    assert takes_writes() is False


def test_a_leader_that_stepped_down_is_not_taken_for_one_because_others_named_it(
    cluster: FakeCluster,
) -> None:
    cluster.status("n1", "", 1)
    assert not cluster.router.view.takes_writes(cluster.now_ms)
    answer = encode_reply(b"", 1, 0, 0, pack(cluster.router.status(cluster.now_ms)), "broker")
    assert says_cut_off(decode_reply(answer)), "the client understands what the proxy says"


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        ([b"", CLIENT_FRAME, b"\xc1"], MalformedRequest.code),
        ([b"", CLIENT_FRAME, encode_batch([b"junk"])], MalformedRequest.code),
        ([b"", b"RZQ\x63", b""], UnsupportedVersion.code),
        ([b"", b"HTTP", b""], MalformedRequest.code),
        ([CLIENT_FRAME, encode_batch([write(1)])], None),
        ([b"x", CLIENT_FRAME, encode_batch([write(1)])], None),
        ([], None),
        ([b"", CLIENT_FRAME, b"", b"", b""], None),
    ],
)
def test_bad_input_gets_one_answer_or_none(
    cluster: FakeCluster, frames: list[bytes], code: int | None
) -> None:
    cluster.router.from_client(BOB, frames, cluster.now_ms)
    expected = [] if code is None else [(BOB, 0, code)]
    assert cluster.verdicts() == expected
    cluster.ask(write(1))
    assert len(cluster.round()) == 1


@pytest.mark.parametrize("kind", [Kind.DIGEST, Kind.TRANSFER, Kind.STOP, Kind.OBSERVE])
def test_what_only_nodes_do_is_refused(cluster: FakeCluster, kind: Kind) -> None:
    cluster.ask(encode_request(kind, b"c", 1))
    assert cluster.verdicts() == [(ALICE, 1, Rejected.code)]


def test_status_shows_nodes_and_broker(cluster: FakeCluster) -> None:
    cluster.status("n2", "n1", 1, 77)
    cluster.ask(encode_request(Kind.STATUS, b"c", 1))
    cluster.round()
    ((_, reply),) = cluster.replies
    assert reply.index == 77, "a new session learns an index from this"
    body = unpack_map(reply.body, 256)
    assert [node["node"] for node in body["nodes"]] == ["n1", "n2", "n3"]
    assert body["broker"]["leader"] == "n1"


# -- replies -------------------------------------------------------------------------------


def test_replies_go_to_the_connection_that_asked(cluster: FakeCluster) -> None:
    cluster.ask(write(1), client=ALICE)
    cluster.ask(write(1), write(2), client=BOB)
    (batch,) = cluster.round()
    cluster.answer(batch)
    messages = cluster.router.take_replies()
    assert [identity for identity, _ in messages] == [ALICE, BOB]
    assert [len(decode_batch(frames[2])) for _, frames in messages] == [1, 2]


def test_an_answer_that_names_another_request_reaches_nobody(cluster: FakeCluster) -> None:
    cluster.ask(write(1), client=ALICE)
    cluster.ask(write(2), client=BOB)
    (batch,) = cluster.round()
    swapped = [encode_reply(b"client-a", n, 0, 5, b"", "n1") for n in (2, 1)]
    cluster.answer_raw(batch, swapped)
    assert cluster.verdicts() == []
    cluster.answer(cluster.sent[-1])
    assert cluster.verdicts() == [(ALICE, 1, 0), (BOB, 2, 0)]


def test_an_answer_of_the_wrong_length_is_no_answer(cluster: FakeCluster) -> None:
    cluster.ask(write(1), write(2))
    (batch,) = cluster.round()
    cluster.answer_raw(batch, [encode_reply(b"client-a", 1, 0, 5, b"", "n1")])
    assert cluster.verdicts() == []
    assert sequences(cluster.sent[-1]) == [1, 2]


def test_the_answer_of_a_node_that_was_not_asked_is_ignored(cluster: FakeCluster) -> None:
    cluster.ask(write(1))
    (batch,) = cluster.round()
    cluster.answer(batch._replace(node="n2"))
    assert cluster.verdicts() == []
    cluster.answer(batch)
    assert cluster.verdicts() == [(ALICE, 1, 0)]


def test_large_replies_do_not_share_a_message(cluster: FakeCluster) -> None:
    cluster.ask(*(read(n) for n in range(1, 11)))
    (batch,) = cluster.round()
    cluster.answer(batch, body=b"x" * (limits.BATCH_BYTES_MAX // 3))
    assert [len(decode_batch(frames[2])) for _, frames in cluster.router.take_replies()] == (
        [2] * 5
    )


# -- failures of nodes ---------------------------------------------------------------------


def test_a_refused_write_waits_for_the_leader_and_is_sent_there(cluster: FakeCluster) -> None:
    cluster.ask(write(1), write(2, client=b""))
    (batch,) = cluster.round()
    cluster.answer(batch, NotLeader.code)
    assert cluster.round() == []
    cluster.status("n2", "n1", 1)
    assert cluster.round() == [], "a follower that has not noticed is not believed"
    cluster.status("n2", "n2", 2)
    (again,) = cluster.round()
    assert again.node == "n2"
    assert sequences(again) == [1, 2]


def test_the_hint_in_a_refusal_is_followed(cluster: FakeCluster) -> None:
    cluster.ask(write(1))
    (batch,) = cluster.round()
    cluster.answer(batch, NotLeader.code, detail=NODES["n3"])
    (again,) = cluster.round()
    assert again.node == "n3"
    cluster.answer(again, NotLeader.code, detail=NODES["n1"])
    assert cluster.round() == [], "two nodes that point at each other make no endless loop"


def test_a_lost_leader_loses_nothing_that_has_a_name(cluster: FakeCluster) -> None:
    cluster.ask(write(1), write(2, client=b""))
    (batch,) = cluster.round()
    cluster.router.node_lost("n1", cluster.now_ms)
    assert cluster.verdicts() == [(ALICE, 2, OutcomeUnknown.code)]
    assert len(cluster.sent) == 1
    cluster.status("n3", "n3", 2)
    (again,) = cluster.round()
    assert (again.node, sequences(again)) == ("n3", [1])
    cluster.answer(batch)
    cluster.answer(again)
    assert cluster.verdicts()[1:] == [(ALICE, 1, 0)]


def test_writes_at_a_paused_leader_move_to_the_new_one(cluster: FakeCluster) -> None:
    cluster.ask(write(1), write(2, client=b""))
    (old,) = cluster.round()
    cluster.status("n2", "n2", 2)
    (again,) = cluster.round()
    assert (again.node, sequences(again)) == ("n2", [1])
    cluster.answer(again)
    assert cluster.verdicts() == [(ALICE, 1, 0)]
    cluster.answer(old, 0, OutcomeUnknown.code)
    assert cluster.verdicts() == [(ALICE, 1, 0), (ALICE, 2, OutcomeUnknown.code)]


def test_leadership_lost_while_committing_is_settled_by_a_second_attempt(
    cluster: FakeCluster,
) -> None:
    cluster.ask(write(1))
    (batch,) = cluster.round()
    cluster.answer(batch, OutcomeUnknown.code)
    assert cluster.verdicts() == []
    (again,) = cluster.round(RETRY_MS)
    cluster.answer(again)
    assert cluster.verdicts() == [(ALICE, 1, 0)]


@pytest.mark.parametrize("code", [DeadlineExpired.code, LedgerExpired.code])
def test_after_doubt_no_answer_says_not_executed(cluster: FakeCluster, code: int) -> None:
    cluster.ask(write(1))
    cluster.round()
    cluster.status("n2", "n2", 2)
    (again,) = cluster.round()
    cluster.answer(again, code)
    assert cluster.verdicts() == [(ALICE, 1, OutcomeUnknown.code)]


@pytest.mark.parametrize("code", [Overloaded.code, DiskFull.code])
def test_after_doubt_a_leader_that_takes_no_more_is_asked_again(
    cluster: FakeCluster, code: int
) -> None:
    cluster.ask(write(1))
    cluster.round()
    cluster.status("n2", "n2", 2)
    (again,) = cluster.round()
    cluster.answer(again, code)
    assert cluster.verdicts() == []
    cluster.status("n2", "n2", 2)
    assert cluster.round(RETRY_MS)


@pytest.mark.parametrize("code", [ConstraintFailed.code, DiskFull.code, LedgerExpired.code])
def test_verdicts_on_a_first_attempt_are_passed_on(cluster: FakeCluster, code: int) -> None:
    cluster.ask(write(1))
    (batch,) = cluster.round()
    cluster.answer(batch, code)
    assert cluster.verdicts() == [(ALICE, 1, code)]


@pytest.mark.parametrize("client", [b"client-a", b""])
def test_a_write_waits_while_its_leader_is_full_and_less_and_less_often(
    cluster: FakeCluster, client: bytes
) -> None:
    """What was refused for want of room was not executed, so even an anonymous one may go again."""
    cluster.ask(write(1, client=client))
    (batch,) = cluster.round()
    for doubling in (0, 1, 2, 3, 4, 4):
        cluster.answer(batch, Overloaded.code)
        cluster.status("n1", "n1", 1)
        assert cluster.verdicts() == []
        assert cluster.round((RETRY_MS << doubling) - 1) == []
        (batch,) = cluster.round(1)
    cluster.answer(batch)
    assert cluster.verdicts() == [(ALICE, 1, 0)]
    assert cluster.router.counters.refused_full == 6


def test_a_write_that_never_found_room_was_not_executed_and_says_why(
    cluster: FakeCluster,
) -> None:
    cluster.ask(write(1, timeout_ms=100))
    (batch,) = cluster.round()
    cluster.answer(batch, Overloaded.code)
    (batch,) = cluster.round(RETRY_MS)
    cluster.answer(batch, Overloaded.code)
    cluster.round(100)
    ((_, reply),) = cluster.replies
    assert reply.code == DeadlineExpired.code
    assert b"(because)" in reply.body, "the words of the node that was full"


def test_a_write_in_doubt_that_finds_no_room_stays_in_doubt(cluster: FakeCluster) -> None:
    cluster.ask(write(1, timeout_ms=5_000))
    cluster.round()
    cluster.status("n2", "n2", 2)
    (again,) = cluster.round()
    cluster.answer(again, Overloaded.code)
    cluster.round(5_000)
    assert cluster.verdicts() == [(ALICE, 1, OutcomeUnknown.code)]


def test_a_long_wait_for_room_holds_up_no_shorter_one(cluster: FakeCluster) -> None:
    cluster.ask(write(1))
    (batch,) = cluster.round()
    for doubling in range(4):
        cluster.answer(batch, Overloaded.code)
        (batch,) = cluster.round(RETRY_MS << doubling)
    cluster.answer(batch, Overloaded.code)
    cluster.ask(write(2))
    (other,) = cluster.round()
    cluster.answer(other, Overloaded.code)
    (other,) = cluster.round(RETRY_MS)
    assert sequences(other) == [2]


@pytest.mark.parametrize("code", [Unavailable.code, ShuttingDown.code, Overloaded.code])
def test_a_read_that_one_node_cannot_serve_is_asked_of_another(
    cluster: FakeCluster, code: int
) -> None:
    cluster.ask(read(1))
    (batch,) = cluster.round()
    cluster.answer(batch, code)
    assert cluster.round() == []
    (again,) = cluster.round(RETRY_MS)
    assert again.node != batch.node
    cluster.answer(again)
    assert cluster.verdicts() == [(ALICE, 1, 0)]


def test_too_stale_everywhere_ends_at_the_leader(cluster: FakeCluster) -> None:
    cluster.ask(read(1, Level.STALE))
    asked = []
    for _ in range(3):
        (batch,) = cluster.round(RETRY_MS)
        asked.append(batch.node)
        cluster.answer(batch, TooStale.code)
    assert sorted(asked[:2]) == ["n2", "n3"]
    assert asked[2] == "n1"
    assert cluster.verdicts() == [(ALICE, 1, TooStale.code)]


def test_a_lost_follower_loses_no_read(cluster: FakeCluster) -> None:
    cluster.ask(read(1))
    (batch,) = cluster.round()
    cluster.router.node_lost(batch.node, cluster.now_ms)
    (again,) = cluster.round()
    assert again.node != batch.node
    cluster.answer(again)
    assert cluster.verdicts() == [(ALICE, 1, 0)]


def test_a_batch_the_socket_did_not_take_was_never_sent(cluster: FakeCluster) -> None:
    cluster.ask(write(1, timeout_ms=100), write(2, client=b""))
    (batch,) = cluster.round()
    cluster.router.not_sent(batch.batch_id, cluster.now_ms)
    assert cluster.round() == []
    (again,) = cluster.round(RETRY_MS)
    assert sequences(again) == [1, 2]
    cluster.router.not_sent(again.batch_id, cluster.now_ms)
    cluster.round(100)
    assert cluster.replies[0][1].code == DeadlineExpired.code


def test_an_answer_that_got_lost_is_asked_for_again(cluster: FakeCluster) -> None:
    cluster.ask(write(1))
    (batch,) = cluster.round()
    for _ in range(ANSWER_LOST_MS // 500):
        assert len(cluster.sent) == 1
        cluster.round(500)
        cluster.status("n1", "n1", 1)
    (again,) = cluster.sent[1:]
    assert sequences(again) == [1]
    cluster.answer(batch)
    assert cluster.verdicts() == []
    cluster.answer(again)
    assert cluster.verdicts() == [(ALICE, 1, 0)]


# -- time ----------------------------------------------------------------------------------


def test_an_expired_request_is_never_sent(cluster: FakeCluster) -> None:
    cluster.router.node_lost("n1", cluster.now_ms)
    cluster.ask(write(1, timeout_ms=50), read(2, Level.LEADER, timeout_ms=50))
    cluster.round(49)
    assert cluster.verdicts() == []
    cluster.round(1)
    assert cluster.verdicts() == [
        (ALICE, 1, DeadlineExpired.code),
        (ALICE, 2, DeadlineExpired.code),
    ]
    cluster.status("n2", "n2", 2)
    assert cluster.round() == []


def test_what_was_sent_and_expires_is_unknown_for_writes_only(cluster: FakeCluster) -> None:
    cluster.ask(write(1, timeout_ms=50), read(2, timeout_ms=50))
    out = cluster.round()
    cluster.round(50)
    assert sorted(cluster.verdicts()) == [
        (ALICE, 1, OutcomeUnknown.code),
        (ALICE, 2, DeadlineExpired.code),
    ]
    for batch in out:
        cluster.answer(batch)
    assert len(cluster.verdicts()) == 2, "answered once"


def test_a_lane_held_by_expired_requests_is_free_again(cluster: FakeCluster) -> None:
    for n in range(limits.WRITE_LANES):
        cluster.ask(write(n + 1, timeout_ms=50))
        cluster.round()
    cluster.ask(write(9))
    assert cluster.round() == []
    (batch,) = cluster.round(50)
    assert sequences(batch) == [9]


def test_a_write_that_was_surely_not_executed_expires_as_such(cluster: FakeCluster) -> None:
    cluster.ask(write(1, timeout_ms=50))
    (batch,) = cluster.round()
    cluster.answer(batch, NotLeader.code)
    cluster.round(50)
    assert cluster.verdicts() == [(ALICE, 1, DeadlineExpired.code)]


def test_stopping_answers_everything(cluster: FakeCluster) -> None:
    cluster.ask(write(1), read(2))
    cluster.round()
    cluster.router.node_lost("n1", cluster.now_ms)
    cluster.ask(write(3))
    cluster.router.shut_down()
    cluster.ask(write(4))
    assert sorted(cluster.verdicts()) == [
        (ALICE, 1, OutcomeUnknown.code),
        (ALICE, 2, ShuttingDown.code),
        (ALICE, 3, ShuttingDown.code),
        (ALICE, 4, ShuttingDown.code),
    ]


def test_a_request_that_expires_between_tick_and_send_is_not_sent(cluster: FakeCluster) -> None:
    cluster.ask(write(1, timeout_ms=50), read(2, timeout_ms=50), write(3))
    (batch,) = cluster.router.take_batches(cluster.now_ms + 50)
    assert sequences(batch) == [3]
    assert [code for _, _, code in cluster.verdicts()] == [DeadlineExpired.code] * 2


# -- what a careless change would break ----------------------------------------------------


def test_silence_alone_does_not_settle_a_write(cluster: FakeCluster) -> None:
    cluster.ask(write(1, client=b""))
    (batch,) = cluster.round()
    cluster.round(1_500)
    assert cluster.verdicts() == []
    cluster.answer(batch)
    assert cluster.verdicts() == [(ALICE, 1, 0)]


def test_a_retry_avoids_the_node_that_could_not_even_if_the_other_is_busier(
    cluster: FakeCluster,
) -> None:
    cluster.ask(*(read(n, flags=int(Flags.SLOW)) for n in range(1, 3)))
    held = {batch.node: batch for batch in cluster.round()}
    cluster.answer(held.pop("n3"), Unavailable.code)
    (again,) = cluster.round(RETRY_MS)
    assert again.node == "n2"


def test_refused_writes_keep_their_order(cluster: FakeCluster) -> None:
    lanes = []
    for n in range(limits.WRITE_LANES):
        cluster.ask(write(n + 1))
        lanes += cluster.round()
    cluster.ask(write(9))
    for batch in lanes:
        cluster.answer(batch, NotLeader.code)
        cluster.round()
    cluster.status("n2", "n2", 2)
    (again,) = cluster.round()
    assert sequences(again) == [1, 2, 3, 4, 9]


def test_an_anonymous_write_without_answer_is_not_sent_twice(cluster: FakeCluster) -> None:
    cluster.ask(write(1, client=b""), write(2))
    (batch,) = cluster.round()
    for _ in range(ANSWER_LOST_MS // 500):
        cluster.status("n1", "n1", 1)
        cluster.round(500)
    assert [sequences(sent) for sent in cluster.sent] == [[1, 2], [2]]
    cluster.answer(batch)
    assert cluster.verdicts() == [(ALICE, 1, 0)]


def test_a_node_that_refused_leads_again_when_it_says_so(cluster: FakeCluster) -> None:
    cluster.ask(write(1))
    (batch,) = cluster.round()
    cluster.answer(batch, NotLeader.code)
    assert cluster.round() == []
    cluster.status("n1", "n1", 1)
    (again,) = cluster.round()
    assert again.node == "n1"


def test_a_node_silent_for_long_has_no_say_about_the_term(cluster: FakeCluster) -> None:
    cluster.status("n3", "n3", 9)
    assert cluster.router.view.leader == "n3"
    for _ in range(11):
        cluster.now_ms += 500
        cluster.status("n1", "n1", 1)
        cluster.round()
    assert cluster.router.view.leader == "n1"


def test_a_node_that_only_the_broker_reaches_does_not_stop_the_cluster(
    cluster: FakeCluster,
) -> None:
    """It began a term and was cut off: nobody else will ever hear of that term."""
    for _ in range(3):
        cluster.status("n3", "", 9)
        cluster.status("n1", "n1", 1)
        cluster.status("n2", "n1", 1)
    cluster.ask(write(1))
    (batch,) = cluster.round()
    assert batch.node == "n1"


def test_an_election_ends_the_leadership_of_a_node_that_refused(cluster: FakeCluster) -> None:
    cluster.ask(write(1))
    (batch,) = cluster.round()
    cluster.answer(batch, NotLeader.code)
    cluster.status("n3", "", 2)
    cluster.status("n2", "n1", 1)
    assert cluster.router.view.leader is None
    assert cluster.round() == []


# -- requests that come again --------------------------------------------------------------

AGAIN = int(Flags.AGAIN)


def test_a_repeated_request_is_ignored_while_the_first_is_held(cluster: FakeCluster) -> None:
    cluster.ask(write(1), read(2), read(3, Level.LEADER))
    out = cluster.round()
    cluster.router.node_lost("n1", cluster.now_ms)
    cluster.ask(*(write(1, flags=AGAIN), read(2, flags=AGAIN), read(3, Level.LEADER, flags=AGAIN)))
    assert cluster.router.counters.repeated == 3
    for batch in out:
        if batch.node != "n1":
            cluster.answer(batch)
    cluster.status("n2", "n2", 2)
    for batch in cluster.round():
        cluster.answer(batch)
    assert sorted(cluster.verdicts()) == [(ALICE, 1, 0), (ALICE, 2, 0), (ALICE, 3, 0)]


def test_a_repeated_request_whose_answer_was_lost_is_served_anew(cluster: FakeCluster) -> None:
    cluster.ask(write(1))
    (batch,) = cluster.round()
    cluster.ask(write(1, flags=AGAIN))
    cluster.answer(batch)
    assert cluster.round(1) == []
    cluster.ask(write(1, flags=AGAIN), write(2))
    (again,) = cluster.round()
    assert sequences(again) == [1, 2]


def test_a_repeated_request_of_another_connection_is_served(cluster: FakeCluster) -> None:
    cluster.ask(write(1))
    (first,) = cluster.round()
    cluster.ask(write(1, flags=AGAIN), client=BOB)
    (second,) = cluster.round()
    cluster.answer(first)
    cluster.answer(second)
    assert cluster.verdicts() == [(ALICE, 1, 0), (BOB, 1, 0)]


# -- no time is lost when the leader is known ----------------------------------------------


def test_what_waits_for_its_second_attempt_leaves_when_a_leader_is_elected(
    cluster: FakeCluster,
) -> None:
    cluster.ask(write(1), read(2))
    for batch in cluster.round():
        cluster.answer(batch, OutcomeUnknown.code if batch.node == "n1" else Unavailable.code)
    assert cluster.round() == []
    cluster.status("n2", "n2", 2)
    assert sorted(n for batch in cluster.round() for n in sequences(batch)) == [1, 2]


def test_a_write_that_the_old_leader_gave_up_goes_to_the_new_one_at_once(
    cluster: FakeCluster,
) -> None:
    cluster.ask(write(1, client=b""))
    (batch,) = cluster.round()
    cluster.status("n2", "n2", 2)
    assert cluster.round() == []
    cluster.answer(batch, Unavailable.code)
    assert [each.node for each in cluster.round()] == ["n2"]


def test_an_expiry_says_what_it_waited_for(cluster: FakeCluster) -> None:
    cluster.ask(read(1, timeout_ms=10))
    cluster.round()
    cluster.round(10)
    for node in NODES:
        cluster.router.node_lost(node, cluster.now_ms)
    cluster.ask(write(2, timeout_ms=10))
    cluster.round(10)
    said = [reply.body for _, reply in cluster.replies]
    assert b"the node did not answer" in said[0]
    assert b"no leader is known" in said[1]


def test_a_stop_does_not_answer_again_what_has_expired() -> None:
    """An expired request may still wait for its next attempt when the broker stops."""
    cluster = FakeCluster()
    cluster.ask(read(1, timeout_ms=1_000))
    cluster.round()
    for node in NODES:
        cluster.router.node_lost(node, cluster.now_ms)
    cluster.router.tick(cluster.now_ms + 2_000)
    cluster.router.shut_down()
    assert len(cluster.router.take_replies()) == 1
    assert cluster.router.counters.replies == 1
