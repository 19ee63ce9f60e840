"""Hashes state.db at CHECKSUM entries, in a thread beside the applier.

The applier pins the read snapshot between two of its transactions, which takes well under a
millisecond; the hash takes as long as it takes while later entries are applied. One at a time:
a CHECKSUM entry that comes meanwhile is answered "not hashed", so nothing piles up however
large the database and however short the interval.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from time import sleep

from raftzmq.errors import StorageDamaged
from raftzmq.invariants import check
from raftzmq.node.gate import StateGate
from raftzmq.raft.types import LogPosition
from raftzmq.replica.judge import NOT_HASHED
from raftzmq.statemachine.digest import DigestAbandoned, Pinned
from raftzmq.transport.clock import monotonic_s

REST_SHARE = 3
"""A hash takes a quarter of a processor at most: all nodes hash at the same time, and with three
at full speed on two processors a write took two to four times as long. A low priority of the thread
does not help: what it holds up is the interpreter lock, which it then holds for longer."""
REST_MAX_S = 0.05
_DIGEST_BYTES = 32


@dataclass(frozen=True, slots=True)
class Hashed:
    """The content at a CHECKSUM entry has this digest; NOT_HASHED: it was passed."""

    position: LogPosition
    digest: bytes


@dataclass(frozen=True, slots=True)
class HashFailed:
    """state.db cannot be read; the process must stop."""

    error: BaseException


class ContentChecks:
    """Pins and hashes.

    Args:
        gate: an install of a snapshot waits until the pinned one is closed, and ends the hash.
        post: hands Hashed or HashFailed to the raft thread.
    """

    def __init__(self, gate: StateGate, post: Callable[[Hashed | HashFailed], None]) -> None:
        self._gate = gate
        self._post = post
        self._thread: threading.Thread | None = None
        self._pinned: Pinned | None = None
        self._stopping = False

    def reached(self, position: LogPosition) -> None:
        """The applier's last transaction ended with this CHECKSUM entry; it waits meanwhile."""
        if self._stopping or self._pinned is not None:
            self._post(Hashed(position, NOT_HASHED))
            return
        held = ExitStack()
        # Held open over the end of this method: an install must not swap state.db before the
        # snapshot is closed. The applier itself does installs, so this never waits here.
        held.enter_context(self._gate.reading())
        try:
            pinned = Pinned(self._gate.path)
        except BaseException as error:
            held.close()
            if not isinstance(error, StorageDamaged):
                raise
            self._post(Hashed(position, _unlike_any()))
            return
        self._gate.register(pinned)
        self._pinned = pinned
        check(
            pinned.applied_index == position.index,
            "content is hashed at the very index of its CHECKSUM entry",
            pinned=pinned.applied_index,
            entry=position.index,
        )
        self._thread = threading.Thread(
            target=self._hash, args=(position, pinned, held), name="checksum"
        )
        self._thread.start()

    def stop(self) -> None:
        """End a hash that runs, and wait for its thread; call after the applier's end."""
        self._stopping = True
        self._gate.interrupt_all()
        if self._thread is not None:
            self._thread.join()

    def _hash(self, position: LogPosition, pinned: Pinned, held: ExitStack) -> None:
        report: Hashed | HashFailed
        try:
            report = Hashed(position, bytes.fromhex(pinned.digest(_resting())))
        except DigestAbandoned:
            report = Hashed(position, NOT_HASHED)
        except StorageDamaged:
            report = Hashed(position, _unlike_any())
        except Exception as error:  # noqa: BLE001 - reported to the raft thread, which stops
            report = HashFailed(error)
        finally:
            self._gate.forget(pinned)
            pinned.close()
            self._pinned = None
        # Before an install may go on: what was hashed must not be taken for what replaced it.
        self._post(report)
        held.close()


def _resting() -> Callable[[], None]:
    """A pause after each step, REST_SHARE times as long as the step took."""
    began = monotonic_s()

    def pause() -> None:
        nonlocal began
        sleep(min(REST_MAX_S, REST_SHARE * (monotonic_s() - began)))
        began = monotonic_s()

    return pause


def _unlike_any() -> bytes:
    """The digest of content that SQLite cannot read: two such replicas are not equal either."""
    return os.urandom(_DIGEST_BYTES)
