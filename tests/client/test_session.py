"""What a session does about each answer; no sockets."""

from __future__ import annotations

import pytest

from raftzmq.client.session import LEDGER_REFRESHES_MAX, Call, Next, Session, key_bytes
from raftzmq.errors import (
    ConstraintFailed,
    DeadlineExpired,
    Deferred,
    Killed,
    LedgerExpired,
    MalformedRequest,
    NotLeader,
    OutcomeUnknown,
    Overloaded,
    TooStale,
    Unavailable,
)
from raftzmq.wire.client import (
    Flags,
    Kind,
    Level,
    Reply,
    RequestHeader,
    decode_request,
    encode_request,
)
from raftzmq.wire.payload import encode_error

NAME = b"client-0"


@pytest.fixture
def session() -> Session:
    found = Session(NAME, timeout_ms=1_000)
    found.index_known = True
    found.seen_index = 40
    return found


def send(session: Session, call: Call, now_ms: int = 0) -> RequestHeader:
    return decode_request(encode_request(*session.attempt(call, now_ms)))


def reply(call: Call, code: int = 0, index: int = 0) -> Reply:
    body = encode_error("because") if code else b""
    return Reply(NAME, call.sequence, code, index, body, "n1")


def test_a_retry_keeps_sequence_and_since(session: Session) -> None:
    call = session.write(b"w", 0)
    first = send(session, call)
    assert session.connection_lost(call, 10, "gone") is Next.AGAIN_LATER
    session.seen_index = 99
    second = send(session, call, 400)
    assert (second.sequence, second.min_index) == (first.sequence, 40)
    assert second.timeout_ms == 600


def test_each_write_has_its_own_sequence(session: Session) -> None:
    numbers = [send(session, session.write(b"w", 0)).sequence for _ in range(3)]
    assert numbers == [1, 2, 3]


def test_the_highest_index_seen_is_remembered(session: Session) -> None:
    call = session.write(b"w", 0)
    send(session, call)
    session.answered(call, reply(call, index=70), 1)
    assert send(session, session.read(b"r", 1, level=Level.SESSION)).min_index == 70
    assert send(session, session.read(b"r", 1)).min_index == 0
    older = session.read(b"r", 1)
    send(session, older)
    session.answered(older, reply(older, index=60), 1)
    assert session.seen_index == 70


def test_a_new_session_must_learn_an_index_first() -> None:
    session = Session(NAME)
    call = session.write(b"w", 0)
    assert session.needs_index(call)
    assert not session.needs_index(session.read(b"r", 0))
    status = session.ask(Kind.STATUS, 0)
    send(session, status)
    session.answered(status, reply(status, index=33), 1)
    assert not session.needs_index(call)
    assert send(session, call).min_index == 33


def test_ledger_expired_on_a_first_attempt_starts_over(session: Session) -> None:
    call = session.write(b"w", 0)
    first = send(session, call).sequence
    assert session.answered(call, reply(call, LedgerExpired.code), 1) is Next.REFRESH
    assert session.needs_index(call)
    session.index_known, session.seen_index = True, 80
    again = send(session, call)
    assert again.sequence > first
    assert again.min_index == 80


def test_ledger_expired_does_not_start_over_for_ever(session: Session) -> None:
    call = session.write(b"w", 0)
    for _ in range(LEDGER_REFRESHES_MAX):
        send(session, call)
        assert session.answered(call, reply(call, LedgerExpired.code), 1) is Next.REFRESH
    send(session, call)
    assert session.answered(call, reply(call, LedgerExpired.code), 1) is Next.DONE
    assert isinstance(call.error, LedgerExpired)


def test_ledger_expired_on_a_retry_is_final(session: Session) -> None:
    call = session.write(b"w", 0)
    send(session, call)
    session.connection_lost(call, 1, "gone")
    send(session, call)
    assert session.answered(call, reply(call, LedgerExpired.code), 2) is Next.DONE
    assert isinstance(call.error, LedgerExpired)


@pytest.mark.parametrize("code", [NotLeader.code, Unavailable.code])
def test_not_executed_is_tried_elsewhere_in_time(session: Session, code: int) -> None:
    call = session.write(b"w", 0)
    send(session, call)
    assert session.answered(call, reply(call, code), 1) is Next.AGAIN_ELSEWHERE
    session.expire(call, 1_000)
    assert isinstance(call.error, DeadlineExpired), "it was surely not executed"


def test_a_write_in_flight_at_its_deadline_is_unknown(session: Session) -> None:
    call = session.write(b"w", 0)
    session.expire(call, 1_000)
    assert isinstance(call.error, DeadlineExpired)
    call = session.write(b"w", 0)
    send(session, call)
    session.expire(call, 1_000)
    assert isinstance(call.error, OutcomeUnknown)


def test_what_the_socket_did_not_take_was_not_sent(session: Session) -> None:
    call = session.write(b"w", 0)
    send(session, call)
    session.not_sent(call)
    session.expire(call, 1_000)
    assert isinstance(call.error, DeadlineExpired)


