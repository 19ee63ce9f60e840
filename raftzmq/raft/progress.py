"""What the leader knows of one peer's log, and how it may send to it.

::

             accepted                     log no longer reaches back
    PROBE ─────────────▶ REPLICATE    PROBE ─────────────────────────▶ SNAPSHOT
      ▲                      │          ▲                                 │
      └── rejected, lost ────┘          └── installed, failed, lost ──────┘

PROBE sends one append and waits for its answer; REPLICATE sends ahead of the answers within a
bounded window (thesis 10.2.1); SNAPSHOT sends no appends. ``match_index < next_index`` always,
and ``match_index`` never falls. Nothing is sent from here.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple


class Flow(Enum):
    """How the leader sends to a peer."""

    PROBE = "probe"
    REPLICATE = "replicate"
    SNAPSHOT = "snapshot"


class ProgressView(NamedTuple):
    """What people and the host see of a peer's progress."""

    match_index: int
    next_index: int
    flow: Flow
    recent_active: bool


@dataclass(slots=True)
class Progress:
    """The leader's view of one peer."""

    next_index: int
    contact_tick: int
    """Tick of the leader at which the peer was last heard from in this term."""
    binding_tick: int
    """The same, of messages that bind their sender; only those count for a quorum."""
    match_index: int = 0
    binding_index: int = 0
    """What of match_index counts for a commit: acknowledged by a message that binds."""
    proof: tuple[int, int] | None = None
    """(context, index) of the entry that was proposed for the recovering peer's last request."""
    flow: Flow = Flow.PROBE
    paused: bool = False
    """PROBE: nothing more is sent before an answer to the probe or to a heartbeat."""
    nudge: bool = False
    """REPLICATE: an append is due even when it is empty, to find out what was lost."""
    commit_sent: int = 0
    round_acked: int = 0
    """Latest ReadIndex round that the peer confirmed."""
    heartbeat_match: int = -1
    """What was acknowledged, bindingly where the response was, at the previous heartbeat response;
    unchanged means that acknowledgements are missing."""
    inflight: deque[tuple[int, int]] = field(default_factory=deque)
    """REPLICATE: (last index, bytes) per append that is not acknowledged."""
    inflight_bytes: int = 0

    def probe(self, next_index: int, *, paused: bool = False) -> None:
        """Enter PROBE; ``paused`` waits for the next heartbeat response first."""
        self.flow = Flow.PROBE
        self.paused = paused
        self.commit_sent = 0
        self._reset(max(next_index, self.match_index + 1))

    def replicate(self) -> None:
        """Enter REPLICATE after the peer's log was found to equal ours up to match_index."""
        self.flow = Flow.REPLICATE
        self.paused = False
        self._reset(self.match_index + 1)

    def snapshot(self) -> None:
        """Enter SNAPSHOT: the peer needs what the log no longer holds."""
        self.flow = Flow.SNAPSHOT
        self.paused = True
        self._reset(self.next_index)

    def sent(self, last_index: int, size_bytes: int) -> None:
        """Account for an append with entries up to ``last_index``."""
        if self.flow is Flow.PROBE:
            self.paused = True
            return
        self.next_index = last_index + 1
        self.inflight.append((last_index, size_bytes))
        self.inflight_bytes += size_bytes

    def accepted(self, match_index: int, *, binding: bool) -> bool:
        """The peer holds everything up to ``match_index``, durably. False: known before.

        Acknowledgements may come in any order; each frees what lies at or before it.
        """
        inflight = self.inflight
        while inflight and inflight[0][0] <= match_index:
            self.inflight_bytes -= inflight.popleft()[1]
        is_news = match_index > self.match_index
        if is_news:
            self.match_index = match_index
            self.next_index = max(self.next_index, match_index + 1)
        if binding and match_index > self.binding_index:
            self.binding_index = match_index
            is_news = True
        return is_news

    def is_stale_rejection(self, rejected_index: int) -> bool:
        """Whether a rejection answers an append that no longer matters.

        What was acknowledged is durable, so a rejection at or below match_index is older than
        the acknowledgement; in PROBE only the one outstanding append can be rejected.
        """
        if self.flow is Flow.REPLICATE:
            return rejected_index <= self.match_index
        return rejected_index != self.next_index - 1

    def _reset(self, next_index: int) -> None:
        self.next_index = next_index
        self.nudge = False
        self.inflight.clear()
        self.inflight_bytes = 0
