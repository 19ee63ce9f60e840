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

``now_ms`` is milliseconds of any monotonic clock.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from raftzmq.errors import (
    DeadlineExpired,
    Deferred,
    LedgerExpired,
    NotExecuted,
    NotLeader,
    Outcome,
    OutcomeUnknown,
    RequestError,
    ShuttingDown,
    TooStale,
    Unavailable,
)
from raftzmq.limits import REQUEST_TIMEOUT_MS
from raftzmq.wire.client import Flags, Kind, Level, Reply, encode_request, error_of
from raftzmq.wire.codec import DecodeError

RETRY_MS: Final = 20
"""Pause before a request that cannot be served just now is sent again."""
LEDGER_REFRESHES_MAX: Final = 3
STALE_ATTEMPTS_MAX: Final = 3
CLIENT_ID_BYTES: Final = 16


class Call:
    """One request of the application, through all its attempts.

    Attributes:
        reply: the final answer with code 0, once ``done`` without ``error``.
        error: why it failed, once ``done``.
        done: nothing more happens to it.
        doubt: an attempt of this write may have been executed.
        flying: an attempt was sent and not answered yet.
        tag: whatever the caller wants to find on it when it is done.
    """

    __slots__ = (
        "attempts",
        "deadline_ms",
        "done",
        "doubt",
        "error",
        "flags",
        "flying",
        "kind",
        "level",
        "max_age_ms",
        "min_index",
        "payload",
        "reason",
        "refreshes",
        "reply",
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
    ) -> None:
        self.kind = kind
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
    """

    def __init__(self, client: bytes, *, timeout_ms: int = REQUEST_TIMEOUT_MS) -> None:
        self.client = client
        self.timeout_ms = timeout_ms
        self.seen_index = 0
        self.index_known = False
        self._sequence = 0

    def write(
        self,
        payload: bytes,
        now_ms: int,
        *,
        timeout_ms: int | None = None,
        flags: int = 0,
        tag: object = None,
    ) -> Call:
        """A write of ``payload`` (``wire.payload.encode_statements``)."""
        return Call(Kind.WRITE, payload, self._until(now_ms, timeout_ms), flags=flags, tag=tag)

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
        return Call(Kind.READ, payload, deadline_ms, level, max_age_ms, flags, tag)

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
        return Call(kind, payload, self._until(now_ms, timeout_ms), tag=tag)

    def _until(self, now_ms: int, timeout_ms: int | None) -> int:
        return now_ms + (self.timeout_ms if timeout_ms is None else timeout_ms)

    def needs_index(self, call: Call) -> bool:
        """Whether an index must be learnt before ``call`` may be sent for the first time."""
        return call.kind == Kind.WRITE and not self.index_known and not call.sequence

    def attempt(self, call: Call, now_ms: int) -> bytes:
        """The blob to send now; names the call at its first attempt (rules 1 and 2)."""
        if not call.sequence:
            self._sequence += 1
            call.sequence = self._sequence
            if call.kind == Kind.WRITE or call.level == Level.SESSION:
                call.min_index = self.seen_index
        call.attempts += 1
        call.flying = True
        return encode_request(
            call.kind,
            self.client,
            call.sequence,
            call.level,
            call.min_index,
            call.max_age_ms,
            max(1, call.deadline_ms - now_ms),
            call.flags,
            call.payload,
        )

    def not_sent(self, call: Call) -> None:
        """The blob of the latest attempt never left: as if it had not been made."""
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
            if call.kind in (Kind.STATUS, Kind.WRITE):
                self.index_known = True
            call.reply = reply
            call.done = True
            return Next.DONE
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
        if error.outcome is Outcome.UNKNOWN and self.client:
            call.doubt = True
            if in_time:
                return Next.AGAIN_LATER
        elif error.outcome is Outcome.NOT_EXECUTED and call.doubt:
            if in_time:
                return Next.AGAIN_LATER
            error = OutcomeUnknown(f"{error.message}; an earlier attempt may have been applied")
        return self._fail(call, error)

    def connection_lost(self, call: Call, now_ms: int, why: str) -> Next:
        """The attempt was sent and its answer will not come: decide what is safe."""
        call.reason = why
        call.flying = False
        if call.kind == Kind.WRITE:
            call.doubt = True
            if not self.client:
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


_STATEMENTS: Final = (Kind.WRITE, Kind.READ)
_ELSEWHERE: Final = (NotLeader, Unavailable, ShuttingDown, NotExecuted, TooStale)