@pytest.mark.parametrize("code", [Overloaded.code, DeadlineExpired.code])
def test_after_doubt_nothing_says_not_executed(session: Session, code: int) -> None:
    call = session.write(b"w", 0)
    send(session, call)
    session.connection_lost(call, 1, "gone")
    send(session, call)
    assert session.answered(call, reply(call, code), 2) is Next.AGAIN_LATER
    send(session, call)
    assert session.answered(call, reply(call, code), 1_000) is Next.DONE
    assert isinstance(call.error, OutcomeUnknown)


def test_unknown_is_settled_by_asking_again(session: Session) -> None:
    call = session.write(b"w", 0)
    send(session, call)
    assert session.answered(call, reply(call, OutcomeUnknown.code), 1) is Next.AGAIN_LATER
    send(session, call)
    assert session.answered(call, reply(call, index=41), 2) is Next.DONE
    assert call.error is None


@pytest.mark.parametrize("code", [ConstraintFailed.code, Overloaded.code])
def test_a_verdict_is_final(session: Session, code: int) -> None:
    call = session.write(b"w", 0)
    send(session, call)
    assert session.answered(call, reply(call, code), 1) is Next.DONE
    assert call.error is not None
    assert call.error.code == code


def test_an_anonymous_write_is_never_sent_twice() -> None:
    session = Session(b"")
    call = session.write(b"w", 0)
    send(session, call)
    assert session.connection_lost(call, 1, "gone") is Next.DONE
    assert isinstance(call.error, OutcomeUnknown)


def test_a_deferred_read_goes_slow(session: Session) -> None:
    call = session.read(b"r", 0)
    send(session, call)
    assert session.answered(call, reply(call, Deferred.code), 1) is Next.AGAIN_HERE
    assert send(session, call).flags & Flags.SLOW


def test_too_stale_is_told_after_a_few_attempts(session: Session) -> None:
    call = session.read(b"r", 0, level=Level.STALE)
    steps = []
    for _ in range(3):
        send(session, call)
        steps.append(session.answered(call, reply(call, TooStale.code), 1))
    assert steps == [Next.AGAIN_ELSEWHERE, Next.AGAIN_ELSEWHERE, Next.DONE]
    assert isinstance(call.error, TooStale)


def test_a_killed_read_is_not_sent_again(session: Session) -> None:
    call = session.read(b"p", 0)
    send(session, call)
    assert session.answered(call, reply(call, Killed.code), 0) is Next.DONE
    assert isinstance(call.error, Killed)


def test_a_key_names_the_write_and_the_sequence_its_attempt(session: Session) -> None:
    call = session.write(b"w", 0, key=b"nightly")
    first = send(session, call)
    assert (first.client, first.flags, first.min_index) == (b"nightly", Flags.KEYED, 40)
    assert session.connection_lost(call, 10, "gone") is Next.AGAIN_LATER
    assert send(session, call).sequence == first.sequence
    again = send(session, session.write(b"w", 0, key=b"nightly"))
    assert again.client == b"nightly"
    assert again.sequence != first.sequence
    other = Session(b"client-1")
    other.index_known = True
    assert send(other, other.write(b"w", 0, key=b"nightly")).sequence != first.sequence
    plain = send(session, session.write(b"w", 0))
    assert (plain.client, plain.sequence, plain.flags) == (NAME, 3, 0)


def test_a_key_protects_the_write_of_an_anonymous_session() -> None:
    session = Session(b"")
    session.index_known = True
    call = session.write(b"w", 0, key=b"nightly")
    send(session, call)
    assert session.connection_lost(call, 1, "gone") is Next.AGAIN_LATER


def test_the_largest_sequence_of_a_key_fits_the_wire() -> None:
    session = Session(b"\xff" * 16)
    session.index_known = True
    call = session.write(b"w", 0, key=b"nightly")
    assert send(session, call).sequence < 1 << 63


@pytest.mark.parametrize("key", ["", "x" * 49, "\udc80"])
def test_a_key_has_bounds(key: str) -> None:
    with pytest.raises(MalformedRequest):
        key_bytes(key)


def test_parts_of_a_key_are_nobody_elses_key() -> None:
    parts = {key_bytes("x" * 48, number) for number in (0, 1, 2, 10**12)}
    assert len(parts) == 4
    assert max(map(len, parts)) <= 64
    assert key_bytes("a", 12) != key_bytes("a12")


def test_a_token_of_another_session_counts_for_reads_alone() -> None:
    session = Session(NAME, after=99)
    session.index_known = True
    assert session.token == 99
    assert send(session, session.read(b"q", 0, level=Level.SESSION)).min_index == 99
    assert send(session, session.write(b"w", 0)).min_index == 0
    call = session.write(b"w", 0)
    send(session, call)
    session.answered(call, reply(call, index=120), 1)
    assert session.token == 120
