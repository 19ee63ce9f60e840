"""Who is told of every change of this node's status: brokers that registered."""

from __future__ import annotations

from collections.abc import Callable

from raftzmq import limits

OBSERVERS_MAX = 64
UNCHANGED_PERIODS = 5
"""Who hears nothing for a second takes a node for dead (broker/health.py)."""


class Observers:
    """Registered observers by the routing id of their connection; each expires if not renewed.

    Args:
        push: sends (routing id, status body); may drop.
        period_ms: between two pushes while entries are applied; UNCHANGED_PERIODS of them while
            nothing happens.

    Attributes:
        refused: registrations that found the list full. Who is on it stays on it, so strangers
            keep out newcomers only, and these still get the status with each request.
    """

    def __init__(self, push: Callable[[bytes, bytes], None], period_ms: int) -> None:
        self._push = push
        self._period_ms = period_ms
        self._expires_ms: dict[bytes, int] = {}
        self._last_key: object = None
        self._last_applied = 0
        self._last_push_ms = 0
        self.refused = 0

    def register(self, identity: bytes, now_ms: int) -> None:
        """Tell ``identity`` about changes for OBSERVER_TTL_MS."""
        if identity in self._expires_ms or len(self._expires_ms) < OBSERVERS_MAX:
            self._expires_ms[identity] = now_ms + limits.OBSERVER_TTL_MS
        else:
            self.refused += 1

    def update(
        self, key: object, applied_index: int, status: Callable[[], bytes], now_ms: int
    ) -> None:
        """Push the status if ``key`` (role, term, leader) changed or a period went by."""
        if not self._expires_ms:
            return
        if key == self._last_key:
            unchanged = applied_index == self._last_applied
            period_ms = self._period_ms * (UNCHANGED_PERIODS if unchanged else 1)
            if now_ms - self._last_push_ms < period_ms:
                return
        self._last_key = key
        self._last_applied = applied_index
        self._last_push_ms = now_ms
        body = status()
        for identity, expires_ms in list(self._expires_ms.items()):
            if expires_ms <= now_ms:
                del self._expires_ms[identity]
            else:
                self._push(identity, body)
