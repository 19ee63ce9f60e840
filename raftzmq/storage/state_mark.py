"""How far state.db had come when frames of its write-ahead log were last copied into it.

Once frames are copied, a damaged frame before them is worse than a lost tail: SQLite reads the
log up to the damage, and lays those older pages over the newer ones that were copied. The result
opens, may pass ``integrity_check``, and is a mixture of two states. It can be told by its applied
index alone, which is then lower than it was at the copying; so that index is written down in a
second place before any frame is copied.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from raftzmq.errors import StorageDamaged, StorageFailed
from raftzmq.storage.mark import SequenceMark
from raftzmq.storage.verified_read import REMEDY

STATE_MARK_NAME: Final = "state.mark"


class StateMark:
    """The file ``state.mark`` beside a state.db.

    Args:
        path_state: state.db.

    Raises:
        StorageFailed: the file cannot be opened.
    """

    def __init__(self, path_state: Path) -> None:
        self._state = path_state
        self._path = path_state.with_name(STATE_MARK_NAME)
        try:
            self._mark = SequenceMark(self._path)
        except OSError as error:
            raise StorageFailed(f"{self._path}: {error}") from error

    def require(self, applied_index: int) -> None:
        """Stop unless state.db is at least as far as it was when the mark was raised.

        Raises:
            StorageDamaged: it is not.
            StorageFailed: the mark cannot be read.
        """
        try:
            marked = self._mark.read().sequence or 0
        except OSError as error:
            raise StorageFailed(f"{self._path}: {error}") from error
        if applied_index < marked:
            raise StorageDamaged(
                f"{self._state} holds entries up to {applied_index}, but held {marked} durably"
                f" before: its write-ahead log is damaged, or it is an older copy; {REMEDY}"
            )

    def raise_to(self, applied_index: int) -> None:
        """Write down, durably, that state.db holds ``applied_index`` durably.

        Raises:
            StorageFailed: it cannot be written.
        """
        try:
            self._mark.write(applied_index)
            self._mark.sync()
        except OSError as error:
            raise StorageFailed(f"{self._path}: {error}") from error

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        self._mark.close()
