"""REP workers: real REP sockets behind a queue, each with its own read-only connection.

The raft thread holds a ROUTER that addresses each worker by name, so a worker with a long
SELECT never has anything queued behind it (DEALER's blind round-robin would do that). Two
pools: *fast* workers run batches of short reads and stop each at FAST_READ_MS, *slow* workers
run one read each for as long as it may take.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias, cast

import msgpack
import zmq

from raftzmq.config import LimitsConfig
from raftzmq.errors import Deferred, RequestError, TooLarge
from raftzmq.node.batches import Batch
from raftzmq.node.gate import LentReader, StateGate
from raftzmq.statemachine.digest import content_digest
from raftzmq.statemachine.readers import Reader
from raftzmq.transport.clock import monotonic_ms, monotonic_s
from raftzmq.transport.sockets import Context, Purpose, Socket, open_socket
from raftzmq.wire.payload import encode_error

ADDRESS = "inproc://rep-workers"
RUN_FAST, RUN_SLOW, RUN_DIGEST = 0, 1, 2
FAST_RESULT_BYTES = 16 << 10
"""A read with more rows than this goes to a slow worker, so that the replies of a whole batch
fit into one message."""


Item: TypeAlias = tuple[Batch, int]
"""One request: the batch it came in and its position there. Made once per request, so plain."""


class Job(NamedTuple):
    """Reads that one worker runs in one read transaction."""

    kind: int
    items: list[Item]


class WorkerPool:
    """Workers of one kind and the queue in front of them; used by the raft thread.

    The queue is bounded by the requests that the service admits.
    """

    def __init__(self, names: Sequence[bytes], router: Socket) -> None:
        self._router = router
        self._idle: deque[bytes] = deque(names)
        self._busy: dict[bytes, Job] = {}
        self._queue: deque[Job] = deque()

    def submit(self, job: Job) -> None:
        """Run ``job`` now or when a worker is free."""
        self._queue.append(job)
        self.dispatch()

    def dispatch(self) -> None:
        """Give queued jobs to idle workers; what is past its deadline is not run."""
        while self._queue and self._idle:
            job = self._queue.popleft()
            now = monotonic_ms()
            items = [item for item in job.items if not item[0].done]
            left_ms = max((batch.deadline_ms - now for batch, _ in items), default=0)
            if left_ms <= 0:
                continue  # the sweep of expired batches answers them
            job = Job(job.kind, items)
            payloads = [batch.requests[position].payload for batch, position in items]
            worker = self._idle.popleft()
            self._busy[worker] = job
            self._router.send_multipart(
                [worker, b"", cast(bytes, msgpack.packb([job.kind, left_ms, payloads]))]
            )

    def finished(self, worker: bytes, answer: bytes) -> None:
        """A worker's reply: pass each result to its batch, and give the worker more to do."""
        job = self._busy.pop(worker)
        self._idle.append(worker)
        index, results = msgpack.unpackb(answer, raw=False)
        for (batch, position), (code, body) in zip(job.items, results, strict=True):
            batch.answer(position, code, body, index)
        self.dispatch()

    def owns(self, worker: bytes) -> bool:
        """Whether ``worker`` is of this pool and busy."""
        return worker in self._busy


class Workers:
    """The threads.

    Args:
        context: of the node; its termination ends them.
        gate: lends them state.db.
        bounds: how long reads may take and how much they may return.
        failed: told when one cannot go on; the process must stop then.
    """

    def __init__(
        self,
        context: Context,
        gate: StateGate,
        bounds: LimitsConfig,
        failed: Callable[[BaseException], None],
    ) -> None:
        self._context = context
        self._bounds = bounds
        self._failed = failed
        self._gate = gate
        self._threads: list[threading.Thread] = []

    def start(self, names: Sequence[bytes]) -> None:
        """Start a worker per name and wait until each is connected."""
        connected = threading.Barrier(len(names) + 1)
        for name in names:
            thread = threading.Thread(
                target=self._serve, args=(name, connected.wait), name=name.decode()
            )
            thread.start()
            self._threads.append(thread)
        connected.wait()

    def join(self) -> None:
        """Wait for the threads; the context must be terminating."""
        for thread in self._threads:
            thread.join()

    def _serve(self, name: bytes, connected: Callable[[], int]) -> None:
        socket = open_socket(self._context, Purpose.WORKER_REP)
        socket.setsockopt(zmq.ROUTING_ID, name)
        socket.connect(ADDRESS)
        connected()
        lent = LentReader(self._gate, Reader)
        try:
            while True:
                kind, left_ms, payloads = msgpack.unpackb(socket.recv(), raw=False)
                socket.send(self._run(lent, kind, left_ms, payloads))
        except zmq.ContextTerminated:
            pass  # the node stops
        except Exception as error:  # noqa: BLE001 - the raft thread stops the process with it
            self._failed(error)
        finally:
            socket.close(linger=0)

    def _run(self, lent: LentReader, kind: int, left_ms: int, payloads: list[bytes]) -> bytes:
        with self._gate.reading() as generation:
            if kind == RUN_DIGEST:
                index, digest = content_digest(self._gate.path)
                answer = [index, [(0, msgpack.packb([index, digest]))]]
            else:
                reader = cast(Reader, lent.current(generation))
                answer = self._answer(reader, payloads, left_ms, kind == RUN_FAST)
        packed: bytes = msgpack.packb(answer)
        return packed

    def _answer(
        self, reader: Reader, payloads: list[bytes], left_ms: int, fast: bool
    ) -> list[object]:
        """Run the reads on one snapshot; what the fast worker has no room for is deferred."""
        bounds = self._bounds
        timeout_ms = min(left_ms, bounds.read_timeout_ms)
        try:
            index = reader.begin()
        except RequestError as error:
            return [0, [_refusal(error)] * len(payloads)]
        replies = []
        bytes_max = min(bounds.result_bytes_max, FAST_RESULT_BYTES if fast else 1 << 62)
        try:
            for payload in payloads:
                reply = reader.run(
                    payload,
                    timeout_ms=timeout_ms,
                    result_bytes_max=bytes_max,
                    monotonic=monotonic_s,
                    fast_only=fast,
                    fast_ms=bounds.fast_read_ms,
                )
                if fast and reply.code == TooLarge.code:
                    replies.append(_refusal(Deferred("too many rows for a fast worker")))
                else:
                    replies.append((reply.code, reply.body))
        finally:
            reader.end()
        return [index, replies]


def _refusal(error: RequestError) -> tuple[int, bytes]:
    return error.code, encode_error(error.message, error.detail)
