"""Many requests in flight over one connection: for bulk loads and benchmarks, and the engine
under ``Connection``.

Requests submitted between two polls travel in one message; answers come in any order. Writes of
one pipeline may be applied in another order than submitted when a leader changes: put statements
that belong together into one write.

Not thread-safe: one pipeline per thread. Nothing happens between two calls of ``poll``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from raftzmq import limits
from raftzmq.client.channel import Channel
from raftzmq.client.session import ANSWER_LOST_MS, RETRY_MS, Call, Next, Session, key_bytes
from raftzmq.errors import MalformedRequest, NotLeader, UnsupportedVersion
from raftzmq.wire.client import (
    Kind,
    Level,
    Reply,
    RequestFields,
    decode_batch,
    decode_reply,
    encode_requests,
    error_of,
)
from raftzmq.wire.codec import DecodeError, unpack_map
from raftzmq.wire.payload import decode_error, encode_statements
from raftzmq.wire.version import CLIENT_FRAME

REPLY_GRACE_MS: Final = 200
"""The server's verdict at the deadline is worth waiting for: it knows more than the client."""
PROBE_MS: Final = 1_000
"""After so long without a sign of life while answers are due, ask for one; after twice that the
other side counts as lost. A slow query therefore needs no long silence to be allowed."""
CUT_OFF_DOUBLINGS_MAX: Final = 3
"""A proxy that holds a request for PROBE_MS and says that it knows no leader is left for the next.
Doubled, up to 8 s, with each round over all addresses that found no leader: then the whole cluster
has none, and each move leaves a copy of what waits with the proxy that is left. An election takes
less than PROBE_MS as a rule, and causes no move."""
_STATUS_ENTRIES_MAX: Final = 1_024
_NEVER_MS: Final = 1 << 62
_OWN: Final = object()
"""Tag of the pipeline's own STATUS requests, which no caller gets to see."""


