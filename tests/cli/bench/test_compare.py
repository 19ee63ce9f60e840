"""What is stored is read again or refused; what a comparison dares to say."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from raftzmq.bench.compare import Verdict, compare
from raftzmq.bench.histogram import Histogram
from raftzmq.bench.metrics import HIGHER, LOWER, NEITHER, Metric
from raftzmq.bench.plot import page
from raftzmq.bench.report import Report, latency
from raftzmq.bench.result import Result, Setup, UnreadableResult, as_dict, from_dict, load
from raftzmq.bench.show import warnings
from raftzmq.cli.main import app

SETUP = Setup(
    subject="writes",
    loop="closed",
    in_flight=64,
    connections=0,
    rate=0.0,
    value_size=100,
    read_share=0.0,
    level="linearizable",
    warm_up_s=1.0,
    seconds=5.0,
    repeats=3,
    nodes=3,
    target="",
)


def stored(*ms: float, machine: str = "two cores", rate: float = 0.0) -> dict[str, Any]:
    """A result with one repeat for each latency."""
    reports = []
    for each in ms:
        histogram = Histogram()
        histogram.add([each / 1000] * 100)
        found = latency(histogram, each / 1000)
        reports.append(
            Report(seconds=5.0, writes=found, reads=None, ticks=[[0.0, 5.0, 100.0, each, 0.0]])
        )
    setup = {**as_dict("now", {}, SETUP, [])["setup"], "rate": rate}
    return {**as_dict("now", {"cores": machine}, SETUP, reports), "setup": setup}


def result(*ms: float, **other: Any) -> Result:
    return from_dict(json.loads(json.dumps(stored(*ms, **other))))


def verdicts(first: Result, second: Result) -> dict[str, Verdict]:
    return {each.name: each.verdict for each in compare(first, second).differences}


def test_ranges_that_lie_apart_are_told_with_their_direction() -> None:
    found = verdicts(result(10, 11, 12), result(5, 6, 7))
    assert found["writes p50 ms"] is Verdict.BETTER
    assert found["writes per second"] is Verdict.BETTER
    found = verdicts(result(5, 6, 7), result(10, 11, 12))
    assert found["writes p50 ms"] is Verdict.WORSE
    assert found["writes per second"] is Verdict.WORSE


def test_ranges_that_overlap_are_noise_however_far_the_medians_lie_apart() -> None:
    found = verdicts(result(5, 6, 20), result(10, 18, 20))
    assert set(found.values()) == {Verdict.NOISE}


def test_two_repeats_say_nothing() -> None:
    found = verdicts(result(5, 6), result(10, 11, 12))
    assert found["writes p50 ms"] is Verdict.TOO_FEW
    assert found["failed requests"] is Verdict.NOISE  # 0 and 0


def test_a_figure_that_is_neither_good_nor_bad_only_differs() -> None:
    first, second = result(1, 1, 1), result(1, 1, 1)
    a = Result("", {}, {}, {"x": Metric((1, 2, 3), NEITHER)}, first.repeats)
    b = Result("", {}, {}, {"x": Metric((4, 5, 6), NEITHER)}, second.repeats)
    assert verdicts(a, b) == {"x": Verdict.DIFFERS}


def test_the_ratio_is_of_the_medians_and_the_chance_is_that_of_so_many_repeats() -> None:
    found = compare(result(10, 10, 40), result(5, 5, 5))
    p50 = next(each for each in found.differences if each.name == "writes p50 ms")
    assert p50.ratio == 0.5
    assert found.chance == pytest.approx(0.1)
    assert found.unlike == []
    none = next(each for each in found.differences if each.name == "failed requests")
    assert none.ratio is None


def test_what_is_not_alike_is_said() -> None:
    found = compare(result(1, machine="two"), result(1, machine="four", rate=5.0))
    assert found.unlike == ["setup, rate: 0.0 and 5.0", "machine, cores: two and four"]


def test_an_open_loop_that_could_not_keep_its_rate_is_warned_of() -> None:
    assert any("of 50,000" in line for line in warnings(result(10, rate=50_000.0)))
    assert warnings(result(10, rate=9_900.0)) == []


def broken(change: Callable[[dict[str, Any]], object]) -> object:
    found = stored(1.0)
    change(found)
    return found


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (None, "is no result"),
        ([], "is no result"),
        ({"writes": 1}, "is no result"),
        (broken(lambda found: found.update(version=2)), "version 2"),
        (broken(lambda found: found.pop("metrics")), "is damaged"),
        (broken(lambda found: found.update(machine=[])), "is damaged"),
        (broken(lambda found: found["metrics"].update(x={"values": [], "better": ""})), "damaged"),
        (broken(lambda found: found["metrics"].update(x={"values": [1], "better": "?"})), "damage"),
        (broken(lambda found: found["repeats"][0].update(ticks=[[1]])), "is damaged"),
        (broken(lambda found: found["repeats"][0].update(writes=[])), "is damaged"),
    ],
)
def test_what_is_no_result_is_refused_in_words(found: object, why: str) -> None:
    with pytest.raises(UnreadableResult, match=why):
        from_dict(found)


def test_files(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text(json.dumps(stored(1.0, 2.0)))
    assert load(file).metrics["writes p50 ms"] == Metric((1.0, 2.0), LOWER)
    assert load(file).metrics["writes per second"].better == HIGHER
    file.write_bytes(b"\xff")
    with pytest.raises(UnreadableResult, match="cannot be read"):
        load(file)
    file.write_text("[" * 100_000)
    with pytest.raises(UnreadableResult, match="is no result"):
        load(file)


def test_the_command_compares_and_draws(tmp_path: Path) -> None:
    a, b, picture = tmp_path / "a.json", tmp_path / "b.json", tmp_path / "c.html"
    a.write_text(json.dumps(stored(10, 11, 12)))
    b.write_text(json.dumps(stored(5, 6, 7)))
    found = CliRunner().invoke(
        app, ["bench", "--compare", str(a), str(b), "--json", "--plot", str(picture)]
    )
    assert found.exit_code == 0
    first = json.loads(found.stdout)["differences"][0]
    assert (first["name"], first["verdict"]) == ("writes per second", "better")
    assert "--b-writes" in picture.read_text()
    shown = CliRunner().invoke(app, ["bench", "--compare", str(a), str(b)])
    assert "better" in shown.stdout
    assert "by chance in 10 %" in " ".join(shown.stdout.split())


@pytest.mark.parametrize(
    "words",
    [
        ["--compare", "there-is-no-such.json", "nor-this.json"],
        ["--compare", "only-one.json"],
        ["--compare", "a", "b", "--clients", "3"],
        ["reads", "--compare", "a", "b"],
        ["isolation", "--save", "x"],
        ["isolation", "--repeats", "2"],
        ["--clients", "3", "--connections", "4"],
        ["--check"],
        ["--plot", "/no/such/folder/x.html"],
        ["--connect", "tcp://127.0.0.1:1", "--nodes", "3"],
        ["--rate", "0"],
        ["--folder", "/no/such/folder"],
    ],
)
def test_wrong_usage_ends_with_2_before_anything_is_started(words: list[str]) -> None:
    assert CliRunner().invoke(app, ["bench", *words]).exit_code == 2


def test_the_picture_loads_and_runs_nothing_and_takes_names_as_text() -> None:
    drawn = page([result(1.0, 5.0), result(2.0)], ["<script>", "b"])
    assert "<script" not in drawn.lower()
    assert "default-src 'none'" in drawn
    for word in ("http:", "https:", "src=", "href="):
        assert word not in drawn
    assert drawn.count("<svg") == 3
    assert drawn.count("<path") == (2 + 1 + 1) + 3 + 3
    assert "NaN" not in drawn
    assert "inf" not in drawn.lower()
