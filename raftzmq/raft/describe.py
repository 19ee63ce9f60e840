"""Messages, facts and Readies in one line each, for scenario scripts, logs and people."""

from __future__ import annotations

from collections.abc import Iterable

from raftzmq.raft.messages import (
    AppendRequest,
    AppendResponse,
    HeartbeatRequest,
    HeartbeatResponse,
    Message,
    PreVoteRequest,
    PreVoteResponse,
    ProofRequest,
    ProofResponse,
    ReadIndexRequest,
    ReadIndexResponse,
    TimeoutNow,
    VoteRequest,
    VoteResponse,
)
from raftzmq.raft.types import (
    Entry,
    EntryKind,
    Fact,
    LogTruncated,
    ProgressChanged,
    ReadState,
    Ready,
    RoleChanged,
    StandingChanged,
    TransferChanged,
    VoteCast,
)

_DATA_BYTES_MAX = 16
_ENTRIES_MAX = 8


def describe_message(message: Message) -> str:
    """Who to whom, in which term, what; for instance ``n1>n2 t2 Append after=4@1 ...``."""
    return f"{message.sender}>{message.receiver} t{message.term} {_content(message)}"


def describe_entry(entry: Entry) -> str:
    """``index@term`` and the beginning of the data."""
    place = f"{entry.index}@{entry.term}"
    if entry.kind is not EntryKind.COMMAND:
        return f"{place}:{entry.kind.name.lower()}"
    data = entry.data[:_DATA_BYTES_MAX]
    shown = data.decode() if data.isascii() and data.decode().isprintable() else data.hex()
    return f"{place}:{shown}{'…' if len(entry.data) > _DATA_BYTES_MAX else ''}"


def describe_entries(entries: tuple[Entry, ...]) -> str:
    """All entries, or the first few and the last."""
    if len(entries) <= _ENTRIES_MAX:
        return "[" + " ".join(describe_entry(entry) for entry in entries) + "]"
    first = " ".join(describe_entry(entry) for entry in entries[: _ENTRIES_MAX - 1])
    return f"[{first} … {describe_entry(entries[-1])} ({len(entries)})]"


def describe_fact(fact: Fact) -> str:
    """A fact as a short phrase."""
    match fact:
        case RoleChanged():
            leader = fact.leader or "-"
            return f"{fact.role.value} t{fact.term} leader={leader}: {fact.why}"
        case VoteCast():
            kind = "pre-vote" if fact.pre_vote else "vote"
            verdict = "granted" if fact.granted else "refused"
            return f"{kind} t{fact.term} {verdict} to {fact.candidate}: {fact.why}"
        case LogTruncated():
            return f"truncated from {fact.index}@{fact.term}"
        case ProgressChanged():
            return f"{fact.peer} {fact.flow} match={fact.match_index} next={fact.next_index}"
        case TransferChanged():
            return f"transfer to {fact.target} {fact.state}"
        case StandingChanged():
            return f"standing {fact.standing.value}: {fact.why}"


def describe_ready(ready: Ready) -> str:
    """The fields that are not empty, in the order of their duties."""
    parts: list[str] = []
    _add(parts, "now", "; ".join(describe_message(message) for message in ready.messages_now))
    if ready.install is not None:
        parts.append(f"install={ready.install.index}@{ready.install.term}")
    if ready.hard_state is not None:
        parts.append(f"hard=t{ready.hard_state.term},{ready.hard_state.voted_for or '-'}")
    if ready.entries:
        parts.append(f"entries={describe_entries(ready.entries)}")
    if ready.recovered:
        parts.append("recovered")
    after = "; ".join(describe_message(message) for message in ready.messages_after_persist)
    _add(parts, "after", after)
    if ready.committed:
        parts.append(f"committed={describe_entries(ready.committed)}")
    _add(parts, "reads", " ".join(_read(state) for state in ready.read_states))
    _add(parts, "snapshots_wanted", " ".join(ready.snapshots_wanted))
    _add(parts, "trace", "; ".join(describe_fact(fact) for fact in ready.trace))
    return " ".join(parts)


def describe_lines(ready: Ready) -> Iterable[str]:
    """The same as one line per duty, which reads better in a script."""
    for fact in ready.trace:
        yield f"* {describe_fact(fact)}"
    for message in ready.messages_now:
        yield f"now {describe_message(message)}"
    if ready.install is not None:
        yield f"install {ready.install.index}@{ready.install.term}"
    if ready.hard_state is not None:
        yield f"hard t{ready.hard_state.term} vote={ready.hard_state.voted_for or '-'}"
    if ready.entries:
        yield f"write {describe_entries(ready.entries)}"
    if ready.recovered:
        yield "recovered"
    for message in ready.messages_after_persist:
        yield f"after {describe_message(message)}"
    if ready.committed:
        yield f"apply {describe_entries(ready.committed)}"
    for state in ready.read_states:
        yield f"read {_read(state)}"
    for peer in ready.snapshots_wanted:
        yield f"snapshot wanted by {peer}"


def _content(message: Message) -> str:
    match message:
        case PreVoteRequest():
            return f"PreVote last={message.last_index}@{message.last_term}"
        case VoteRequest():
            transfer = " transfer" if message.transfer else ""
            return f"Vote last={message.last_index}@{message.last_term}{transfer}"
        case PreVoteResponse():
            return f"PreVote{'Granted' if message.granted else 'Refused'}"
        case VoteResponse():
            return f"Vote{'Granted' if message.granted else 'Refused'}"
        case AppendRequest():
            entries = " " + describe_entries(message.entries) if message.entries else ""
            after = f"{message.prev_index}@{message.prev_term}"
            return f"Append after={after} commit={message.commit_index}{entries}"
        case AppendResponse():
            if message.accepted:
                return f"Appended match={message.match_index}{_binding(message.binding)}"
            hint = f"{message.hint_index}@{message.hint_term}"
            place = f"at={message.rejected_index} hint={hint}"
            return f"AppendRejected {place}{_binding(message.binding)}"
        case HeartbeatRequest():
            return f"Heartbeat commit={message.commit_index} round={message.round}"
        case HeartbeatResponse():
            return f"HeartbeatOk round={message.round}{_binding(message.binding)}"
        case ReadIndexRequest():
            return f"ReadIndex context={_context(message.context)}"
        case ReadIndexResponse():
            index = message.index or "refused"
            return f"ReadIndexIs context={_context(message.context)} index={index}"
        case TimeoutNow():
            return "TimeoutNow"
        case ProofRequest():
            return f"Proof context={_context(message.context)}"
        case ProofResponse():
            return f"ProofIs context={_context(message.context)} index={message.index}"


def _binding(binding: bool) -> str:
    return "" if binding else " not-binding"


def _context(wire_context: int) -> int:
    """Without the salt of reads.Reads, which means nothing to a reader."""
    return wire_context & 0xFFFF_FFFF


def _read(state: ReadState) -> str:
    return f"{state.context}={'refused' if state.index is None else state.index}"


def _add(parts: list[str], name: str, value: str) -> None:
    if value:
        parts.append(f"{name}=({value})")
