"""The report says what the record says, loads nothing, runs nothing, and copes with any run."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as Xml

import pytest

from raftzmq.chaos.kinds import KINDS
from raftzmq.chaos.record import Fault, Leadership, LogLine, Run, Sample, Stall, Verdict
from raftzmq.chaos.report import page, write_report
from raftzmq.chaos.report.charts import clock, duration, nice_top, time_step, timeline
from raftzmq.chaos.report.figures import excerpt, merged, per_fault
from raftzmq.chaos.report.page import sentence
from raftzmq.chaos.report.style import family, fault_colours
from tests.chaos.runs import made_up_run

RUN = made_up_run(faults=6)
EMPTY = replace(
    RUN, faults=(), leaderships=(), samples=(), stalls=(), verdicts=(), log=(), versions={}
)
OF_ITSELF = frozenset({"meta", "br", "hr", "img", "rect", "line", "path"})


class Structure(HTMLParser):
    """Checks that each element is closed, and collects what the page would load or run."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in OF_ITSELF:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in OF_ITSELF:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def parsed(run: Run) -> Structure:
    structure = Structure()
    structure.feed(page(run))
    assert structure.open == []
    return structure


@pytest.mark.parametrize(
    "run",
    [
        RUN,
        EMPTY,
        made_up_run(faults=0, seconds=20),
        made_up_run(nodes=5, violated=True, unfired=2),
        made_up_run(seconds=3600, faults=200, interval_s=5),
        replace(RUN, seconds=0.0),
    ],
)
def test_any_run_gives_a_page_that_is_whole_and_loads_nothing(run: Run) -> None:
    structure = parsed(run)
    assert not {"script", "link", "iframe", "object", "embed"} & set(structure.tags)
    for name, value in structure.attributes:
        assert not name.startswith("on")
        if name in ("src", "href", "srcset", "xlink:href"):
            assert value.startswith(("#", "data:image/svg+xml;base64,"))
    assert not re.search(r"url\(|@import|https?://", page(run))
    Xml.fromstring(timeline(run))


def test_what_others_wrote_is_text() -> None:
    nasty = "<script>alert(1)</script>\"'&"
    run = replace(
        RUN,
        command=nasty,
        started=nasty,
        nodes=(nasty, "n2", "n3"),
        versions={nasty: nasty},
        faults=tuple(replace(each, kind=nasty, target=nasty, detail=nasty) for each in RUN.faults),
        leaderships=tuple(replace(each, node=nasty) for each in RUN.leaderships),
        verdicts=(Verdict(nasty, False, nasty, f"<svg onload='x'>{nasty}</svg>"),),
        log=tuple(LogLine(each.at_s, nasty, nasty) for each in RUN.log),
    )
    structure = parsed(run)
    assert "script" not in structure.tags
    assert "<script>alert(1)</script>" in structure.text
    assert "onload" not in page(run)


@pytest.mark.parametrize(
    ("run", "word", "words"),
    [
        (RUN, "PASSED", "All 5 promised properties held"),
        (EMPTY, "FAILED", "No property was judged"),
        (made_up_run(violated=True), "FAILED", "Violated: bank: sum constant"),
        (made_up_run(unfired=1), "FAILED", "1 fault did not fire"),
        (replace(RUN, verdicts=(Verdict("x", None, ""),)), "FAILED", "Undecided: x"),
        (replace(RUN, verdicts=RUN.verdicts[:1]), "PASSED", 'promise "register: linearizable"'),
    ],
)
def test_the_verdict_is_the_first_sentence(run: Run, word: str, words: str) -> None:
    assert words in sentence(run)
    text = parsed(run).text
    assert text.index(word) < text.index("Timeline")
    assert f"<title>{word}" in page(run)


def test_the_picture_of_a_violation_is_inside() -> None:
    picture = '<svg xmlns="http://www.w3.org/2000/svg"><text>ä</text></svg>'
    structure = parsed(made_up_run(violated=True, picture=picture))
    (source,) = (value for name, value in structure.attributes if name == "src")
    assert base64.b64decode(source.split(",")[1]).decode() == picture


