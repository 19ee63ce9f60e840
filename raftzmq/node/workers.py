"""REP workers: real REP sockets behind a queue, each with its own read-only connection.

The raft thread holds a ROUTER that addresses each worker by name, so a worker with a long
SELECT never has anything queued behind it (DEALER's blind round-robin would do that). Two
pools: *fast* workers run batches of short reads and stop each at FAST_READ_MS, *slow* workers
run one read each for as long as it may take.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Protocol, TypeAlias, cast

import msgpack
import zmq

from raftzmq.config import LimitsConfig
from raftzmq.errors import (
    Deferred,
    RequestError,
    StatementTimeout,
    StorageDamaged,
    TooLarge,
    Unavailable,
)
from raftzmq.limits import LARGE_RESULT_BYTES
from raftzmq.node.batches import REPLIES_BYTES_MAX, Batch
from raftzmq.node.gate import LentReader, StateGate
from raftzmq.node.kill_switch import KillSwitch
from raftzmq.node.niceness import Rests, be_nice
from raftzmq.statemachine.digest import DigestAbandoned, Pinned
from raftzmq.statemachine.point_reads import PointReads
from raftzmq.statemachine.readers import Reader
from raftzmq.transport.clock import monotonic_ms, monotonic_s
from raftzmq.transport.sockets import COPY_BYTES_MAX, Context, Purpose, Socket, open_socket
from raftzmq.transport.turns import Turns
from raftzmq.wire.client import encode_large_replies
from raftzmq.wire.payload import encode_error

ADDRESS = "inproc://rep-workers"
QUEUE_CLEAN_ABOVE = 1_000
FAST_LEAST_MS = 1
FAST_TURN_MS = 50
"""The connections that wait share it. A hundred reads of 20 microseconds take 2 ms; a hundred that
are meant to be dear took a fast worker half a second, and the reads of ten connections five."""
FAST_TURN_LEAST_MS = 5
"""To begin a turn costs a tenth of a millisecond."""
TURN_BYTES_MAX = 256 << 10
"""Of requests that a worker is given for one turn: what it does not come to is packed again."""
RUN_FAST, RUN_SLOW, RUN_DIGEST = 0, 1, 2
_BODY_LEFT, _FRAME_LEFT = None, True
"""Where an answer has the body of a reply: it lies in ``Workers.bodies``."""
LARGE_AT_A_TIME, LARGE_MS = 2, 1_000
"""After a result of LARGE_RESULT_BYTES, so many reads run at a time, for so long. To make Python's
objects of megabytes takes the interpreter lock; of six who do it, the raft thread waits for six."""
FAST_JOB_READS_MAX = 128
FAST_RESULT_BYTES = 16 << 10
"""A read with more rows than this goes to a slow worker, so that the replies of a whole batch
fit into one message."""


Item: TypeAlias = tuple[Batch, int]
"""One request: the batch it came in and its position there. Made once per request, so plain."""


class Job:
    """Reads that one worker runs in one read transaction.

    Attributes:
        kind: RUN_FAST, RUN_SLOW or RUN_DIGEST.
        items: the requests.
        number: its name within this run of the node, given when it is queued.
        since_ms: when it was queued, then when it was handed to a worker.
        until_ms: when nobody waits for it any more.
        stopping: it was killed, and its worker has not come back yet.
        payload: of its first request; an answered batch forgets its requests.
        client: the client id of its first request.
        turns: that it has had, and in which something outgrew a fast worker.
    """

    __slots__ = (
        "client",
        "items",
        "kind",
        "number",
        "payload",
        "since_ms",
        "stopping",
        "turns",
        "until_ms",
    )

    def __init__(self, kind: int, items: list[Item]) -> None:
        self.kind = kind
        self.items = items
        self.number = 0
        self.since_ms = 0
        self.until_ms = 0
        self.stopping = False
        self.payload = b""
        self.client = b""
        self.turns = 0

    def first(self) -> tuple[bytes, bytes]:
        """Client and payload of the first request that is not answered yet."""
        for batch, position in self.items:
            if not batch.answered(position):
                request = batch.requests[position]
                return request.client, request.payload
        return self.client, self.payload


class ReadPool(Protocol):
    """Whoever runs reads; see ``WorkerPool``."""

    def submit(self, job: Job) -> None:
        """Run ``job`` now or when there is somebody for it."""

    def refuse(self, error: RequestError) -> None:
        """Answer every read with ``error``, queued or running."""


class WorkerPool:
    """Workers of one kind and the queue in front of them; used by the raft thread.

    The connections whose reads wait take turns: a proxy brings the reads of many clients, and a
    stranger may have 50,000 waiting here.

    What waits in the queue and is not answered is bounded by the requests that the service
    admits; what was answered meanwhile (its time ran out) is thrown away now and then.

    Args:
        names: of the workers.
        router: the socket that addresses them.
        switches: worker -> what stops it.
        bodies: where a worker leaves a large result, or the reply frame with it; see
            ``Workers.bodies``.
        numbers: names for jobs; pools of one node share it.
        slower: takes what these workers give up on, unless its sender asks elsewhere.

    Attributes:
        frugal: one job at a time. An answer of RESULT_BYTES_MAX is there several times over while
            it is made and sent, and strangers can ask for as many as there are workers, again and
            again. One and not none: a process may be large for another reason, and stay so.
    """

    def __init__(
        self,
        names: Sequence[bytes],
        router: Socket,
        switches: Mapping[bytes, KillSwitch],
        bodies: dict[bytes, bytes],
        numbers: Iterator[int],
        slower: ReadPool | None = None,
    ) -> None:
        self._router = router
        self._slower = slower
        self._switches = switches
        self._bodies = bodies
        self._numbers = numbers
        self._idle: deque[bytes] = deque(names)
        self._busy: dict[bytes, Job] = {}
        self._queue: Turns[Job] = Turns()
        self._queued = 0
        self.frugal = False
        self._large_until_ms = 0
        self._clean_above = QUEUE_CLEAN_ABOVE

    def submit(self, job: Job) -> None:
        """Run ``job`` now or when a worker is free."""
        if job.kind == RUN_FAST and self._joins(job):
            return
        job.number = next(self._numbers)
        job.since_ms = monotonic_ms()
        self._put(job)
        self.dispatch()
        if self._queued > self._clean_above:
            self._queued -= len(self._queue.remove(lambda each: not _awaited(each)))
            self._clean_above = 2 * self._queued + QUEUE_CLEAN_ABOVE

    def _joins(self, job: Job) -> bool:
        """Whether the reads of ``job`` now wait in the last job of their connection.

        Whoever sends its reads one by one would otherwise have each handed to a worker by itself,
        which takes ten times as long as to run it.
        """
        last = self._queue.last(_holder(job))
        if last is None or last.turns or len(last.items) + len(job.items) > FAST_JOB_READS_MAX:
            return False
        last.items += job.items
        return True

    def _put(self, job: Job) -> None:
        self._queue.append(_holder(job), job)
        self._queued += 1

    def dispatch(self) -> None:
        """Give queued jobs to idle workers; what is past its deadline is not run."""
        now = monotonic_ms()
        most = len(self._idle) + len(self._busy)
        if self.frugal:
            most = 1
        elif now < self._large_until_ms:
            most = LARGE_AT_A_TIME
        while self._queue and self._idle and len(self._busy) < most:
            job = self._queue.take()
            self._queued -= 1
            items = [item for item in job.items if not item[0].answered(item[1])]
            job.until_ms = max((batch.deadline_ms for batch, _ in items), default=0)
            left_ms = job.until_ms - now
            if left_ms <= 0:
                continue  # the sweep of expired batches answers them
            job.items = items
            job.since_ms = now
            payloads = list(_within_a_turn(items))
            job.payload = payloads[0]
            job.client = items[0][0].requests[items[0][1]].client
            worker = self._idle.popleft()
            self._busy[worker] = job
            turn_ms = max(FAST_TURN_LEAST_MS, FAST_TURN_MS // (1 + self._queue.holders))
            fields = [job.kind, job.number, left_ms, payloads, job.turns, turn_ms, _lone(items)]
            self._router.send_multipart([worker, b"", cast(bytes, msgpack.packb(fields))])

    def finished(self, worker: bytes, answer: bytes) -> int:
        """A worker's reply: pass each result to its batch, and give the worker more to do.

        What it did not come to waits for its next turn.

        Returns:
            Bytes of results.
        """
        job = self._busy.pop(worker)
        self._idle.append(worker)
        index, results = msgpack.unpackb(answer, raw=False)
        size_bytes = len(answer)
        for (batch, position), (code, body) in zip(job.items, results, strict=False):
            if body is _FRAME_LEFT or body is _BODY_LEFT:
                left = self._bodies.pop(worker)
                size_bytes += len(left)
                if len(left) >= LARGE_RESULT_BYTES:
                    self._large_until_ms = monotonic_ms() + LARGE_MS
                if body is _FRAME_LEFT:
                    batch.answer_whole(left)
                    continue
                body = left
            if code == Deferred.code and self._slower is not None and not batch.fast_only:
                if not batch.answered(position):
                    self._slower.submit(Job(RUN_SLOW, [(batch, position)]))
            else:
                batch.answer(position, code, body, index)
        if len(results) < len(job.items) and not job.stopping:
            job.items = job.items[len(results) :]
            job.turns += any(code == Deferred.code for code, _ in results)
            self._put(job)
        self.dispatch()
        return size_bytes

    def refuse(self, error: RequestError) -> None:
        """Answer every read with ``error``, queued or running; what comes of it later is dropped.

        Digests go on: they are asked for to look into what is wrong.
        """
        for job in (*self._busy.values(), *self._queue):
            if job.kind != RUN_DIGEST:
                for batch, position in job.items:
                    batch.fail(position, error)

    def owns(self, worker: bytes) -> bool:
        """Whether ``worker`` is of this pool and busy."""
        return worker in self._busy

    def running(self) -> list[Job]:
        """What the workers run."""
        return list(self._busy.values())

    def waiting(self) -> list[Job]:
        """What waits for a worker and is still wanted."""
        return [job for job in self._queue if _awaited(job)]

    def find(self, number: int) -> Job | None:
        """The job of this number, if it waits or runs here."""
        jobs = (*self._busy.values(), *self._queue)
        return next((job for job in jobs if job.number == number), None)

    def kill(self, job: Job, why: RequestError) -> None:
        """Answer the requests of ``job`` with ``why``, and stop it if it runs."""
        self._queued -= len(self._queue.remove(lambda each: each is job))
        for worker, running in self._busy.items():
            if running is job:
                job.stopping = True
                self._switches[worker].kill(job.number, why)
        for batch, position in job.items:
            batch.fail(position, why)

    def stop_late(self, now_ms: int) -> None:
        """Stop slow reads that nobody waits for any more, and run what waits for its time.

        They look at the clock seldom, and some steps of SQLite are long.
        """
        for job in self._busy.values():
            if job.kind != RUN_SLOW or job.stopping:
                continue
            if now_ms > job.until_ms or not _awaited(job):
                self.kill(job, StatementTimeout("the read took longer than its client waits"))
        # More may run at a time than when the last of them was submitted or done.
        self.dispatch()


def _lone(items: list[Item]) -> tuple[bytes, int] | None:
    """Client and sequence of the one request, if it is the only one of its message."""
    batch, position = items[0]
    if len(items) > 1 or len(batch.requests) > 1:
        return None
    request = batch.requests[position]
    return request.client, request.sequence


def _within_a_turn(items: list[Item]) -> Iterator[bytes]:
    """Payloads of the first ``items``, of TURN_BYTES_MAX together, or of one."""
    size_bytes = 0
    for batch, position in items:
        payload = batch.requests[position].payload
        if size_bytes and size_bytes + len(payload) > TURN_BYTES_MAX:
            return
        size_bytes += len(payload)
        yield payload


def _holder(job: Job) -> bytes:
    return job.items[0][0].holder


def _awaited(job: Job) -> bool:
    for batch, position in job.items:  # noqa: SIM110 - any() takes three times as long for one
        if not batch.answered(position):
            return True
    return False


class Workers:
    """The threads.

    Args:
        context: of the node; its termination ends them.
        gate: lends them state.db.
        bounds: how long reads may take and how much they may return.
        failed: told when state.db is damaged, and when one cannot go on.
        points: told which texts are point reads.
        server: name of the node, part of each reply.

    Attributes:
        switches: worker -> what stops it.
        bodies: worker -> the large result of what it ran last, until somebody takes it. To send it
            through the socket would cost the raft thread two copies of up to RESULT_BYTES_MAX. For
            the only request of a message it is the whole reply frame: to make that of a result
            costs another copy, and with a stranger's answers of 15 MiB the raft thread of a busy
            machine did little else.
    """

    def __init__(
        self,
        context: Context,
        gate: StateGate,
        bounds: LimitsConfig,
        failed: Callable[[BaseException], None],
        points: PointReads | None = None,
        server: str = "",
    ) -> None:
        self._points = points
        self._server = server
        self._context = context
        self._bounds = bounds
        self._failed = failed
        self._gate = gate
        self._threads: list[threading.Thread] = []
        self.switches: dict[bytes, KillSwitch] = {}
        self.bodies: dict[bytes, bytes] = {}

    def start(self, names: Sequence[bytes], *, nice: int = 0) -> None:
        """Start a worker per name and wait until each is connected.

        Args:
            names: under which the raft thread addresses them.
            nice: added to the niceness of each thread.
        """
        connected = threading.Barrier(len(names) + 1)
        for name in names:
            self.switches[name] = KillSwitch()
            thread = threading.Thread(
                target=self._serve, args=(name, nice, connected.wait), name=name.decode()
            )
            thread.start()
            self._threads.append(thread)
        connected.wait()

    def join(self) -> None:
        """Wait for the threads; the context must be terminating."""
        for thread in self._threads:
            thread.join()

    def _serve(self, name: bytes, nice: int, connected: Callable[[], int]) -> None:
        be_nice(nice)
        socket = open_socket(self._context, Purpose.WORKER_REP)
        socket.setsockopt(zmq.ROUTING_ID, name)
        socket.connect(ADDRESS)
        connected()
        lent = LentReader(self._gate, partial(Reader, points=self._points, rest=Rests()))
        try:
            while True:
                message = msgpack.unpackb(socket.recv(), raw=False)
                kind, number, left_ms, payloads, turns, turn_ms, lone = message
                try:
                    if kind == RUN_FAST:
                        answer = self._run_fast(lent, left_ms, payloads, turns, turn_ms)
                    elif kind == RUN_SLOW:
                        answer = self._run_slow(lent, name, number, left_ms, payloads[0], lone)
                    else:
                        answer = self._run_digest()
                except StorageDamaged:
                    answer = _packed(0, [_refusal(_damaged())] * max(1, len(payloads)))
                socket.send(answer)
                # Or each worker would hold the last payload, 15 MiB, until its next job is done.
                del message, payloads, answer
        except zmq.ContextTerminated:
            pass  # the node stops
        except Exception as error:  # noqa: BLE001 - the raft thread stops the process with it
            self._failed(error)
        finally:
            socket.close(linger=0)

    @contextmanager
    def _reading(self) -> Iterator[int]:
        with self._gate.reading() as generation:
            try:
                yield generation
            except StorageDamaged as error:
                # Before an install may go on: it speaks of this very file, not of the next one.
                self._failed(error)
                raise

    def _run_fast(
        self, lent: LentReader, left_ms: int, payloads: list[bytes], turns: int, turn_ms: int
    ) -> bytes:
        """Run short reads on one snapshot; what turns out to be long or large is deferred.

        Each long one costs the others of the batch its time in vain, so it gets less and less. And
        one turn of a connection is no longer than ``turn_ms``; what is left of it waits for the
        next, when the others have had theirs.
        """
        bounds = self._bounds
        timeout_ms = min(left_ms, bounds.read_timeout_ms)
        bytes_max = min(bounds.result_bytes_max, FAST_RESULT_BYTES)
        fast_ms = max(FAST_LEAST_MS, bounds.fast_read_ms >> turns)
        replies: list[tuple[int, bytes]] = []
        with self._reading() as generation:
            reader = cast(Reader, lent.current(generation))
            try:
                index = reader.begin()
            except RequestError as error:
                return _packed(0, [_refusal(error)] * len(payloads))
            self._gate.saw(index)
            try:
                until = monotonic_s() + turn_ms / 1000
                for payload in payloads:
                    if replies and monotonic_s() >= until:
                        break
                    reply = reader.run(
                        payload,
                        timeout_ms=timeout_ms,
                        result_bytes_max=bytes_max,
                        monotonic=monotonic_s,
                        fast_only=True,
                        fast_ms=fast_ms,
                    )
                    if reply.code == TooLarge.code:
                        replies.append(_refusal(Deferred("too many rows for a fast worker")))
                    else:
                        replies.append((reply.code, reply.body))
                        if reply.code == Deferred.code:
                            fast_ms = max(FAST_LEAST_MS, fast_ms // 2)
            finally:
                reader.end()
        return _packed(index, replies)

    def _run_slow(
        self,
        lent: LentReader,
        name: bytes,
        number: int,
        left_ms: int,
        payload: bytes,
        lone: tuple[bytes, int] | None,
    ) -> bytes:
        with self._reading() as generation:
            reader = cast(Reader, lent.current(generation))
            try:
                index = reader.begin()
            except RequestError as error:
                return _packed(0, [_refusal(error)])
            self._gate.saw(index)
            try:
                with self.switches[name].running(number, reader):
                    reply = reader.run(
                        payload,
                        timeout_ms=min(left_ms, self._bounds.read_timeout_ms),
                        result_bytes_max=self._bounds.result_bytes_max,
                        monotonic=monotonic_s,
                    )
            finally:
                reader.end()
        if len(reply.body) < COPY_BYTES_MAX:
            return _packed(index, [(reply.code, reply.body)])
        if lone is None or len(reply.body) > REPLIES_BYTES_MAX:
            self.bodies[name] = reply.body
            return _packed(index, [(reply.code, _BODY_LEFT)])
        client, sequence = lone
        fields = client, sequence, reply.code, index, reply.body, self._server, 0
        self.bodies[name] = encode_large_replies([fields])
        return _packed(index, [(reply.code, _FRAME_LEFT)])

    def _run_digest(self) -> bytes:
        with self._reading():
            pinned = Pinned(self._gate.path)
            self._gate.register(pinned)  # neither an install nor the node's end waits for a hash
            try:
                index, digest = pinned.applied_index, pinned.digest()
            except DigestAbandoned:
                return _packed(0, [_refusal(Unavailable("state.db is being replaced or closed"))])
            finally:
                self._gate.forget(pinned)
                pinned.close()
        return _packed(index, [(0, msgpack.packb([index, digest]))])


def _packed(index: int, replies: Sequence[tuple[int, bytes | bool | None]]) -> bytes:
    packed: bytes = msgpack.packb([index, replies])
    return packed


def _damaged() -> Unavailable:
    return Unavailable("the database file of this node is damaged; another node answers")


def _refusal(error: RequestError) -> tuple[int, bytes]:
    return error.code, encode_error(error.message, error.detail)
