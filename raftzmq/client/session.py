"""What a client remembers, and what it does about each answer: no sockets, no clock.

A session is a random client id, a sequence number, and the highest log index seen in any reply.
Rules of this file:

1. A write keeps its sequence number through every retry, so that the ledger of the database
   recognises it (promise P4). A new number is given only to a write that was surely not
   executed.
2. ``since``, the index sent with a write, was seen *before* its first attempt and never changes
   after: that is what lets the ledger tell "never seen" from "forgotten".
3. Once an attempt of a write may have been executed (``Call.doubt``), it never fails with an
   error that says NOT_EXECUTED (promise P9).
4. A write with an idempotency key is named by the key, not by the session. Its sequence, drawn
   anew for each call, tells a retry of this call from another use of the key.
5. A token of another session counts for reads alone: ``since`` of a write must be an index that
   this session saw itself, or a wrong token would hide that the ledger has forgotten.

``now_ms`` is milliseconds of any monotonic clock.
"""

from __future__ import annotations

from enum import Enum
from hashlib import blake2b
from typing import Final

from raftzmq.errors import (
    DeadlineExpired,
    Deferred,
    LedgerExpired,
    MalformedRequest,
    NotExecuted,
    NotLeader,
    Outcome,
    OutcomeUnknown,
    RequestError,
    ShuttingDown,
    TooStale,
    Unavailable,
)
from raftzmq.limits import KEY_BYTES_MAX, REQUEST_TIMEOUT_MS
from raftzmq.wire.client import Flags, Kind, Level, Reply, RequestFields, error_of
from raftzmq.wire.codec import DecodeError

RETRY_MS: Final = 20
"""Pause before a request that cannot be served just now is sent again."""
ANSWER_LOST_MS: Final = 3_000
"""A request that a live server has not answered is sent again after this, doubled each time: a
ROUTER drops messages silently."""
LEDGER_REFRESHES_MAX: Final = 3
STALE_ATTEMPTS_MAX: Final = 3
CLIENT_ID_BYTES: Final = 16


def key_bytes(key: str, part: int = 0) -> bytes:
    """An idempotency key as it travels.

    Args:
        key: 1 to KEY_BYTES_MAX bytes of UTF-8.
        part: number, from 1, of a write that is one of several under the same key.

    Raises:
        MalformedRequest: too short or too long.
    """
    try:
        encoded = key.encode()
    except UnicodeEncodeError as error:
        raise MalformedRequest(f"the idempotency key is not Unicode text: {error}") from None
    if not 1 <= len(encoded) <= KEY_BYTES_MAX:
        raise MalformedRequest(
            f"an idempotency key is 1 to {KEY_BYTES_MAX} bytes long, this one {len(encoded)}"
        )
    # 0xff is in no UTF-8 text, so a part is never taken for somebody's whole key.
    return encoded + b"\xff%d" % part if part else encoded


class Call:
    """One request of the application, through all its attempts.

    Attributes:
        client: who it is named by: the session, or an idempotency key.
        reply: the final answer with code 0, once ``done`` without ``error``.
        error: why it failed, once ``done``.
        done: nothing more happens to it.
        doubt: an attempt of this write may have been executed.
        repeats: how often it was sent again over the same connection.
        lost_ms: when its answer counts as lost.
        sent_ms: when the latest attempt was made.
        flying: an attempt was sent and not answered yet.
        tag: whatever the caller wants to find on it when it is done.
    """

    __slots__ = (
        "attempts",
        "client",
        "deadline_ms",
        "done",
        "doubt",
        "error",
        "flags",
        "flying",
        "kind",
        "level",
        "lost_ms",
        "max_age_ms",
        "min_index",
        "payload",
        "reason",
        "refreshes",
        "repeats",
        "reply",
        "sent_ms",
        "sequence",
        "tag",
    )

    def __init__(
        self,
        kind: int,
        payload: bytes,
        deadline_ms: int,
        level: int = Level.LINEARIZABLE,
        max_age_ms: int = 0,
        flags: int = 0,
        tag: object = None,
        client: bytes = b"",
    ) -> None:
        self.kind = kind
        self.client = client
        self.payload = payload
        self.deadline_ms = deadline_ms
        self.level = level
        self.max_age_ms = max_age_ms
        self.flags = flags
        self.tag = tag
        self.sequence = 0
        self.min_index = 0
        self.attempts = 0
        self.refreshes = 0
        self.repeats = 0
        self.lost_ms = 0
        self.sent_ms = 0
        self.doubt = False
        self.flying = False
        self.done = False
        self.reason = ""
        self.reply: Reply | None = None
        self.error: RequestError | None = None


class Next(Enum):
    """What to do with a call after an answer."""

    DONE = "done"
    AGAIN_HERE = "again here"
    """Send it again at once, to the same address."""
    AGAIN_LATER = "again later"
    """Send it again after RETRY_MS."""
    AGAIN_ELSEWHERE = "again elsewhere"
    """Send it again after RETRY_MS, to another address if there is one."""
    REFRESH = "refresh"
    """Learn a new index by a STATUS request, then send it again."""


