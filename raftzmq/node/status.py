"""What a node tells about itself."""

from __future__ import annotations

import os
from collections.abc import Callable

from raftzmq import __version__
from raftzmq.config import ClusterConfig
from raftzmq.node.conditions import Conditions
from raftzmq.node.service import ClientService
from raftzmq.raft.types import Role
from raftzmq.replica.replica import Replica
from raftzmq.transport.clock import monotonic_ms
from raftzmq.wire.status import NodeStatus, PeerStatus, encode_status


class StatusReport:
    """Builds the NodeStatus of one node.

    Args:
        config: the cluster, for addresses.
        replica: the replica reported on.
        conditions: what keeps the node from full service.
        clock: monotonic milliseconds.
        pid: of the process; 0: this one.
    """

    def __init__(
        self,
        config: ClusterConfig,
        replica: Replica,
        conditions: Conditions,
        *,
        clock: Callable[[], int] = monotonic_ms,
        pid: int = 0,
    ) -> None:
        self._conditions = conditions
        self._config = config
        self._replica = replica
        self._clock = clock
        self._pid = pid or os.getpid()
        self.service: ClientService | None = None
        self.dropped_at_sockets: Callable[[], dict[str, int]] = dict
        self._held: tuple[Role, int] | None = None
        self._held_since_ms = 0

    def key(self) -> tuple[object, ...]:
        """What observers must hear of at once."""
        return *self._replica.raft.leadership, self._conditions.names

    def encoded(self) -> bytes:
        """The packed NodeStatus."""
        replica, raft = self._replica, self._replica.raft
        leader = raft.leader
        counters = self.service.counters if self.service is not None else None
        peers = {}
        if replica.is_leader:
            peers = {
                name: PeerStatus(match=view.match_index, flow=view.flow.value)
                for name, view in raft.progress().items()
            }
        return encode_status(
            NodeStatus(
                node=raft.node,
                cluster=self._config.cluster,
                role=raft.role.value,
                term=raft.term,
                leader=leader or "",
                leader_client_address=self._config.nodes[leader].client if leader else "",
                commit_index=raft.commit_index,
                # A broker that hears less than its clients saw here would ask another node.
                applied_index=self.service.visible_index
                if self.service is not None
                else replica.applied_index,
                last_index=raft.last_position.index,
                first_index=raft.base.index + 1,
                contact_age_ms=raft.leader_contact_ticks * self._config.limits.tick_ms,
                pid=self._pid,
                # The starts alone: the rest is known to the nodes only (replica/admission.py).
                boot=replica.boot >> 32,
                version=__version__,
                reads=counters.reads if counters else 0,
                writes=counters.writes if counters else 0,
                fsyncs=replica.fsyncs,
                peers=peers,
                since_ms=self._since_ms(),
                conditions=self._conditions.sentences(),
                serves_reads=self._conditions.refusing_reads is None,
                dropped={
                    **replica.dropped,
                    **(counters.dropped() if counters else {}),
                    **self.dropped_at_sockets(),
                },
            )
        )

    def _since_ms(self) -> int:
        """How long role and term have been what they are, as far as anyone has asked."""
        raft = self._replica.raft
        if self._held != (raft.role, raft.term):
            self._held = raft.role, raft.term
            self._held_since_ms = self._clock()
        return self._clock() - self._held_since_ms
