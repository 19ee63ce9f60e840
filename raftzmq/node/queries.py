"""What this node runs, for people, and stopping it. Used by the raft thread only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from raftzmq.errors import Forbidden, Killed, Rejected
from raftzmq.node.workers import RUN_DIGEST, RUN_FAST, Job, WorkerPool
from raftzmq.statemachine.machine import Doing
from raftzmq.wire.queries import (
    STATEMENTS_LISTED_MAX,
    QueryList,
    RunningQuery,
    bounded,
    decode_kill,
    encode_queries,
)
from raftzmq.wire.sql_text import SQL_BYTES_MAX, statement_texts

_KIND_NAMES: Final = {RUN_FAST: "fast reads", RUN_DIGEST: "digest"}
_WRITE_MARK: Final = "w"
_SNAPSHOT_MARK: Final = "s"


class Queries:
    """The list and the kill of one node.

    An id is the node's name, a few digits of the boot id, and a number: the boot id keeps an id
    that somebody copied yesterday from meaning something else after a restart.

    Args:
        node: its name.
        boot: boot id of this run.
        pools: fast and slow workers.
        doing: what the applier is busy with, and steps so far.
        snapshot: whether state.db is being copied for a peer.
        log: takes a line for people.
    """

    def __init__(
        self,
        *,
        node: str,
        boot: int,
        pools: tuple[WorkerPool, ...],
        doing: Callable[[], tuple[Doing, int] | None],
        snapshot: Callable[[], bool],
        log: Callable[[str], None],
    ) -> None:
        self._node = node
        self._prefix = f"{node}-{boot & 0xFFFFF:05x}-"
        self._pools = pools
        self._doing = doing
        self._snapshot = snapshot
        self._log = log
        self._applying: tuple[int, int] | None = None
        self._applying_since_ms = 0
        self._copying_since_ms = 0

    def tick(self, now_ms: int) -> None:
        """Look at what takes long, so that its age is known; and stop reads that are too late.

        The applier itself has no clock, and one per request would cost it more than this.
        """
        doing = self._doing()
        applying = None if doing is None else doing[0][:2]
        if applying != self._applying:
            self._applying = applying
            self._applying_since_ms = now_ms
        if not self._snapshot():
            self._copying_since_ms = now_ms
        for pool in self._pools:
            pool.stop_late(now_ms)

    def listed(self, now_ms: int, *, reads_waiting: int, entries_waiting: int) -> bytes:
        """Body of the reply to QUERIES.

        Args:
            now_ms: monotonic.
            reads_waiting: reads that have no job yet.
            entries_waiting: own proposals that are not applied yet.
        """
        self.tick(now_ms)
        running = [job for pool in self._pools for job in pool.running()]
        found = self._write(now_ms)
        if self._snapshot():
            found.append(self._copy(now_ms))
        found += [self._read(job, "running", now_ms) for job in sorted(running, key=_age)]
        waiting = [job for pool in self._pools for job in pool.waiting()]
        shown = waiting[: max(0, STATEMENTS_LISTED_MAX - len(found))]
        found += [self._read(job, "waiting", now_ms) for job in shown]
        kept, left_out = bounded(found)
        return encode_queries(
            QueryList(
                node=self._node,
                queries=kept,
                left_out=left_out + len(waiting) - len(shown),
                reads_waiting=reads_waiting,
                entries_waiting=entries_waiting,
            )
        )

    def kill(self, payload: bytes, now_ms: int) -> None:
        """Stop what ``payload`` names.

        Raises:
            Rejected: nothing of that id runs here.
            Forbidden: it is something that must not or cannot be stopped.
        """
        query, who = decode_kill(payload)
        number = query.removeprefix(self._prefix)
        if number == query or not number:
            raise Rejected(self._unknown(query))
        if number[0] == _WRITE_MARK:
            raise self._never_a_write(query, number[1:])
        if number[0] == _SNAPSHOT_MARK:
            raise Forbidden(f"{query} is a copy of the database for a node that needs one")
        for pool in self._pools:
            job = pool.find(int(number)) if number.isascii() and number.isdigit() else None
            if job is not None:
                self._kill_read(pool, job, query, who or "somebody", now_ms)
                return
        raise Rejected(self._unknown(query))

    def _kill_read(self, pool: WorkerPool, job: Job, query: str, who: str, now_ms: int) -> None:
        if job.stopping:
            raise Rejected(f"{query} was stopped already and ends as soon as SQLite lets it")
        if job.kind == RUN_FAST:
            raise Forbidden(
                f"{query} is a batch of short reads of several clients; each of them ends by "
                f"itself within milliseconds (fast_read_ms)"
            )
        running = job in pool.running()
        if running and job.kind == RUN_DIGEST:
            raise Forbidden(f"{query} compares replicas and cannot be stopped half-way")
        state = "running" if running else "waiting"
        why = Killed(
            f"{query} was stopped by {who} after {(now_ms - job.since_ms) / 1000:.1f} s {state}",
            query,
        )
        pool.kill(job, why)
        self._log(why.message)

    def _never_a_write(self, query: str, index: str) -> Rejected:
        doing = self._doing()
        if doing is None or str(doing[0][0]) != index:
            return Rejected(self._unknown(query))
        return Forbidden(
            f"{query} is being applied from the log, on every replica alike: stopped on one, it "
            f"would leave that replica different from the others. It ends by itself, at the "
            f"latest after write_steps_max steps of SQLite, and all of it is undone then"
        )

    def _unknown(self, query: str) -> str:
        if not query.startswith(f"{self._node}-"):
            return f"{query!r} is no id of {self._node}; `raftzmq queries` lists them"
        return (
            f"nothing named {query!r} runs on {self._node}: it has ended, or {self._node} was "
            f"restarted since; `raftzmq queries` lists what runs"
        )

    def _write(self, now_ms: int) -> list[RunningQuery]:
        doing = self._doing()
        if doing is None:
            return []
        (index, position, client, payload), steps = doing
        known = self._applying == (index, position)
        sql, whole = statement_texts(payload, SQL_BYTES_MAX)
        return [
            RunningQuery(
                id=f"{self._prefix}{_WRITE_MARK}{index}",
                kind="write",
                state="running",
                since_ms=now_ms - self._applying_since_ms if known else 0,
                client=client.hex(),
                index=index,
                requests=1,
                steps=steps,
                sql=sql,
                sql_whole=whole,
            )
        ]

    def _copy(self, now_ms: int) -> RunningQuery:
        return RunningQuery(
            id=f"{self._prefix}{_SNAPSHOT_MARK}",
            kind="snapshot",
            state="running",
            since_ms=now_ms - self._copying_since_ms,
            client="",
            index=0,
            requests=1,
            steps=0,
            sql="",
            sql_whole=True,
        )

    def _read(self, job: Job, state: str, now_ms: int) -> RunningQuery:
        client, payload = job.first()
        sql, whole = statement_texts(payload, SQL_BYTES_MAX)
        return RunningQuery(
            id=f"{self._prefix}{job.number}",
            kind=_KIND_NAMES.get(job.kind, "read"),
            state="stopping" if job.stopping else state,
            since_ms=now_ms - job.since_ms,
            client=client.hex(),
            index=0,
            requests=len(job.items),
            steps=0,
            sql=sql,
            sql_whole=whole or not payload,
        )


def _age(job: Job) -> int:
    return job.since_ms
