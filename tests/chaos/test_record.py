"""A run survives the way to a file and back, and passes only when all of it is good."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from raftzmq.chaos.record import Fault, Leadership, LogLine, Run, Sample, Stall, Verdict, load, save

RUN = Run(
    command="raftzmq chaos --seed 7",
    seed=7,
    seconds=60.0,
    started="2026-01-02 03:04",
    versions={"raftzmq": "0.1"},
    nodes=("n1", "n2", "n3"),
    faults=(Fault("kill-leader", "n1", 1.0, 2.0, True, "pid 5 ended"),),
    leaderships=(Leadership("n1", 1, 0.0, 1.0),),
    samples=(Sample(0.0, 1.0, 10, 10, 0, 0, 1.0, 2.0, None, None),),
    stalls=(Stall(1.0, 1.1, 0),),
    verdicts=(Verdict("nothing lost", True, "10 writes"),),
    log=(LogLine(1.0, "n1", "killed"),),
)


def test_there_and_back(tmp_path: Path) -> None:
    save(RUN, tmp_path / "run.json")
    assert load(tmp_path / "run.json") == RUN


@pytest.mark.parametrize(
    ("run", "passed"),
    [
        (RUN, True),
        (replace(RUN, verdicts=()), False),
        (replace(RUN, verdicts=(Verdict("nothing lost", None, "too much to check"),)), False),
        (replace(RUN, verdicts=(*RUN.verdicts, Verdict("equal", False, "n2"))), False),
        (replace(RUN, faults=(replace(RUN.faults[0], fired=False),)), False),
    ],
)
def test_passed(run: Run, passed: bool) -> None:
    assert run.passed is passed
