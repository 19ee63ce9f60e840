"""What every node of a cluster runs, asked directly, and stopping one of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from raftzmq.errors import OutcomeUnknown, Rejected, RequestError, error_from_wire
from raftzmq.observe.ask import Asker
from raftzmq.wire.client import Kind, Reply, error_of
from raftzmq.wire.codec import DecodeError
from raftzmq.wire.queries import QueryList, decode_queries, encode_kill


@dataclass(slots=True)
class Running:
    """Answers to one look.

    Attributes:
        lists: what each node that answered runs, by name.
        failed: why there is no list of a node, by name.
    """

    lists: dict[str, QueryList] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


def look_at_queries(asker: Asker, names: list[str], *, timeout_ms: int) -> Running:
    """Ask ``names`` what they run."""
    found = Running()
    replies = asker.ask(Kind.QUERIES, names=names, timeout_ms=timeout_ms)
    for name in names:
        reply = replies.get(name)
        if reply is None:
            found.failed[name] = f"no answer within {timeout_ms} ms"
            continue
        try:
            if reply.code:
                found.failed[name] = error_of(reply).message
            else:
                found.lists[name] = decode_queries(reply.body)
        except DecodeError as error:
            found.failed[name] = f"an answer that cannot be read: {error}"
    return found


def node_of(query: str, names: list[str]) -> str:
    """The node that gave the id ``query``.

    Raises:
        Rejected: none of ``names`` did.
    """
    node, *rest = query.rsplit("-", 2)
    if len(rest) != 2 or node not in names:
        raise Rejected(
            f"{query!r} is no id of {', '.join(names)}; `raftzmq queries` lists what runs, "
            f"with ids like {names[0]}-1a2b3-17"
        )
    return node


def kill_query(asker: Asker, node: str, query: str, who: str, *, timeout_ms: int) -> None:
    """Have ``node`` stop ``query``.

    Raises:
        Rejected: it does not run there, or must not be stopped.
        OutcomeUnknown: no answer.
    """
    payload = encode_kill(query, who)
    reply = asker.ask(Kind.KILL, names=[node], payload=payload, timeout_ms=timeout_ms).get(node)
    if reply is None:
        raise OutcomeUnknown(
            f"{node} did not answer within {timeout_ms} ms; `raftzmq queries` tells whether "
            f"{query} still runs"
        )
    if reply.code:
        raise _error(reply)


def _error(reply: Reply) -> RequestError:
    try:
        return error_of(reply)
    except DecodeError:
        return error_from_wire(reply.code, f"code {reply.code}", "")
