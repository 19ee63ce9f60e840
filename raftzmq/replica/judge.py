"""Which replicas are right, from what they reported. Pure functions.

Right is the digest that a majority of *all* voters reported, of both halves in a joint
configuration: not of those that answered, or two nodes of five could outvote one while the
other two are down. Reports may come in any order and late; each one is judged when it comes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from raftzmq.raft.quorum import VoteResult, vote_result
from raftzmq.raft.types import Configuration, NodeId

NOT_HASHED = b""
"""The report of a node that passed the entry without hashing; it counts for nothing."""


class Finding(Enum):
    """What is known of one node at one check."""

    WAITING = "waiting"
    SKIPPED = "skipped"
    EQUAL = "equal"
    DIFFERS = "differs"
    """From the majority."""
    DOUBTED = "in doubt"
    """Voters differ, and no digest has a majority."""
    UNDECIDED = "undecided"
    """No voter differs, and too few reported for a majority."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the reports of one check prove.

    Attributes:
        right: the digest of the majority; None as long as there is none.
        findings: each voter, and each other node that reported.
    """

    right: bytes | None
    findings: dict[NodeId, Finding]

    @property
    def doubted(self) -> bool:
        """Whether voters differ and nobody can tell which of them is right."""
        return Finding.DOUBTED in self.findings.values()

    @property
    def complete(self) -> bool:
        """Whether every voter reported."""
        return Finding.WAITING not in self.findings.values()


def judge(configuration: Configuration, reports: Mapping[NodeId, bytes]) -> Judgement:
    """Judge the digests that nodes reported for one CHECKSUM entry."""
    hashed = {node: digest for node, digest in reports.items() if digest != NOT_HASHED}
    right = None
    for digest in set(hashed.values()):
        votes = {node: each == digest for node, each in hashed.items()}
        if vote_result(configuration, votes) is VoteResult.WON:
            right = digest
    voters = configuration.voters | configuration.outgoing
    contradicted = len({digest for node, digest in hashed.items() if node in voters}) > 1
    findings: dict[NodeId, Finding] = {}
    for node in sorted(voters | reports.keys()):
        if node not in reports:
            findings[node] = Finding.WAITING
        elif node not in hashed:
            findings[node] = Finding.SKIPPED
        elif right is None:
            findings[node] = Finding.DOUBTED if contradicted else Finding.UNDECIDED
        else:
            findings[node] = Finding.EQUAL if hashed[node] == right else Finding.DIFFERS
    return Judgement(right, findings)
