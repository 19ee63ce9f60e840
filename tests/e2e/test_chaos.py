"""`raftzmq chaos` itself: a short run that passes, and one that must not."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from raftzmq.chaos.network import obstacles
from raftzmq.chaos.record import Run, load
from raftzmq.chaos.shim import compiler

pytestmark = pytest.mark.e2e
ROOT = Path(__file__).resolve().parents[2]


def chaos(
    folder: Path, *words: str, program: Path = ROOT
) -> tuple[subprocess.CompletedProcess[str], Run | None]:
    done = subprocess.run(
        [sys.executable, "-m", "raftzmq.cli.main", "chaos", "--out", folder, *words],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        cwd=program,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONPATH": str(program)},
    )
    record = folder / "run.json"
    return done, load(record) if record.exists() else None


def broken(run: Run, names: Iterable[str]) -> dict[str, str]:
    return {v.name: v.detail for v in run.verdicts if v.name in names and v.holds is not True}


def test_a_short_run_with_faults_of_every_family(tmp_path: Path) -> None:
    found = obstacles()
    if found or compiler() is None:
        pytest.skip(f"no namespaces or no C compiler here: {'; '.join(found)}")
    done, run = chaos(
        tmp_path / "out", "--minutes", "0.25", "--seed", "11",
        "--faults", "kill-leader,partition-full,slow-disk",
    )  # fmt: skip
    assert run is not None, done.stderr
    fired = {fault.kind for fault in run.faults if fault.fired}
    assert fired == {"kill-leader", "partition-full", "slow-disk"}, done.stdout
    # What a slow machine may fail is how much and how fast, never what is true.
    timing = {"enough traffic", "outcomes known"}
    assert broken(run, {v.name for v in run.verdicts} - timing) == {}, done.stdout
    assert done.returncode == (0 if run.passed else 1)
    assert (tmp_path / "out" / "report.html").stat().st_size > 5_000


def test_a_program_that_forgets_what_it_did_is_found_out(tmp_path: Path) -> None:
    """The ledger of sessions never recognises a retry: writes are applied twice."""
    build = tmp_path / "build"
    shutil.copytree(ROOT / "raftzmq", build / "raftzmq")
    file = build / "raftzmq/statemachine/exactly_once.py"
    text = file.read_text()
    line = "        known = self.sessions.find(client, sequence)\n"
    assert text.count(line) == 1
    file.write_text(text.replace(line, "        known = None\n"))
    done, run = chaos(
        tmp_path / "out", "--loopback", "--minutes", "0.3", "--seed", "5",
        "--faults", "kill-leader,pause,kill-all", "--clients", "8", "--think-ms", "5",
        program=build,
    )  # fmt: skip
    assert run is not None, done.stderr
    assert done.returncode == 1
    assert "FAILED" in done.stdout
    data = {v.name for v in run.verdicts if "linearizable" in v.name} | {"nothing doubled"}
    assert broken(run, data), json.dumps([v.detail for v in run.verdicts])


def test_what_is_missing_is_said_before_anything_starts(tmp_path: Path) -> None:
    done, run = chaos(tmp_path / "out", "--loopback", "--faults", "partition", "--minutes", "1")
    assert done.returncode == 2
    assert run is None
    said = " ".join(done.stderr.replace("│", " ").split())  # a box breaks lines where it likes
    for kind in ("partition-full", "partition-one-way", "partition-bridge"):
        assert f"{kind} needs its own network namespaces" in said
    assert "leave out --loopback" in said
