"""Every failure a caller can see, in one tree, each with its outcome.

The outcome answers the only question that matters to a caller (promise P9):

    NOT_EXECUTED  it did not happen and will not happen; repeating it is safe
    REJECTED      it did not happen because the request itself is wrong; repeating it is useless
    UNKNOWN       it may have happened, may happen yet, or may never happen

Each class that crosses the wire has a ``code``; codes are never reused. Errors at start
(configuration, data folder, ports) carry the exit code of the process instead.
"""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar, Final

REBUILD: Final = "raftzmq rebuild NODE"
"""The command that gives a damaged node a new copy of its data; the process of a node puts its
own name in the place of NODE."""


class Outcome(IntEnum):
    """What a failed request did to the database."""

    NOT_EXECUTED = 1
    REJECTED = 2
    UNKNOWN = 3


class RaftzmqError(Exception):
    """Base of all errors that raftzmq raises on purpose."""


class RequestError(RaftzmqError):
    """A request failed; ``outcome`` says what that means for the database.

    Attributes:
        code: number on the wire, unique per class.
        outcome: what the failure did to the database.
        message: one or two sentences: what happened, to what, what to do next.
        detail: machine-readable addition, for instance the leader's address in NotLeader.
    """

    code: ClassVar[int] = 0
    outcome: ClassVar[Outcome] = Outcome.UNKNOWN

    def __init__(self, message: str, detail: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail


class NotExecuted(RequestError):
    """It did not happen; the same request may be sent again."""

    code = 10
    outcome = Outcome.NOT_EXECUTED


class NotLeader(NotExecuted):
    """The node asked is not the leader; ``detail`` is the leader's client address, or empty."""

    code = 11


class Overloaded(NotExecuted):
    """A bounded queue is full; wait a little and send again."""

    code = 12


class DeadlineExpired(NotExecuted):
    """The request's time ran out before it was handed to the database."""

    code = 13


class Unavailable(NotExecuted):
    """No node can serve this request now: no leader, or no replica fresh enough."""

    code = 14


class ShuttingDown(NotExecuted):
    """The node or broker is stopping and takes no new requests."""

    code = 15


class TooStale(NotExecuted):
    """The replica is further behind than the read level allows."""

    code = 16


class Deferred(NotExecuted):
    """A read outgrew the fast lane and was stopped; the broker sends it again by a slow lane."""

    code = 17


class DiskFull(NotExecuted):
    """The disk of the leader is nearly full, and no other node can lead; make room there."""

    code = 19


class Rejected(RequestError):
    """The request is wrong as it stands; repeating it gives the same answer."""

    code = 30
    outcome = Outcome.REJECTED


class MalformedRequest(Rejected):
    """The bytes are not a request of this protocol."""

    code = 31


class UnsupportedVersion(Rejected):
    """The protocol version in frame 0 is not one that this program speaks."""

    code = 32


class TooLarge(Rejected):
    """A named limit was exceeded: request bytes, result bytes, parameters, statements."""

    code = 33


class SqlError(Rejected):
    """SQLite refused the statement: syntax, missing table, wrong number of parameters."""

    code = 34


class ConstraintFailed(Rejected):
    """A constraint of the schema refused the change; the whole request was rolled back."""

    code = 35


class Forbidden(Rejected):
    """The statement is valid SQL that a replicated database must refuse (ATTACH, PRAGMA, ...)."""

    code = 36


class NotAQuery(Rejected):
    """A read request contains a statement that writes; send it as a write."""

    code = 37


class StatementTimeout(Rejected):
    """A statement ran longer than its limit and was interrupted; nothing of it remains."""

    code = 38


class NameReused(Rejected):
    """Another write has this client id and sequence, or this idempotency key, already."""

    code = 39


class Killed(Rejected):
    """Somebody stopped this read on purpose; nothing sends it again by itself.

    REJECTED although the request is well-formed: code that repeats everything NOT_EXECUTED
    would undo at once what the operator did. ``detail`` is the id it ran under.
    """

    code = 40


class OutcomeUnknown(RequestError):
    """The request was handed to the database and no answer came; it may have been applied."""

    code = 50
    outcome = Outcome.UNKNOWN


class LedgerExpired(OutcomeUnknown):
    """A retry came after the ledger forgot whether the first attempt was applied."""

    code = 51


def _tree(root: type[RequestError]) -> dict[int, type[RequestError]]:
    found = {root.code: root}
    for child in root.__subclasses__():
        found.update(_tree(child))
    return found


WIRE_ERRORS: dict[int, type[RequestError]] = {
    code: cls for code, cls in _tree(RequestError).items() if code
}
"""Code on the wire -> class; what `wire` uses to rebuild an error on the client's side."""


def error_from_wire(code: int, message: str, detail: str) -> RequestError:
    """Rebuild the error a peer sent; an unknown code of a newer peer is OutcomeUnknown."""
    return WIRE_ERRORS.get(code, OutcomeUnknown)(message, detail)


class StartError(RaftzmqError):
    """The process cannot start, or must stop; ``exit_code`` is what it exits with.

    The message names the file or address, the key and the value, and what to do next.
    """

    exit_code: ClassVar[int] = 1


class ConfigError(StartError):
    """nodes.toml is wrong: unknown key, clash of ids or addresses, value out of range."""

    exit_code = 78  # EX_CONFIG of sysexits.h


class DataFolderLocked(StartError):
    """Another process holds the data folder."""

    exit_code = 73  # EX_CANTCREAT


class DataFolderMismatch(StartError):
    """The data folder belongs to another node or another cluster."""

    exit_code = 79


class AddressInUse(StartError):
    """An address to bind is taken or does not exist on this machine."""

    exit_code = 80


class StorageDamaged(StartError):
    """raft.db or state.db does not hold what it should; the message names file and place."""

    exit_code = 81


class StorageFailed(StartError):
    """Writing or syncing a file failed while running; the node stops rather than guess."""

    exit_code = 82


class NoRoom(StorageFailed):
    """There was no room for a write. Nothing of it was kept and the file is as it was before, so
    the same write may be tried again; unlike after a failed fsync, which nobody may repeat."""
