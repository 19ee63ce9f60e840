"""The verdict of a run, from what it left behind: no sockets, no clock.

Whatever could not be decided, did not happen, or happened too little to mean anything fails a run
as a violation does: a run that proved nothing must not look like one that found nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from raftzmq.chaos.figures import longest_by_kind, rate
from raftzmq.chaos.observer import shared_terms
from raftzmq.chaos.record import Fault, Leadership, Stall, Verdict
from raftzmq.chaos.tables import MODELS
from raftzmq.checker.history import HistoryUnreadable, Operation
from raftzmq.checker.linearizability import Judgement
from raftzmq.checker.linearizability import judge as judge_history
from raftzmq.checker.timeline import draw

RATE_LEAST: Final = 50.0
"""Operations per second that succeed before the first fault; with fewer, faults hit nothing."""
RATE_UNDER_FAULTS: Final = 10.0
"""The same over the whole run: with fewer, histories are too thin to catch anything."""
UNKNOWN_MOST: Final = 0.05
"""Part of operations with unknown outcome: they excuse almost any history."""
BACK_S: Final = 15.0
"""Within this after a fault ended, or began, a write is acknowledged."""
_SHOWN: Final = 3


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything that is judged. Times are seconds since the run began.

    Attributes:
        histories: model -> operations, those that read everything at the end included.
        origin_ns: the beginning, on the clock of the histories.
        faults_from_s: when the first fault began.
        seconds: how long clients worked.
        wanted: kinds of faults that were asked for.
        stalls: see raftzmq.chaos.figures.
        present: name of an operation -> how often it is in the database at the end; None when
            that could not be read.
        digests: node -> (applied index, hash of its content) at the end; None when they could
            not be had.
        nodes: all of them.
        endings: processes that ended though nobody wanted that, in words.
        tracebacks: lines of logs that show a bug.
        errors: name of an error that a client was told -> how often.
        put_off: faults that the cluster did not allow when they were due, in words.
        trouble: what went wrong with the run itself.
    """

    histories: Mapping[str, Sequence[Operation]]
    origin_ns: int
    faults_from_s: float
    seconds: float
    wanted: Sequence[str]
    faults: Sequence[Fault]
    stalls: Sequence[Stall]
    leaderships: Sequence[Leadership]
    present: Mapping[str, int] | None
    digests: Mapping[str, tuple[int, str]] | None
    nodes: Sequence[str]
    endings: Sequence[str] = ()
    tracebacks: Sequence[str] = ()
    errors: Mapping[str, int] = field(default_factory=dict)
    put_off: Sequence[str] = ()
    trouble: Sequence[str] = ()


def judge(evidence: Evidence) -> tuple[Verdict, ...]:
    """All verdicts, the gravest first."""
    return (
        *_linearizable(evidence),
        *_counted(evidence),
        _replicas(evidence),
        _one_leader_per_term(evidence),
        _processes(evidence),
        _faults(evidence),
        _back(evidence),
        _traffic(evidence),
        _known(evidence),
        _no_rejections(evidence),
        *(Verdict("the run itself", False, text) for text in evidence.trouble),
    )


def _linearizable(evidence: Evidence) -> Iterator[Verdict]:
    for model in MODELS:
        name = f"{model}: linearizable"
        operations = evidence.histories.get(model, ())
        if not any(each.ok is True for each in operations):
            yield Verdict(name, None, "no operation succeeded, so nothing is proven")
            continue
        try:
            found = judge_history(model, operations)
        except HistoryUnreadable as error:
            yield Verdict(name, None, str(error))
            continue
        yield Verdict(name, found.holds, found.summary, _picture(found))


def _picture(found: Judgement) -> str:
    wrong = [each for each in found.keys if each.window is not None]
    smallest = min(
        wrong, key=lambda each: len(each.window.operations) if each.window else 0, default=None
    )
    if smallest is None or smallest.window is None:
        return ""
    return draw(smallest.window, smallest.key)


def _counted(evidence: Evidence) -> Iterator[Verdict]:
    names = ("nothing lost", "nothing doubled", "nothing from nowhere")
    if evidence.present is None:
        for name in names:
            yield Verdict(name, None, "the database could not be read at the end")
        return
    sent: dict[str, bool | None] = {}
    for operations in evidence.histories.values():
        for each in operations:
            name = each.value if each.op == "append" else each.result
            if each.op in ("append", "add", "transfer") and isinstance(name, str):
                sent[name] = each.ok
    acknowledged = [name for name, ok in sent.items() if ok is True]
    lost = [name for name in acknowledged if not evidence.present.get(name)]
    doubled = [name for name, count in evidence.present.items() if count > 1]
    nowhere = [name for name in evidence.present if sent.get(name, False) is False]
    of = f"of {len(acknowledged):,} acknowledged writes"
    # A run without acknowledged writes lost none, and shows nothing by that.
    yield _counting(names[0], lost, f"{len(lost)} {of} are missing", bool(acknowledged))
    yield _counting(
        names[1], doubled, f"{len(doubled)} of {len(evidence.present):,} are there more than once",
        bool(evidence.present),
    )  # fmt: skip
    yield _counting(
        names[2], nowhere, f"{len(nowhere)} are there though refused or never sent",
        bool(evidence.present),
    )  # fmt: skip


