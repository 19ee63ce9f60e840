"""The count at the end: each confirmed row exactly once, on each replica, all replicas alike."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from raftzmq.cli.local_cluster import LocalCluster
from raftzmq.errors import error_from_wire
from raftzmq.observe.survey import digests
from raftzmq.wire.client import Kind, Level
from raftzmq.wire.payload import decode_error, decode_results, encode_statements
from raftzmq.wire.status import NodeStatus

CATCH_UP_S = 20.0
READ_MS = 20_000
_KEYS = "SELECT key FROM demo"


@dataclass(slots=True)
class Audit:
    """What was found.

    Attributes:
        rows: node -> rows it holds.
        digests: node -> (log index, hash of the content).
        faults: promises that do not hold, in words; empty when all is well.
    """

    rows: dict[str, int] = field(default_factory=dict)
    digests: dict[str, tuple[int, str]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


def audit(cluster: LocalCluster, confirmed: list[str]) -> Audit:
    """Compare what was confirmed with what each replica holds, asked directly.

    Raises:
        NotReached: the replicas do not come to the same log index.
        RequestError: a replica does not let itself be read.
    """
    cluster.wait("all replicas at the same log index", CATCH_UP_S, _level)
    found = Audit()
    names = list(cluster.config.nodes)
    replies = cluster.asker.ask(
        Kind.READ,
        level=Level.STALE,
        payload=encode_statements([(_KEYS, ())]),
        timeout_ms=READ_MS,
    )
    for name in names:
        reply = replies.get(name)
        if reply is None:
            found.faults.append(f"{name} does not answer")
            continue
        if reply.code:
            raise error_from_wire(reply.code, *decode_error(reply.body))
        held = Counter(row[0] for row in decode_results(reply.body)[0].rows or ())
        found.rows[name] = held.total()
        lost = [key for key in confirmed if key not in held]
        doubled = [key for key, count in held.items() if count > 1]
        if lost:
            found.faults.append(f"{name} lost {len(lost)} confirmed rows, as {lost[0]!r}")
        if doubled:
            found.faults.append(f"{name} holds {len(doubled)} rows twice, as {doubled[0]!r}")
    found.digests = digests(cluster.asker)
    missing = [name for name in names if name not in found.digests]
    if missing:
        found.faults.append(f"no digest from {', '.join(missing)}")
    elif len(set(found.digests.values())) > 1:
        found.faults.append(f"the replicas differ: {found.digests}")
    return found


def _level(statuses: dict[str, NodeStatus]) -> bool:
    marks = {(each.commit_index, each.applied_index) for each in statuses.values()}
    return len(marks) == 1 and all(commit == applied for commit, applied in marks)