class Session:
    """Identity and memory of one client; not for use by two threads at a time.

    Args:
        client: 8 to 64 random bytes that no other client ever uses. Empty: anonymous, its
            writes are not protected against being applied twice, and never sent twice.
        timeout_ms: for calls that do not say otherwise.
        after: token of another session; reads at level SESSION see at least what that one saw.
    """

    def __init__(
        self, client: bytes, *, timeout_ms: int = REQUEST_TIMEOUT_MS, after: int = 0
    ) -> None:
        self.client = client
        self.timeout_ms = timeout_ms
        self.after = after
        self.seen_index = 0
        self.index_known = False
        self._sequence = 0
        # Hashed, since ids that are not random tend to begin alike.
        mine = blake2b(client, digest_size=_KEYED_BYTES).digest()
        self._keyed_base = int.from_bytes(mine, "big") << _KEYED_SHIFT

    @property
    def token(self) -> int:
        """What to hand to another session so that its SESSION reads see what this one saw."""
        return max(self.after, self.seen_index)

    def write(
        self,
        payload: bytes,
        now_ms: int,
        *,
        timeout_ms: int | None = None,
        flags: int = 0,
        key: bytes = b"",
        tag: object = None,
    ) -> Call:
        """A write of ``payload`` (``wire.payload.encode_statements``).

        Args:
            payload: the statements.
            now_ms: the time.
            timeout_ms: until it fails.
            flags: bits of ``Flags``.
            key: idempotency key (``key_bytes``) that names this write instead of the session.
            tag: for the caller.
        """
        if key:
            flags |= Flags.KEYED
        return Call(
            Kind.WRITE,
            payload,
            self._until(now_ms, timeout_ms),
            flags=flags,
            tag=tag,
            client=key or self.client,
        )

    def read(
        self,
        payload: bytes,
        now_ms: int,
        *,
        level: Level = Level.LINEARIZABLE,
        max_age_ms: int = 0,
        timeout_ms: int | None = None,
        slow: bool = False,
        tag: object = None,
    ) -> Call:
        """A read of ``payload`` at ``level``; ``slow`` skips the attempt in a fast lane."""
        flags = Flags.SLOW if slow else 0
        deadline_ms = self._until(now_ms, timeout_ms)
        return Call(Kind.READ, payload, deadline_ms, level, max_age_ms, flags, tag, self.client)

    def ask(
        self,
        kind: Kind,
        now_ms: int,
        *,
        payload: bytes = b"",
        timeout_ms: int | None = None,
        tag: object = None,
    ) -> Call:
        """A request without statements: STATUS, DIGEST, TRANSFER, STOP."""
        until_ms = self._until(now_ms, timeout_ms)
        return Call(kind, payload, until_ms, tag=tag, client=self.client)

    def _until(self, now_ms: int, timeout_ms: int | None) -> int:
        return now_ms + (self.timeout_ms if timeout_ms is None else timeout_ms)

    def needs_index(self, call: Call) -> bool:
        """Whether an index must be learnt before ``call`` may be sent for the first time."""
        return not self.index_known and call.kind == _WRITE and not call.sequence

    def attempt(self, call: Call, now_ms: int) -> RequestFields:
        """The request to send now; names the call at its first attempt (rules 1 and 2)."""
        if not call.sequence:
            self._sequence += 1
            call.sequence = self._sequence
            if call.kind == _WRITE:
                call.min_index = self.seen_index
                if call.flags & _KEYED:
                    call.sequence += self._keyed_base
            elif call.level == _SESSION:
                call.min_index = self.token
        call.attempts += 1
        call.flying = True
        call.sent_ms = now_ms
        doublings = min(call.repeats, 8) if call.repeats else 0
        call.lost_ms = now_ms + (ANSWER_LOST_MS << doublings)
        left_ms = call.deadline_ms - now_ms
        return (
            call.kind,
            call.client,
            call.sequence,
            call.level,
            call.min_index,
            call.max_age_ms,
            left_ms if left_ms > 0 else 1,
            call.flags,
            call.payload,
        )

    def repeats(self, call: Call, now_ms: int) -> bool:
        """Whether the answer to ``call`` counts as lost, and it is to be sent again.

        The server is alive, so nothing else would ever end the wait. It ignores what it still
        holds; a write that it answered is in the ledger.
        """
        if now_ms < call.lost_ms or not self.repeatable(call):
            return False
        call.repeats += 1
        call.flags |= Flags.AGAIN
        call.doubt = call.kind == Kind.WRITE
        return True

    def repeatable(self, call: Call) -> bool:
        """Whether ``call`` may be sent twice without asking what became of the first."""
        return call.kind in _HARMLESS or (call.kind == Kind.WRITE and bool(call.client))

    def needs_leader(self, call: Call) -> bool:
        """Whether ``call`` may have to wait where no leader is known."""
        return call.kind == Kind.WRITE or (call.kind == Kind.READ and call.level != Level.STALE)

    def proves_leader(self, call: Call) -> bool:
        """Whether ``call``, which succeeded, shows that a leader was within reach."""
        return self.needs_leader(call) and call.level != Level.SESSION

    def not_sent(self, call: Call) -> None:
        """The latest attempt never left: as if it had not been made."""
        call.attempts -= 1
        call.flying = False

    def answered(self, call: Call, reply: Reply, now_ms: int) -> Next:
        """Take an answer to the latest attempt of ``call``."""
        call.flying = False
        if reply.index > self.seen_index:
            self.seen_index = reply.index
        code = reply.code
        if code == 0:
            # Of a broker or a node: the index of a STATUS reply is what has been applied.
            if call.kind in _TELLS_APPLIED:
                self.index_known = True
            call.reply = reply
            call.done = True
            return _DONE
        try:
            error = error_of(reply)
        except DecodeError:
            error = OutcomeUnknown(f"an answer with code {code} that cannot be read")
        return self._failed(call, error, now_ms)

    def _failed(self, call: Call, error: RequestError, now_ms: int) -> Next:
        call.reason = error.message
        in_time = now_ms < call.deadline_ms
        if isinstance(error, LedgerExpired):
            if call.doubt or call.refreshes >= LEDGER_REFRESHES_MAX or not in_time:
                return self._fail(call, error)
            # The only attempt was refused: it is not in the ledger and will never be.
            call.refreshes += 1
            call.sequence = 0
            self.index_known = False
            return Next.REFRESH
        if isinstance(error, Deferred) and in_time:
            call.flags |= Flags.SLOW
            return Next.AGAIN_HERE
        if isinstance(error, TooStale) and call.attempts >= STALE_ATTEMPTS_MAX:
            return self._fail(call, error)
        if type(error) in _ELSEWHERE and in_time and call.kind in _STATEMENTS:
            return Next.AGAIN_ELSEWHERE
        if call.kind != Kind.WRITE:
            return self._fail(call, error)
        if error.outcome is Outcome.UNKNOWN and call.client:
            call.doubt = True
            if in_time:
                return Next.AGAIN_LATER
        elif error.outcome is Outcome.NOT_EXECUTED and call.doubt:
            if in_time:
                return Next.AGAIN_LATER
            error = OutcomeUnknown(f"{error.message}; an earlier attempt may have been applied")
        return self._fail(call, error)

    def refused_unread(self, call: Call, error: RequestError, *, alone: bool) -> Next:
        """The other side could not read a message, and cannot say which.

        Args:
            call: one that was under way, or waited to be sent.
            error: what it said.
            alone: nothing else was under way, so that this is what it could not read.
        """
        if call.kind == Kind.WRITE and (call.doubt or (call.flying and not alone)):
            error = OutcomeUnknown(f"{error.message}; which of several requests is not known")
        call.flying = False
        return self._fail(call, error)

    def connection_lost(self, call: Call, now_ms: int, why: str) -> Next:
        """The attempt was sent and its answer will not come: decide what is safe."""
        call.reason = why
        call.flying = False
        if call.kind == Kind.WRITE:
            call.doubt = True
            if not call.client:
                return self._fail(
                    call, OutcomeUnknown(f"{why}; an anonymous write is never sent twice")
                )
        elif call.kind not in (Kind.READ, Kind.STATUS, Kind.DIGEST):
            return self._fail(call, OutcomeUnknown(why))
        return self.expire(call, now_ms) if now_ms >= call.deadline_ms else Next.AGAIN_LATER

    def expire(self, call: Call, now_ms: int) -> Next:
        """The deadline passed without a final answer."""
        because = f" ({call.reason})" if call.reason else ""
        if call.kind == Kind.WRITE and (call.doubt or call.flying):
            return self._fail(
                call, OutcomeUnknown(f"no answer in time; the write may be applied{because}")
            )
        return self._fail(call, DeadlineExpired(f"no answer in time{because}"))

    def _fail(self, call: Call, error: RequestError) -> Next:
        call.error = error
        call.done = True
        return Next.DONE


# For what is done with each call: to look up a member of an Enum costs more than to compare it.
_DONE: Final = Next.DONE
_WRITE: Final = int(Kind.WRITE)
_SESSION: Final = int(Level.SESSION)
_KEYED: Final = int(Flags.KEYED)
_TELLS_APPLIED: Final = (Kind.STATUS, Kind.WRITE)
_KEYED_BYTES: Final = 5
_KEYED_SHIFT: Final = 22
"""Sequences of keyed calls: 40 bits made of the session's id, then a counter; below 2^63, and
apart from the plain counter of the session's other calls."""
_HARMLESS: Final = (Kind.READ, Kind.STATUS)
_STATEMENTS: Final = (Kind.WRITE, Kind.READ)
_ELSEWHERE: Final = (NotLeader, Unavailable, ShuttingDown, NotExecuted, TooStale)
