"""Whether a cluster holds everything it acknowledged without one of its nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from raftzmq.observe.survey import leader_of
from raftzmq.wire.status import NodeStatus


def why_not_without(
    node: str, members: Sequence[str], statuses: Mapping[str, NodeStatus]
) -> str | None:
    """Why ``node`` may not lose its data now; None when it may.

    An acknowledged write is on a majority. Without ``node`` it is still on one, and the cluster
    can go on, if a majority of all members, ``node`` not among them, follow one leader and each
    hold the log up to what the leader knows to be committed. The leader itself holds all of it
    (thesis 3.6.3). A member that refuses reads is in doubt itself and does not count.

    Args:
        node: who shall begin anew; down, or about to be.
        members: all nodes of the cluster, ``node`` included.
        statuses: of the others, as far as they answered.
    """
    needed = len(members) // 2 + 1
    others = {name: each for name, each in statuses.items() if name != node and name in members}
    leader = leader_of(others)
    if leader is None:
        return f"no leader among the other nodes ({_names(others)} answered)"
    holders = [leader.node] + [
        name
        for name, status in others.items()
        if name != leader.node
        and status.leader == leader.node
        and status.term == leader.term
        and status.serves_reads
        and name in leader.peers
        and leader.peers[name].match >= leader.commit_index
    ]
    if len(holders) < needed:
        return (
            f"only {_names(holders)} of the {len(members)} nodes hold every acknowledged write"
            f" without {node}, and {needed} must"
        )
    return None


def _names(names: Sequence[str] | Mapping[str, NodeStatus]) -> str:
    return ", ".join(sorted(names)) or "none"
