"""Streams a dump into the cluster: bounded memory, bounded transactions, in order.

What a dump says about transactions is dropped, because one transaction of any size would have
to fit into one log entry. ``PRAGMA foreign_keys=OFF``, with which the dumps of SQLite begin, is
carried out by asking the cluster not to enforce foreign keys for the statements that follow.

While one transaction is under way the next one is read and put together, but not sent: a dump
stops at the first statement that fails, and nothing that follows it may be applied.

With an idempotency key each transaction has the key and its number. Where transactions begin
and end depends on the file alone, so a load that is repeated, or was stopped half way, applies
what is missing and nothing twice.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, Final

from raftzmq.cli.merging import Joined, one_row
from raftzmq.cli.requests import Requests
from raftzmq.cli.splitting import IncompleteStatement, Splitter, Statement
from raftzmq.client.session import Call, key_bytes
from raftzmq.errors import ConstraintFailed, MalformedRequest, RequestError
from raftzmq.wire.client import Flags

BATCH_STATEMENTS: Final = 5_000
BATCH_CHARACTERS: Final = 512 << 10
READ_CHARACTERS: Final = 256 << 10

_COMMENT: Final = r"(?:\s|--[^\n]*(?:\n|$)|/\*.*?\*/)*"
_DROPPED = re.compile(
    r"(?:BEGIN(?:\s+(?:DEFERRED|IMMEDIATE|EXCLUSIVE))?|COMMIT|END)(?:\s+TRANSACTION)?" + _COMMENT,
    re.IGNORECASE | re.DOTALL,
)
_SEQUENCE = re.compile(
    r"""(?:DELETE\s+FROM|INSERT\s+INTO)\s+["'`\[]?sqlite_sequence\b""", re.IGNORECASE
)
_ROLLBACK = re.compile(r"ROLLBACK\b", re.IGNORECASE)
_FOREIGN_KEYS = re.compile(
    r"PRAGMA\s+foreign_keys\s*(?:=|\()\s*'?(?P<value>\w+)'?\s*\)?" + _COMMENT,
    re.IGNORECASE | re.DOTALL,
)
_OFF: Final = frozenset({"off", "0", "false", "no"})


@dataclass(slots=True)
class Progress:
    """How far a dump has come. Statements before ``line`` that count are in the database.

    Attributes:
        statements: applied.
        rows: changed by them.
        transactions: committed, now or before.
        before: those of them that an earlier load with the same key committed; what they
            changed is in no other count, because the cluster does not remember it.
        characters: read from the file.
        sequences: statements about sqlite_sequence that were passed over.
        line: on which the first statement not applied begins; 0 before the first.
    """

    statements: int = 0
    rows: int = 0
    transactions: int = 0
    before: int = 0
    characters: int = 0
    sequences: int = 0
    line: int = 0


class DumpStopped(Exception):
    """A dump was not applied to its end.

    Attributes:
        error: why.
        progress: how far it came.
        first: the first statement of the transaction that failed.
        last: the last one of it.
    """

    def __init__(
        self, error: RequestError, progress: Progress, first: Statement, last: Statement
    ) -> None:
        super().__init__(error.message)
        self.error = error
        self.progress = progress
        self.first = first
        self.last = last