class Pipeline:
    """Submit, then poll.

    Args:
        channel: the connection; closed with the pipeline.
        session: identity of this client; shared with nobody else.
        clock: monotonic milliseconds.
    """

    def __init__(self, channel: Channel, session: Session, clock: Callable[[], int]) -> None:
        self.session = session
        self._channel = channel
        self._clock = clock
        self._outbox: deque[Call] = deque()
        self._waiting_index: list[Call] = []
        self._refresh: Call | None = None
        self._probe: Call | None = None
        self._flying: dict[int, Call] = {}
        self._later: deque[tuple[int, Call]] = deque()
        self._finished: list[Call] = []
        self._heard_ms = 0
        self._probe_ms = 0
        self._next_expiry_ms = _NEVER_MS
        self._next_lost_ms = _NEVER_MS
        self._next_question_ms = _NEVER_MS
        self._moves = 0
        """Since a leader was within reach, from one proxy that was cut off to another."""
        self._moved_ms = -_NEVER_MS
        self.unfinished = 0
        self.dropped_replies = 0

    def __enter__(self) -> Pipeline:
        """Nothing to do."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Close the connection; the fate of writes still in flight stays unknown."""
        self._channel.close()

    # -- submit ----------------------------------------------------------------------------

    def write(
        self,
        statements: Sequence[tuple[str, Sequence[object]]],
        *,
        timeout_ms: int | None = None,
        id: str | None = None,  # noqa: A002 - the word of `raftzmq write --id`
        tag: object = None,
    ) -> Call:
        """Submit one write: all statements or none, in one transaction.

        Args:
            statements: (SQL, parameters) each.
            timeout_ms: until the call fails.
            id: idempotency key, see ``Connection.write``.
            tag: to recognise the call when it is done.

        Raises:
            MalformedRequest: a parameter that SQLite cannot store, or a bad ``id``.
            TooLarge: beyond a limit of ``raftzmq.limits``.
        """
        payload = encode_statements(statements)
        key = b"" if id is None else key_bytes(id)
        call = self.session.write(payload, self._clock(), timeout_ms=timeout_ms, key=key, tag=tag)
        self.submit(call)
        return call

    def read(
        self,
        statements: Sequence[tuple[str, Sequence[object]]],
        *,
        level: Level = Level.LINEARIZABLE,
        max_age_ms: int = 0,
        timeout_ms: int | None = None,
        tag: object = None,
    ) -> Call:
        """Submit one read; arguments and errors as for ``write``."""
        call = self.session.read(
            encode_statements(statements),
            self._clock(),
            level=level,
            max_age_ms=max_age_ms,
            timeout_ms=timeout_ms,
            tag=tag,
        )
        self.submit(call)
        return call

    def submit(self, call: Call) -> None:
        """Submit a call made by the session; it leaves with the next ``poll``."""
        self.unfinished += 1
        self._enqueue(call)

    # -- poll ------------------------------------------------------------------------------

    def poll(self, timeout_ms: int = 0) -> list[Call]:
        """Send, receive, retry; the calls that are done.

        Args:
            timeout_ms: wait so long for the first one; 0 only takes what is there.
        """
        now_ms = self._clock()
        until_ms = now_ms + timeout_ms
        while True:
            self._due(now_ms)
            self._flush(now_ms)
            wait_ms = 0 if self._finished else max(0, self.wake_ms(until_ms) - now_ms)
            if not self._channel.wait(wait_ms):
                self._receive()
                self._lost("the connection broke")
            else:
                self._receive()
                if self._outbox and self._channel.ready:
                    self._flush(self._clock())
            now_ms = self._clock()
            if self._finished:
                finished, self._finished = self._finished, []
                self.unfinished -= len(finished)
                return finished
            if now_ms >= until_ms:
                return []

    def wake_ms(self, until_ms: int) -> int:
        """When ``poll`` has something to do although nothing arrives; at most ``until_ms``."""
        wake_ms = min(until_ms, self._next_expiry_ms)
        if self._later:
            wake_ms = min(wake_ms, self._later[0][0])
        if self._flying:
            silent_ms = self._heard_ms if self._probe is None else self._probe_ms
            wake_ms = min(wake_ms, silent_ms + PROBE_MS, self._next_lost_ms)
            if self._probe is None:
                wake_ms = min(wake_ms, self._next_question_ms)
        if self._outbox and self._channel.ready:
            # The socket did not take it, and nothing else tells when it will.
            wake_ms = min(wake_ms, self._clock() + RETRY_MS)
        return wake_ms

    def _due(self, now_ms: int) -> None:
        while self._later and self._later[0][0] <= now_ms:
            self._outbox.append(self._later.popleft()[1])
        late_ms = min(self._next_expiry_ms, self._next_lost_ms, self._heard_ms + PROBE_MS)
        if self._flying and now_ms >= late_ms:
            # What is late may be this process itself, which was paused or busy elsewhere.
            self._receive()
        if now_ms >= self._next_expiry_ms:
            self._expire(now_ms)
        if self._flying and now_ms >= self._next_lost_ms and self._channel.ready:
            self._repeat(now_ms)
        if self._flying and now_ms - self._heard_ms >= PROBE_MS:
            self._look_for_life(now_ms)
        if self._flying and now_ms >= self._next_question_ms and self._probe is None:
            self._ask_whether_cut_off(now_ms)

    def _ask_whether_cut_off(self, now_ms: int) -> None:
        """Others get their answers, stale reads for instance, and one request gets none.

        A proxy that is cut off holds it, and the traffic of the others hides that.
        """
        self._next_question_ms = _NEVER_MS
        if len(self._channel.addresses) == 1 or not self._channel.ready:
            return
        held = self._held_longest()
        if held is None:
            return
        due_ms = held.sent_ms + PROBE_MS
        if now_ms < due_ms:
            self._next_question_ms = due_ms
            return
        self._next_question_ms = now_ms + PROBE_MS
        # Not a probe: whether the other side lives is not the question.
        self._outbox.appendleft(self._ask_status(now_ms, PROBE_MS))

    def _held_longest(self) -> Call | None:
        """Of the requests under way that need a leader, the one that was sent first."""
        needs_leader = self.session.needs_leader
        # In the order in which they were sent.
        return next((call for call in self._flying.values() if needs_leader(call)), None)

    def _look_for_life(self, now_ms: int) -> None:
        """Nothing was heard for long: ask, then give up the connection."""
        if self._probe is None:
            self._probe = self._ask_status(now_ms, PROBE_MS)
            self._probe_ms = now_ms
            self._next_question_ms = now_ms + PROBE_MS
            self._outbox.appendleft(self._probe)
        elif now_ms - self._probe_ms >= PROBE_MS:
            why = f"{self._channel.address} is silent"
            self._channel.go_elsewhere()
            self._lost(why)

    def _repeat(self, now_ms: int) -> None:
        """Send again what was not answered for long; see ``Session.repeats``."""
        next_ms = _NEVER_MS
        for call in list(self._flying.values()):
            if self.session.repeats(call, now_ms):
                del self._flying[call.sequence]
                self._outbox.append(call)
            elif self.session.repeatable(call):
                next_ms = min(next_ms, call.lost_ms)
        self._next_lost_ms = next_ms

    def _enqueue(self, call: Call) -> None:
        if call.deadline_ms < self._next_expiry_ms:
            self._next_expiry_ms = call.deadline_ms
        if self.session.needs_index(call):
            self._waiting_index.append(call)
        else:
            self._outbox.append(call)

    def _flush(self, now_ms: int) -> None:
        if self._waiting_index and self._refresh is None:
            longest_ms = max(call.deadline_ms for call in self._waiting_index) - now_ms
            self._refresh = self._ask_status(now_ms, max(1, longest_ms))
            self._outbox.append(self._refresh)
        while self._outbox and self._channel.ready:
            if not self._send_batch(now_ms):
                return

    def _ask_status(self, now_ms: int, timeout_ms: int) -> Call:
        call = self.session.ask(Kind.STATUS, now_ms, timeout_ms=timeout_ms, tag=_OWN)
        self._next_expiry_ms = min(self._next_expiry_ms, call.deadline_ms)
        return call

    def _send_batch(self, now_ms: int) -> bool:
        if not self._flying:
            self._heard_ms = now_ms
        calls: list[Call] = []
        requests: list[RequestFields] = []
        size = 0
        while self._outbox and len(calls) < limits.BATCH_REQUESTS_MAX:
            call = self._outbox[0]
            if call.done or call.deadline_ms <= now_ms:
                self._outbox.popleft()
                if not call.done:
                    self._finish(call, self.session.expire(call, now_ms))
                continue
            size += len(call.payload)
            if calls and size > limits.BATCH_BYTES_MAX:
                break
            self._outbox.popleft()
            requests.append(self.session.attempt(call, now_ms))
            calls.append(call)
        if not calls:
            return False
        if not self._channel.send(encode_requests(requests)):
            for call in reversed(calls):
                self.session.not_sent(call)
                self._outbox.appendleft(call)
            return False
        for call in calls:
            self._flying[call.sequence] = call
        # Repeats come later than this; looking too early costs a look.
        self._next_lost_ms = min(self._next_lost_ms, now_ms + ANSWER_LOST_MS)
        self._next_question_ms = min(self._next_question_ms, now_ms + PROBE_MS)
        return True

    def _receive(self) -> None:
        leave: str | None = None
        while (frames := self._channel.receive()) is not None:
            if len(frames) != 2 or frames[0] != CLIENT_FRAME:
                self.dropped_replies += 1
                continue
            try:
                blobs = decode_batch(frames[1])
            except DecodeError:
                self.dropped_replies += 1
                continue
            self._heard_ms = now_ms = self._clock()
            self._probe = None
            for blob in blobs:
                where = self._take(blob, now_ms)
                if where is not None:
                    leave = leave or where
        if leave is not None:
            self._leave(leave)

    def _take(self, blob: bytes, now_ms: int) -> str | None:
        """One answer; not None when it says that another address would be better."""
        try:
            reply = decode_reply(blob)
        except DecodeError:
            self.dropped_replies += 1
            return None
        call = self._flying.get(reply.sequence)
        if call is None or call.client != reply.client:
            if not reply.client and reply.code in _PROTOCOL_ERRORS:
                self._protocol_refused(reply)
            self.dropped_replies += 1
            return None
        del self._flying[reply.sequence]
        step = self.session.answered(call, reply, now_ms)
        if call.tag is _OWN:
            self._finish(call, step)
            if self._is_better_left(reply, now_ms):
                self._moves += 1
                self._moved_ms = now_ms
                return ""
            return None
        if call.reply is not None:
            # Nearly all answers: nothing else is to be done about them.
            self._finished.append(call)
            if self._moves and self.session.proves_leader(call):
                self._moves = 0
            return None
        self._finish(call, step)
        if step is Next.AGAIN_ELSEWHERE:
            return _leader_address(reply) if reply.code == NotLeader.code else ""
        return None

    def _is_better_left(self, reply: Reply, now_ms: int) -> bool:
        """Whether the other side, which holds a request for long, says that it is cut off.

        A proxy holds its requests until a leader is within reach again, which is right where
        there is no other proxy. A write that must not be sent twice is left where it is: it
        would fail with UNKNOWN, and staying may answer it.
        """
        addresses = len(self._channel.addresses)
        if addresses == 1 or not says_cut_off(reply):
            return False
        held = self._held_longest()
        if held is None:
            # Nothing is lost by going at once, but not round and round.
            return not self._flying and self._moves < addresses
        patience_ms = PROBE_MS << min(self._moves // addresses, CUT_OFF_DOUBLINGS_MAX)
        return (
            now_ms - held.sent_ms >= PROBE_MS
            and now_ms - self._moved_ms >= patience_ms
            and all(map(self.session.repeatable, self._flying.values()))
        )

    def _leave(self, address: str) -> None:
        channel = self._channel
        if address == channel.address or (not address and len(channel.addresses) == 1):
            return
        channel.go_elsewhere(address)
        self._lost("another node was asked to take over")

    def _protocol_refused(self, reply: Reply) -> None:
        """The other side cannot read our messages: no use in waiting for any answer."""
        try:
            error = error_of(reply)
        except DecodeError:
            return
        flying, self._flying = self._flying, {}
        alone = len(flying) == 1
        refused = list(flying.values())
        if self._refresh in refused:
            # Without an index they would never leave, and the next question fares no better.
            refused += self._waiting_index
            self._waiting_index.clear()
        for call in refused:
            self._finish(call, self.session.refused_unread(call, error, alone=alone))

    def _lost(self, why: str) -> None:
        now_ms = self._clock()
        flying, self._flying = self._flying, {}
        self._probe = None
        for call in flying.values():
            step = self.session.connection_lost(call, now_ms, why)
            # The channel is not ready before the next handshake; that is pause enough.
            self._finish(call, Next.AGAIN_HERE if step is Next.AGAIN_LATER else step)

    def _finish(self, call: Call, step: Next) -> None:
        if step is Next.AGAIN_HERE:
            self._outbox.append(call)
        elif step in (Next.AGAIN_LATER, Next.AGAIN_ELSEWHERE):
            self._later.append((self._clock() + RETRY_MS, call))
        elif step is Next.REFRESH:
            self._waiting_index.append(call)
        elif call is self._refresh:
            self._refresh = None
            if self.session.index_known:
                self._outbox.extend(self._waiting_index)
                self._waiting_index.clear()
        elif call.tag is not _OWN:
            self._finished.append(call)

    def _expire(self, now_ms: int) -> None:
        late: list[Call] = []
        next_ms = _NEVER_MS
        for call in self._flying.values():
            due_ms = call.deadline_ms + REPLY_GRACE_MS
            if due_ms <= now_ms:
                late.append(call)
            elif due_ms < next_ms:
                next_ms = due_ms
        for call in [*self._outbox, *self._waiting_index, *(each for _, each in self._later)]:
            if call.deadline_ms <= now_ms:
                late.append(call)
            elif call.deadline_ms < next_ms:
                next_ms = call.deadline_ms
        self._next_expiry_ms = next_ms
        if not late:
            return
        gone = set(map(id, late))
        self._outbox = deque(call for call in self._outbox if id(call) not in gone)
        self._waiting_index = [call for call in self._waiting_index if id(call) not in gone]
        self._later = deque(each for each in self._later if id(each[1]) not in gone)
        for call in late:
            if not call.reason and not self._channel.ready:
                places = " or ".join(self._channel.addresses)
                call.reason = f"nothing answers at {places}: is it running, is the address right?"
            self._flying.pop(call.sequence, None)
            self._finish(call, self.session.expire(call, now_ms))


_PROTOCOL_ERRORS: Final = (MalformedRequest.code, UnsupportedVersion.code)


def says_cut_off(reply: Reply) -> bool:
    """Whether an answer to STATUS comes from a proxy that knows no leader within its reach."""
    try:
        found = unpack_map(reply.body, _STATUS_ENTRIES_MAX)
    except DecodeError:
        return False
    proxy = found.get("broker")
    return isinstance(proxy, dict) and proxy.get("takes_writes") is False


def _leader_address(reply: Reply) -> str:
    try:
        return decode_error(reply.body)[1]
    except DecodeError:
        return ""
