"""Which SQL has lately been slow, so that it goes to a slow lane at once.

A read that outgrows the fast lane costs a fast worker FAST_READ_MS in vain, and the short reads
of its batch wait for that. The same text asked again, with whatever parameters, would do so
each time. So after it did it twice in a row it begins in a slow lane, until a run there is over
within FAST_READ_MS. A text that is slow only now and then thus stays fast.

Pure: no clock, no sockets. Bounded: the texts seen least lately are forgotten first.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from raftzmq.limits import FAST_READ_MS
from raftzmq.wire.sql_text import first_text

TEXTS_MAX: Final = 1_000
TEXT_BYTES_MAX: Final = 4_096
"""Longer texts are not remembered: they are rarely asked twice, and memory is bounded."""
STRIKES: Final = 2


class SlowTexts:
    """What one broker remembers. Empty as long as nothing is slow, and then free of cost."""

    __slots__ = ("_strikes",)

    def __init__(self) -> None:
        self._strikes: OrderedDict[bytes, int] = OrderedDict()

    def __len__(self) -> int:
        """Texts remembered."""
        return len(self._strikes)

    def known(self, payload: bytes) -> bytes:
        """The text of ``payload`` if it is remembered, else nothing."""
        text = first_text(payload) if self._strikes else b""
        return text if text in self._strikes else b""

    def is_slow(self, text: bytes) -> bool:
        """Whether a read of ``text`` should begin in a slow lane."""
        return self._strikes.get(text, 0) >= STRIKES

    def deferred(self, payload: bytes) -> bytes:
        """A read outgrew the fast lane; returns its text, or nothing if that is too long."""
        text = first_text(payload)
        if not text or len(text) > TEXT_BYTES_MAX:
            return b""
        self._strikes[text] = self._strikes.get(text, 0) + 1
        self._strikes.move_to_end(text)
        if len(self._strikes) > TEXTS_MAX:
            self._strikes.popitem(last=False)
        return text

    def answered(self, text: bytes, slow_lane_ms: int | None) -> None:
        """A read of a remembered text succeeded.

        Args:
            text: as ``known`` or ``deferred`` returned it.
            slow_lane_ms: how long the slow lane took; None for the fast one.
        """
        if slow_lane_ms is None or slow_lane_ms < FAST_READ_MS:
            self._strikes.pop(text, None)