def _counting(name: str, offenders: list[str], text: str, enough: bool) -> Verdict:
    shown = f": {', '.join(sorted(offenders)[:_SHOWN])}" if offenders else ""
    holds = False if offenders else (True if enough else None)
    return Verdict(name, holds, text + shown)


def _replicas(evidence: Evidence) -> Verdict:
    name = "replicas equal"
    found = evidence.digests
    if found is None or set(found) != set(evidence.nodes):
        missing = ", ".join(sorted(set(evidence.nodes) - set(found or {})))
        return Verdict(name, None, f"no hash of {missing}")
    told = ", ".join(f"{node}: {digest[:12]} at {at}" for node, (at, digest) in found.items())
    if len({at for at, _ in found.values()}) > 1:
        return Verdict(name, None, f"never at the same log index: {told}")
    return Verdict(name, len({digest for _, digest in found.values()}) == 1, told)


def _one_leader_per_term(evidence: Evidence) -> Verdict:
    name = "one leader per term"
    shared = shared_terms(evidence.leaderships)
    if shared:
        led = [
            f"term {each.term}: {each.node}"
            for each in evidence.leaderships
            if each.term in shared[:_SHOWN]
        ]
        return Verdict(name, False, ", ".join(led))
    return Verdict(
        name,
        True if evidence.leaderships else None,
        f"{len(evidence.leaderships)} leaderships were seen",
    )


def _processes(evidence: Evidence) -> Verdict:
    wrong = [*evidence.endings, *evidence.tracebacks]
    detail = "; ".join(wrong[:_SHOWN]) if wrong else "none ended unasked, no traceback in any log"
    return Verdict("processes", not wrong, detail)


def _faults(evidence: Evidence) -> Verdict:
    silent = [f"{each.kind} ({each.detail})" for each in evidence.faults if not each.fired]
    fired = Counter(each.kind for each in evidence.faults if each.fired)
    absent = [kind for kind in evidence.wanted if not fired[kind]]
    parts = [f"did not fire: {each}" for each in silent]
    parts += [f"never injected: {', '.join(absent)}"] if absent else []
    put_off = f"; put off: {', '.join(evidence.put_off)}" if evidence.put_off else ""
    if parts or not evidence.faults:
        return Verdict("each fault fired", False, ("; ".join(parts) or "there was none") + put_off)
    total = sum(fired.values())
    return Verdict(
        "each fault fired", True, f"{total} of {len(fired)} kinds, each with evidence{put_off}"
    )


def _back(evidence: Evidence) -> Verdict:
    """A stall counts from the moment at which the fault that caused it was over."""
    late: list[str] = []
    for stall in evidence.stalls:
        ends = [fault.until_s for fault in evidence.faults if fault.from_s < stall.until_s]
        since = max([stall.from_s, *(end for end in ends if end < stall.until_s)])
        if stall.until_s - since > BACK_S:
            late.append(f"{stall.until_s - since:.1f} s without a write from {since:.1f} s on")
    longest = longest_by_kind(evidence.faults, evidence.stalls)
    told = ", ".join(
        f"{kind} {seconds:.2f} s" for kind, seconds in sorted(longest.items()) if seconds
    )
    return Verdict(
        f"writes go on within {BACK_S:.0f} s",
        not late,
        "; ".join(late[:_SHOWN]) if late else f"longest stall by fault: {told or 'none'}",
    )


def _traffic(evidence: Evidence) -> Verdict:
    operations = [each for history in evidence.histories.values() for each in history]
    before = rate(operations, evidence.origin_ns, 0.0, evidence.faults_from_s)
    over_all = rate(operations, evidence.origin_ns, 0.0, evidence.seconds)
    return Verdict(
        "enough traffic",
        before >= RATE_LEAST and over_all >= RATE_UNDER_FAULTS,
        f"{before:.0f} operations/s succeeded before the first fault (at least {RATE_LEAST:.0f}), "
        f"{over_all:.0f} over all (at least {RATE_UNDER_FAULTS:.0f})",
    )


def _known(evidence: Evidence) -> Verdict:
    operations = [each for history in evidence.histories.values() for each in history]
    unknown = sum(each.ok is None for each in operations)
    part = unknown / len(operations) if operations else 1.0
    return Verdict(
        "outcomes known",
        part <= UNKNOWN_MOST,
        f"{unknown:,} of {len(operations):,} operations of unknown outcome, {part:.2%} "
        f"(at most {UNKNOWN_MOST:.0%})",
    )


def _no_rejections(evidence: Evidence) -> Verdict:
    rejected = [
        f"{why} ({count} times)"
        for why, count in evidence.errors.items()
        if why.startswith("REJECTED")
    ]
    others = ", ".join(
        f"{why} {count}" for why, count in sorted(evidence.errors.items()) if why not in rejected
    )
    return Verdict(
        "no valid request rejected",
        not rejected,
        "; ".join(rejected[:_SHOWN]) or f"errors that clients saw: {others or 'none'}",
    )
