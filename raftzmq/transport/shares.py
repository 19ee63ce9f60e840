"""A bounded space that many connections share, so that none of them takes it from the others.

A connection is refused when the space is full, and also when it alone holds more than what is
still free: one holds at most half, two a third each, a hundred leave a hundredth for whoever
comes next (dynamic thresholds; Choudhury and Hahne, 1998). No sockets, no clock.
"""

from __future__ import annotations


class Shares:
    """Who holds how many requests and bytes of the space.

    Args:
        requests_max: of all connections together.
        bytes_max: of all connections together.
    """

    __slots__ = ("_bytes_max", "_held", "_requests_max", "bytes", "requests")

    def __init__(self, requests_max: int, bytes_max: int) -> None:
        self._requests_max = requests_max
        self._bytes_max = bytes_max
        self._held: dict[bytes, tuple[int, int]] = {}
        self.requests = 0
        self.bytes = 0

    def take(self, holder: bytes, requests: int, size_bytes: int) -> bool:
        """Let ``holder`` hold so much more; False: it must not, and nothing changed."""
        held, held_bytes = self._held.get(holder, (0, 0))
        free = self._requests_max - self.requests
        free_bytes = self._bytes_max - self.bytes
        # What is asked for counts once, as part of what is taken: a lone request always fits.
        if requests > free or size_bytes > free_bytes or held > free or held_bytes > free_bytes:
            return False
        self.requests += requests
        self.bytes += size_bytes
        self._held[holder] = held + requests, held_bytes + size_bytes
        return True

    def give_back(self, holder: bytes, requests: int, size_bytes: int) -> None:
        """``holder`` no longer holds so much."""
        held, held_bytes = self._held[holder]
        self.requests -= requests
        self.bytes -= size_bytes
        if held == requests:
            del self._held[holder]
        else:
            self._held[holder] = held - requests, held_bytes - size_bytes

    def clear(self) -> None:
        """Nobody holds anything."""
        self._held.clear()
        self.requests = self.bytes = 0
