"""A bounded space that many connections share, so that none of them takes it from the others.

A connection is refused when the space is full, and also when it alone holds more than what is
still free: one holds at most half, two a third each, a hundred leave a hundredth for whoever
comes next (dynamic thresholds; Choudhury and Hahne, 1998).

That alone does not do: connections that come, ask and go leave their requests behind, and each
takes its part of what is left. So when it is full, whoever holds least of all may ask that the one
that holds most gives something up (``outweighs``; pushing out the longest queue: Wei, Coyle and
Hsiao, 1991). No sockets, no clock.
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

    def held(self, holder: bytes) -> int:
        """Requests that ``holder`` holds."""
        return self._held.get(holder, (0, 0))[0]

    def outweighs(self, holder: bytes, requests: int, size_bytes: int) -> bytes | None:
        """Who must make room for so much more of ``holder``; None: nobody, it must wait itself.

        It is who holds most, of what is short, if that is more than twice what ``holder`` would
        hold: of two alike neither drives out the other.
        """
        held, held_bytes = self._held.get(holder, (0, 0))
        wanted, wanted_bytes = held + requests, held_bytes + size_bytes
        if not self._held:
            return None
        free, free_bytes = self._requests_max - self.requests, self._bytes_max - self.bytes
        if requests > free or held > free:
            largest = max(self._held, key=lambda name: self._held[name][0])
            return largest if self._held[largest][0] > 2 * wanted else None
        if size_bytes > free_bytes or held_bytes > free_bytes:
            largest = max(self._held, key=lambda name: self._held[name][1])
            return largest if self._held[largest][1] > 2 * wanted_bytes else None
        return None

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
