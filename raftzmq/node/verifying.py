"""A snapshot on its way in is verified while it comes, in a thread beside the raft thread.

When its last chunk is there, its digest is known but for the last piece: a second per gigabyte that
would else pass between the transfer and the install.
"""

from __future__ import annotations

import threading
from contextlib import suppress

from raftzmq.storage.snapshot_file import IncomingSnapshot


class VerifiedMeanwhile:
    """The ``Partial`` of a node. The raft thread calls all methods but ``verify`` and ``install``.

    Args:
        partial: used by nobody else.
    """

    def __init__(self, partial: IncomingSnapshot) -> None:
        self._partial = partial
        self._more = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._verify_behind, name="verify")
        self._more.set()  # a part of it may be here already
        self._thread.start()

    @property
    def received_bytes(self) -> int:
        """See ``IncomingSnapshot``."""
        return self._partial.received_bytes

    def append(self, offset: int, data: bytes, checksum: int) -> None:
        """See ``IncomingSnapshot``."""
        self._partial.append(offset, data, checksum)
        self._more.set()

    def verify(self) -> None:
        """See ``IncomingSnapshot``; called by the applier's thread when all chunks are there."""
        self.stop()
        self._partial.verify()

    def install(self) -> None:
        """See ``IncomingSnapshot``; called by the applier's thread."""
        self.stop()
        self._partial.install()

    def discard(self) -> None:
        """See ``IncomingSnapshot``."""
        self.stop()
        self._partial.discard()

    def close(self) -> None:
        """See ``IncomingSnapshot``."""
        self.stop()
        self._partial.close()

    def stop(self) -> None:
        """End the thread, after the piece that it reads; a second call does nothing."""
        self._stopping = True
        self._more.set()
        self._thread.join()

    def _verify_behind(self) -> None:
        # What cannot be read is reported by ``verify``, which tries again.
        with suppress(OSError):
            while not self._stopping:
                self._more.wait()
                self._more.clear()
                while not self._stopping and self._partial.verify_more():
                    pass