class DumpLoader:
    """Sends the statements of a dump.

    Args:
        requests: where they go.
        flags: ``Flags`` for every write.
        advance: called after each transaction.
        key: idempotency key of the whole load, if any.
        ahead: read on while a transaction is under way; not where reading may take for ever.
    """

    def __init__(
        self,
        requests: Requests,
        *,
        flags: int,
        advance: Callable[[Progress], None],
        key: str | None = None,
        ahead: bool = True,
    ) -> None:
        self._ahead = ahead
        self._sent: tuple[Call, list[Statement]] | None = None
        self._sends = 0
        self._key = key
        self._requests = requests
        self._flags = flags
        self._advance = advance
        self._batch: list[Statement] = []
        self._joined = Joined()
        self._head = ""
        self.progress = Progress()

    def load(self, file: IO[str]) -> Progress:
        """Apply the whole file.

        Raises:
            DumpStopped: with what was applied until then.
        """
        last = Statement("", 1)
        try:
            for statement in self._statements(file):
                last = statement
                self._take(statement)
        except IncompleteStatement as error:
            # What is whole before the break is good; it would be odd to keep just a part of it.
            self._send()
            self._finish()
            raise self._stopped(MalformedRequest(str(error)), last, last) from None
        self._send()
        self._finish()
        return self.progress

    def _statements(self, file: IO[str]) -> Iterator[Statement]:
        splitter = Splitter()
        while text := file.read(READ_CHARACTERS):
            yield from splitter.feed(text)
            self.progress.characters += len(text)
        yield from splitter.finish()

    def _take(self, statement: Statement) -> None:
        row = one_row(statement.sql)
        if row is not None and row[0] == self._head:
            self._add(statement, row)
            return
        foreign_keys = _FOREIGN_KEYS.fullmatch(statement.sql)
        if foreign_keys:
            self._send()
            if foreign_keys["value"].lower() in _OFF:
                self._flags |= Flags.NO_FOREIGN_KEYS
            else:
                self._flags &= ~Flags.NO_FOREIGN_KEYS
            return
        if _DROPPED.fullmatch(statement.sql):
            return
        if _SEQUENCE.match(statement.sql):
            # A replicated database refuses to set a sequence; it goes on from the highest rowid.
            self.progress.sequences += 1
            return
        if _ROLLBACK.match(statement.sql):
            # What stands before it was sent already, in transactions of its own.
            self._send()
            self._finish()
            raise self._stopped(
                MalformedRequest(
                    "the dump ends with ROLLBACK: whoever wrote it could not finish, so it is "
                    "not complete; make the dump again"
                ),
                statement,
                statement,
            )
        self._head = "" if row is None else row[0]
        self._add(statement, row)

    def _add(self, statement: Statement, row: tuple[str, str] | None) -> None:
        size = len(statement.sql)
        if self._batch and (
            len(self._batch) >= BATCH_STATEMENTS or self._joined.size + size > BATCH_CHARACTERS
        ):
            self._send()
        self._batch.append(statement)
        self._joined.add(statement.sql, row)

    def _send(self) -> None:
        if not self._batch:
            return
        batch, self._batch = self._batch, []
        texts, self._joined = self._joined.texts(), Joined()
        self._finish()
        self._sends += 1
        key, flags = b"", self._flags
        if self._key is not None:
            key = key_bytes(self._key, self._sends)
            # Thousands of parts must stay remembered at the same time.
            flags |= Flags.NO_RESULT
        try:
            call = self._requests.begin([(sql, ()) for sql in texts], flags=flags, key=key)
        except RequestError as error:
            raise self._stopped(error, batch[0], batch[-1]) from error
        self._sent = call, batch
        if not self._ahead:
            self._finish()

    def _finish(self) -> None:
        """Wait for the transaction that is under way."""
        if self._sent is None:
            return
        (call, batch), self._sent = self._sent, None
        try:
            written = self._requests.finish(call)
        except RequestError as error:
            raise self._stopped(error, batch[0], batch[-1]) from error
        self.progress.statements += len(batch)
        self.progress.rows += sum(result.changes for result in written.results)
        self.progress.transactions += 1
        self.progress.before += written.before
        self._advance(self.progress)

    def _stopped(self, error: RequestError, first: Statement, last: Statement) -> DumpStopped:
        self.progress.line = first.line
        return DumpStopped(error, self.progress, first, last)


def advice(error: RequestError) -> str:
    """What helps beyond the message itself; may be empty."""
    if isinstance(error, ConstraintFailed) and "FOREIGN KEY" in error.message.upper():
        return "a dump that fills tables in any order needs --no-foreign-keys"
    return ""