def test_figures_of_a_fault() -> None:
    fault = replace(RUN.faults[0], from_s=10.0, until_s=12.0)
    run = replace(
        EMPTY,
        faults=(fault,),
        stalls=(Stall(10.0, 10.5, 0), Stall(11.0, 11.2, 0), Stall(30.0, 39.0, None)),
        samples=tuple(
            Sample(at, 1.0, 1, 1, 2, 3, None, None, 1.0, at) for at in (8.0, 9.5, 12.0, 20.0)
        ),
        leaderships=tuple(
            replace(RUN.leaderships[0], term=term, from_s=at)
            for term, at in ((1, 0.0), (2, 10.2), (2, 10.4), (3, 13.0), (4, 19.0))
        ),
    )
    (found,) = per_fault(run)
    assert found.stall_s == pytest.approx(0.5)
    assert (found.unknown, found.refused, found.elections) == (4, 6, 2)
    assert found.write_p99_ms == 12.0


def test_an_hour_is_drawn_with_few_points_and_no_spike_is_lost() -> None:
    samples = [Sample(float(at), 1.0, 5, 7, 0, 0, 1.0, 2.0, None, None) for at in range(3600)]
    samples[1234] = replace(samples[1234], write_p99_ms=900.0, unknown=3)
    few = merged(samples, 600)
    assert len(few) == 600
    assert sum(each.writes for each in few) == 7 * 3600
    assert sum(each.unknown for each in few) == 3
    assert max(each.write_p99_ms or 0 for each in few) == 900.0
    assert few[-1].at_s + few[-1].seconds == 3600.0
    assert merged(samples[:10], 600) == samples[:10]


def test_a_gap_is_not_bridged() -> None:
    samples = [Sample(float(at), 1.0, 1, 1, 0, 0, 1.0, 1.0, 5.0, 5.0) for at in range(5)]
    whole = timeline(replace(EMPTY, samples=tuple(samples))).count("M")
    samples[2] = replace(samples[2], write_p50_ms=None, write_p99_ms=None)
    assert timeline(replace(EMPTY, samples=tuple(samples))).count("M") == whole + 2


def test_each_fault_and_each_leader_is_drawn() -> None:
    text = "".join(Xml.fromstring(timeline(RUN)).itertext())
    for number, fault in enumerate(RUN.faults, 1):
        assert f"{number}. {fault.kind} {fault.target}" in text
    for each in RUN.leaderships:
        assert f"{each.node} led term {each.term}" in text
    assert text.count("no write was acknowledged") == len(RUN.stalls)


def test_axes() -> None:
    assert nice_top(0) == (1.0, 1.0)
    for value in (0.3, 1, 7, 99, 100, 4321, 98765):
        top, step = nice_top(value)
        assert value <= top < 2 * value + step
        assert 1 < round(top / step) + 1 <= 7
    for seconds in (1, 20, 60, 600, 3600, 86400, 604800):
        assert 2 <= seconds / time_step(seconds) <= 15
    assert (clock(5, 60), clock(65, 600), clock(3600, 3600)) == ("5 s", "1:05", "1:00:00")
    assert (duration(0.035), duration(0.52), duration(12.34)) == ("35 ms", "0.52 s", "12.3 s")


def test_it_is_one_file(tmp_path: Path) -> None:
    write_report(RUN, tmp_path / "report.html")
    assert [each.name for each in tmp_path.iterdir()] == ["report.html"]
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == page(RUN)


def test_kinds_of_one_family_share_a_colour_and_families_do_not() -> None:
    colours = fault_colours(list(KINDS))
    assert set(colours) == set(KINDS)
    by_family: dict[str, set[str]] = {}
    for kind, colour in colours.items():
        by_family.setdefault(family(kind), set()).add(colour)
    assert all(len(shared) == 1 for shared in by_family.values())
    assert len({colour for shared in by_family.values() for colour in shared}) == len(by_family)
    few = fault_colours(["slow-disk", "fsync-error"])
    assert len(set(few.values())) == 2


def test_what_ended_a_long_stall_belongs_to_the_fault_that_began_it() -> None:
    """All nodes that were killed at once print nothing until they have started again."""
    run = replace(
        RUN,
        faults=(Fault("kill-all", "n1,n2,n3", 10.0, 12.0, True, "ended"),),
        stalls=(Stall(10.0, 20.0, 0), Stall(40.0, 41.0, None)),
        leaderships=(Leadership("n1", 2, 19.9, 50.0),),
        log=(LogLine(19.8, "n1", "serving"), LogLine(20.5, "n1", "later")),
    )
    assert [each.text for each in excerpt(run, 0)] == ["serving"]
    assert per_fault(run)[0].elections == 1
