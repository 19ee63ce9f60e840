"""The page: the verdict first, then what it rests on, then what is needed to repeat it."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from html import escape
from typing import Final

from raftzmq.chaos.record import Run, Verdict
from raftzmq.chaos.report.charts import duration, timeline
from raftzmq.chaos.report.figures import (
    AFTERMATH_S,
    FaultFigures,
    excerpt,
    kinds,
    longest_stall_s,
    median,
    per_fault,
)
from raftzmq.chaos.report.style import STYLE, fault_colours

_LINES_MAX: Final = 60
_LETTERS_MAX: Final = 600
_OPEN_MAX: Final = 30
_WORST_SHOWN: Final = 5
_WORDS: Final = {True: ("yes", "holds"), False: ("no", "VIOLATED"), None: ("doubt", "undecided")}
_STRIKING: Final = re.compile(
    r"error|fail|panic|fatal|traceback|leader|term \d|election|quarantin|refus|killed|SIG[A-Z]+",
    re.IGNORECASE,
)


def page(run: Run) -> str:
    """The whole file. It loads nothing and runs nothing, and whatever a log line says is text."""
    figures = per_fault(run)
    word = "PASSED" if run.passed else "FAILED"
    sections = [
        _head(run, word),
        _tiles(run),
        _properties(run),
        _pictures(run),
        _timeline(run),
        _faults(run, figures),
        _excerpts(run, figures),
        _repeat(run),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "style-src 'unsafe-inline'; img-src data:\">"
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{word}: raftzmq chaos, seed {run.seed}</title><style>{STYLE}</style></head><body>"
        + "\n".join(sections)
        + "</body></html>\n"
    )


def _head(run: Run, word: str) -> str:
    return (
        f"<h1>raftzmq under chaos</h1><p class=dim>{escape(run.started)}, {len(run.nodes)} nodes, "
        f"{_long(run.seconds)}, seed {run.seed}</p>"
        f'<div class="verdict {word.lower()}"><p><b>{word}</b>{escape(sentence(run))}</p></div>'
    )


def sentence(run: Run) -> str:
    """The verdict in one sentence."""
    total = sum(each.reads + each.writes + each.unknown + each.refused for each in run.samples)
    through = (
        f"{total:,} operations through {_count(len(run.faults), 'fault')} of "
        f"{_count(len(kinds(run)), 'kind')}"
        if run.faults
        else f"{total:,} operations, and no fault was injected"
    )
    stall = longest_stall_s(run)
    waited = (
        f"the longest time without an acknowledged write was {duration(stall)}"
        if stall
        else "writes were never held up longer than usual"
    )
    wrong: list[str] = []
    if not run.verdicts:
        wrong.append("No property was judged")
    violated = [each.name for each in run.verdicts if each.holds is False]
    undecided = [each.name for each in run.verdicts if each.holds is None]
    missed = sum(not each.fired for each in run.faults)
    if violated:
        wrong.append(f"Violated: {', '.join(violated)}")
    if undecided:
        wrong.append(f"Undecided: {', '.join(undecided)}")
    if missed:
        wrong.append(f"{_count(missed, 'fault')} did not fire, so nothing is proven by it")
    if wrong:
        return f"{'. '.join(wrong)}. {through}; {waited}."
    return (
        f"All {len(run.verdicts)} promised properties held over {through}; {waited}."
        if len(run.verdicts) > 1
        else f'The promise "{run.verdicts[0].name}" held over {through}; {waited}.'
    )


def _tiles(run: Run) -> str:
    reads = sum(each.reads for each in run.samples)
    writes = sum(each.writes for each in run.samples)
    known = {each.term for each in run.leaderships}
    tiles = [
        (f"{reads:,}", "reads"),
        (f"{writes:,}", "writes"),
        (f"{sum(each.unknown for each in run.samples):,}", "outcome unknown"),
        (f"{sum(each.refused for each in run.samples):,}", "refused"),
        (f"{len(run.faults):,}", "faults"),
        (f"{len(known):,}", "terms with a leader"),
        (duration(longest_stall_s(run)) if run.stalls else "none", "longest stall"),
    ]
    return (
        '<div class="tiles">'
        + "".join(
            f"<div><strong>{value}</strong><span>{name}</span></div>" for value, name in tiles
        )
        + "</div>"
    )


def _properties(run: Run) -> str:
    if not run.verdicts:
        return "<h2>Properties</h2><p class=no>None was judged, which is a failure.</p>"
    order = {False: 0, None: 1, True: 2}
    rows = "".join(
        f"<tr{'' if each.holds else ' class=wrong'}><td class=s>{escape(each.name)}</td>"
        f'<td class="s {_WORDS[each.holds][0]}">{_WORDS[each.holds][1]}</td>'
        f"<td class=k>{escape(each.detail)}</td></tr>"
        for each in sorted(run.verdicts, key=lambda each: order[each.holds])
    )
    return (
        '<h2>Properties</h2><div class="wide"><table><thead><tr><th>promised</th><th>verdict</th>'
        f"<th>found</th></tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _pictures(run: Run) -> str:
    drawn = [each for each in run.verdicts if each.picture]
    if not drawn:
        return ""
    return (
        "<h2>What no order explains</h2><p class=dim>The smallest part of the history that is a "
        "violation by itself. A bar lasts from call to return; along the picture stands the order "
        "of events, not their distance. Dashed: of unknown outcome, it may take effect at any "
        "later time or never.</p>" + "".join(_figure(each) for each in drawn)
    )


def _figure(verdict: Verdict) -> str:
    # As an image, so that nothing in it can run or reach out, wherever the record came from.
    data = base64.b64encode(verdict.picture.encode("utf-8")).decode("ascii")
    return (
        f'<figure><figcaption>{escape(verdict.name)}</figcaption><div class="wide">'
        f'<img alt="{escape(verdict.detail)}" src="data:image/svg+xml;base64,{data}"></div>'
        "</figure>"
    )


def _timeline(run: Run) -> str:
    colours = fault_colours(kinds(run))
    marks = "".join(
        f'<span><i style="background:{colour}"></i>{escape(kind)}</span>'
        for kind, colour in colours.items()
    )
    lines = (
        '<span><i class="line" style="background:var(--reads)"></i>reads</span>'
        '<span><i class="line" style="background:var(--writes)"></i>writes</span>'
        '<span><i class="dash" style="color:var(--dim)"></i>p99 (solid: p50)</span>'
        '<span><i style="background:var(--unknown)"></i>outcome unknown</span>'
        '<span><i style="background:var(--refused)"></i>refused</span>'
        '<span><i style="background:var(--stall);opacity:.42"></i>stall: no write acknowledged'
        "</span>"
    )
    return (
        f'<h2>Timeline</h2><div class="wide">{timeline(run)}</div>'
        f'<div class="legend">{lines}</div><div class="legend">{marks}</div>'
    )


def _faults(run: Run, figures: Sequence[FaultFigures]) -> str:
    if not figures:
        return "<h2>Faults</h2><p>None was injected: this run shows only how it is without.</p>"
    by_kind = ""
    names = kinds(run)
    if len(figures) > len(names):
        by_kind = "".join(
            _kind_row(kind, [each for each in figures if each.fault.kind == kind]) for kind in names
        )
        by_kind = (
            '<div class="wide"><table><thead><tr><th>kind</th><th class=n>times</th>'
            "<th class=n>fired</th><th class=n>stall, median</th><th class=n>longest</th>"
            "<th class=n>unknown</th><th class=n>refused</th><th class=n>elections</th></tr>"
            f"</thead><tbody>{by_kind}</tbody></table></div>"
        )
    rows = "".join(_fault_row(each) for each in figures)
    opened = " open" if len(figures) <= _OPEN_MAX else ""
    return (
        f"<h2>Faults</h2>{by_kind}<details{opened}><summary>Each of the {len(figures)} faults"
        f'</summary><div class="wide"><table><thead><tr><th class=n>#</th><th>kind</th>'
        "<th>target</th><th class=n>from</th><th class=n>lasted</th><th>fired</th>"
        "<th class=n>longest stall</th><th class=n>unknown</th><th class=n>refused</th>"
        "<th class=n>elections</th><th class=n>worst write p99</th><th>how it was seen</th></tr>"
        f"</thead><tbody>{rows}</tbody></table></div></details>"
        f"<p class=dim>Counted from the fault to {AFTERMATH_S:g} s after it was healed, or until "
        "writes went on; what falls to two faults is counted with both.</p>"
    )


def _kind_row(kind: str, figures: Sequence[FaultFigures]) -> str:
    fired = sum(each.fault.fired for each in figures)
    stalls = [each.stall_s for each in figures]
    return (
        f"<tr{'' if fired == len(figures) else ' class=wrong'}><td class=s>{escape(kind)}</td>"
        f"<td class=n>{len(figures)}</td><td class=n>{fired}</td>"
        f"<td class=n>{_stall(median(stalls))}</td><td class=n>{_stall(max(stalls))}</td>"
        f"<td class=n>{sum(each.unknown for each in figures):,}</td>"
        f"<td class=n>{sum(each.refused for each in figures):,}</td>"
        f"<td class=n>{sum(each.elections for each in figures)}</td></tr>"
    )


def _fault_row(each: FaultFigures) -> str:
    fault = each.fault
    fired = '<td class="yes">yes</td>' if fault.fired else '<td class="no">NO</td>'
    p99 = "" if each.write_p99_ms is None else f"{each.write_p99_ms:,.1f} ms"
    return (
        f'<tr id="fault-{each.number}"{"" if fault.fired else " class=wrong"}>'
        f'<td class=n><a href="#log-{each.number}">{each.number}</a></td>'
        f"<td class=s>{escape(fault.kind)}</td><td class=s>{escape(fault.target)}</td>"
        f"<td class=n>{fault.from_s:.1f} s</td>"
        f"<td class=n>{duration(fault.until_s - fault.from_s)}</td>{fired}"
        f"<td class=n>{_stall(each.stall_s)}</td><td class=n>{each.unknown:,}</td>"
        f"<td class=n>{each.refused:,}</td><td class=n>{each.elections}</td>"
        f"<td class=n>{p99}</td><td class=k>{escape(fault.detail)}</td></tr>"
    )


def _excerpts(run: Run, figures: Sequence[FaultFigures]) -> str:
    if not figures:
        return ""
    by_stall = sorted(figures, key=lambda each: -each.stall_s)
    worst = by_stall[0] if by_stall[0].stall_s else None
    first = figures
    rest: Sequence[FaultFigures] = ()
    heading = ""
    if len(figures) > _OPEN_MAX:
        telling = {each.number for each in by_stall[:_WORST_SHOWN]}
        telling |= {each.number for each in figures if not each.fault.fired}
        first = [each for each in figures if each.number in telling]
        rest = [each for each in figures if each.number not in telling]
        heading = (
            f"<p class=dim>First the {_WORST_SHOWN} faults with the longest stalls, and those that "
            "did not fire.</p>"
        )
    shown = "".join(_excerpt(run, each, each is worst) for each in first)
    if rest:
        others = "".join(_excerpt(run, each, False) for each in rest)
        shown += f"<details><summary>The other {len(rest)} faults</summary>{others}</details>"
    return f"<h2>What the processes said</h2>{heading}{shown}"


def _excerpt(run: Run, each: FaultFigures, is_worst: bool) -> str:
    lines = excerpt(run, each.number - 1)
    shown = "".join(
        f'<span class="at">{line.at_s:9.3f} {escape(line.process):<8}</span> '
        f"{_log_text(line.text)}\n"
        for line in lines[:_LINES_MAX]
    )
    if len(lines) > _LINES_MAX:
        shown += f'<span class="at">and {len(lines) - _LINES_MAX} more lines</span>\n'
    opened = " open" if is_worst or not each.fault.fired else ""
    missed = "" if each.fault.fired else ' <span class="no">did not fire</span>'
    stall = f", stall {duration(each.stall_s)}" if each.stall_s else ""
    return (
        f'<details id="log-{each.number}"{opened}><summary>{each.number}. '
        f"{escape(each.fault.kind)} {escape(each.fault.target)} at {each.fault.from_s:.1f} s"
        f"{stall}, {_count(len(lines), 'line')}{missed}</summary>"
        f"<pre>{shown or 'nothing was printed'}</pre></details>"
    )


def _log_text(text: str) -> str:
    shown = escape(text if len(text) <= _LETTERS_MAX else text[:_LETTERS_MAX] + "…")
    return f'<span class="hit">{shown}</span>' if _STRIKING.search(text) else shown


def _repeat(run: Run) -> str:
    rows = "".join(
        f"<tr><td class=s>{escape(name)}</td><td class=k>{escape(str(version))}</td></tr>"
        for name, version in run.versions.items()
    )
    return (
        f"<h2>Repeat it</h2><pre>{escape(run.command)}</pre><p class=dim>Seed {run.seed} gives the "
        "same faults in the same order; who leads when one comes, and when messages arrive, is "
        "up to the machine."
        f'</p><h2>Made with</h2><div class="wide"><table><tbody>{rows}</tbody></table></div>'
    )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _stall(seconds: float) -> str:
    return duration(seconds) if seconds else "-"


def _long(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} minutes"
