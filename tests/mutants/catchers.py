"""Runs the tests and the simulator against a copy of the project with a mutant in it.

A mutant is caught when a test fails that passes without it. Tests with threads, processes or
sockets might fail of a busy machine: one of those must fail twice, and pass without the mutant in
between. A run that takes longer than its budget caught nothing, nor did one in which the tests
could not even be collected.
"""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.mutants.mutants import ROOT, Mutant

COPIED: Final = ("raftzmq", "tests", "config", "docs", "scripts", "setup.cfg", "pyproject.toml")
_REPLICA: Final = (
    "tests/replica/test_persist.py",
    "tests/replica/test_requests.py",
    "tests/replica/test_compaction.py",
    "tests/replica/test_judge.py",
    "tests/replica/test_no_room.py",
    "tests/replica/test_admission.py",
    "tests/replica",
)
TARGETS: Final[dict[str, tuple[str, ...]]] = {
    "raft": (
        "tests/raft/test_scenarios.py",
        "tests/raft/test_rules_elections.py",
        "tests/raft/test_rules_replication.py",
        "tests/raft/test_rules_reads.py",
        "tests/raft/test_rules_standing.py",
        "tests/raft/test_quorum.py",
        "tests/raft",
        "tests/replica",
    ),
    "replica": (*_REPLICA, "tests/node", "tests/storage"),
    "storage": ("tests/storage", *_REPLICA, "tests/node"),
    "statemachine": ("tests/statemachine", "tests/node"),
    "transport": ("tests/transport",),
    "node": ("tests/node", *_REPLICA),
    "broker": ("tests/broker",),
    "client": ("tests/client",),
}
SCHEDULES: Final = (
    "tests/raft/test_reads_of_a_deposed_leader.py",
    "tests/raft/test_random_schedules.py",
)
SIMULATOR_SEEDS: Final = "1..40"
TESTS, SCHEDULED, SIMULATED = CATCHERS = ("tests", "schedules", "simulator")
_LIVELY: Final = (
    "tests/client/",
    "tests/node/",
    "tests/statemachine/test_durability",
    "tests/storage/test_kill",
    "tests/transport/",
)
_FIXED: Final = {"RAFTZMQ_RANDOM_SEEDS": "8", "RAFTZMQ_RANDOM_EVENTS": "4000"}
_FAILED, _PASSED = 1, 0
_WALL_PER_CPU: Final = 10
"""The budget is CPU time, so that a busy machine changes no verdict; this is for what hangs."""


class Unusable(Exception):
    """The run says nothing about the mutant."""


@dataclass(frozen=True, slots=True)
class Caught:
    """What noticed a mutant, and the property that it saw broken."""

    by: str
    why: str


class Copy:
    """The project in a folder of its own, with a mutant in it or, as a control, without.

    Raises:
        DoesNotApply: see ``Mutant.mutated``.
    """

    def __init__(self, project: Path, folder: Path, mutant: Mutant | None) -> None:
        self.folder = folder
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name in COPIED:
            source = project / name
            if source.is_dir():
                shutil.copytree(source, folder / name, symlinks=True)
            elif source.exists():
                shutil.copy2(source, folder / name)
        if mutant is not None:
            for path, text in mutant.mutated(folder).items():
                path.write_text(text)

    def remove(self) -> None:
        """Give the room back."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def tests(self, targets: tuple[str, ...], budget_s: float) -> Caught | None:
        """Run pytest on ``targets`` up to the first failure.

        Raises:
            Unusable: out of time, or no test ran, or the code under test was not this copy's.
        """
        witness = self.folder / "witness.json"
        witness.unlink(missing_ok=True)
        shutil.rmtree(self.folder / ".hypothesis", ignore_errors=True)
        command = ["-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
        command += ["-p", "tests.mutants.witness", "--hypothesis-seed=0", *targets]
        code, output = self._run(command, budget_s, {**_FIXED, "RAFTZMQ_WITNESS": str(witness)})
        found = json.loads(witness.read_text()) if witness.exists() else {}
        if found.get("copy") != str(self.folder.resolve()):
            raise Unusable(f"raftzmq was imported from {found.get('copy')}\n{output[-2000:]}")
        if code == _PASSED:
            return None
        if code != _FAILED or "test" not in found:
            raise Unusable(f"pytest ended with {code}\n{output[-2000:]}")
        return Caught(found["test"], broken_property(found["why"]))

    def has_simulator(self) -> bool:
        """Whether the copy has the command ``raftzmq sim``."""
        return self._run(["-m", "raftzmq.cli.main", "sim", "--help"], 60, {})[0] == 0

    def simulator(self, budget_s: float) -> Caught | None:
        """Run the simulator on SIMULATOR_SEEDS, in their order, up to the first that fails.

        Raises:
            Unusable: out of time, or it did not say which seed failed and how.
        """
        command = ["-m", "raftzmq.cli.main", "sim", "--seeds", SIMULATOR_SEEDS]
        command += ["--workers", "1", "--no-shrink"]
        code, output = self._run(command, budget_s, {})
        if code == _PASSED:
            return None
        told = re.search(r"^seed (\d+): (CRASH|LIVENESS|SAFETY) (.+)", output, re.MULTILINE)
        if told is None:
            raise Unusable(f"the simulator ended with {code}\n{output[-2000:]}")
        return Caught(f"seed {told[1]}", f"{told[2].lower()}: {told[3].strip()}")

    def _run(
        self, command: list[str], budget_s: float, environment: dict[str, str]
    ) -> tuple[int, str]:
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(self.folder), "TZ": "UTC", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        limit = int(budget_s)
        resource.prlimit(process.pid, resource.RLIMIT_CPU, (limit, limit + 1))
        try:
            output, _ = process.communicate(timeout=_WALL_PER_CPU * budget_s)
        except subprocess.TimeoutExpired:
            raise Unusable(f"hangs: not done after {_WALL_PER_CPU * budget_s:g} s") from None
        finally:
            # With a mutant in it a test may leave processes behind: the whole session goes.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if process.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
            raise Unusable(f"not done after {budget_s:g} s of CPU")
        return process.returncode, output


def broken_property(message: str) -> str:
    """The name of the invariant in the first line of a failure; empty when it names none."""
    line = message.splitlines()[0] if message else ""
    told = re.match(r"(?:\w+\.)*(?:InvariantBroken|AssertionError): ([a-z][\w ,()-]+)", line)
    if told is None or told[1].startswith("assert "):
        return ""
    return told[1].split(" (")[0].strip()


class Inquest:
    """Mutants and their catchers, in one scratch folder.

    Args:
        project: whose copies are made.
        scratch: where; each run needs a folder of its own there.
        budget_s: seconds of CPU for each catcher and mutant.
    """

    def __init__(self, project: Path, scratch: Path, budget_s: float) -> None:
        self._project = project
        self._budget_s = budget_s
        self._scratch = scratch
        self._sound = Copy(project, scratch / f"control-{os.getpid()}", None)
        self.simulates = self._sound.has_simulator()

    def close(self) -> None:
        """Remove the control."""
        self._sound.remove()

    def control(self, mutants: list[Mutant], catchers: tuple[str, ...]) -> Caught | None:
        """Run all that may catch ``mutants`` without a mutant; anything caught makes all void.

        Raises:
            Unusable: out of time, which is four times the budget here.
        """
        targets: dict[str, None] = {}
        for mutant in mutants:
            if TESTS in catchers:
                targets.update(dict.fromkeys(targets_of(mutant)))
            if SCHEDULED in catchers and mutant.package == "raft":
                targets.update(dict.fromkeys(SCHEDULES))
        if targets and (found := self._sound.tests(tuple(targets), 4 * self._budget_s)) is not None:
            return found
        if SIMULATED in catchers and self.simulates:
            return self._sound.simulator(4 * self._budget_s)
        return None

    def try_on(
        self, mutant: Mutant, catchers: tuple[str, ...], *, every: bool
    ) -> dict[str, Caught | None]:
        """What each of ``catchers`` found, up to the first that caught; ``every``: of all."""
        found: dict[str, Caught | None] = {}
        copy = Copy(self._project, self._scratch / f"{mutant.name}-{os.getpid()}", mutant)
        try:
            for catcher in catchers:
                found[catcher] = None
                try:
                    found[catcher] = self._catch(copy, mutant, catcher)
                except Unusable as error:
                    print(f"{mutant.name}, {catcher}: {error}", file=sys.stderr)
                if found[catcher] is not None and not every:
                    break
        finally:
            copy.remove()
        return found

    def _catch(self, copy: Copy, mutant: Mutant, catcher: str) -> Caught | None:
        if catcher == SIMULATED:
            return copy.simulator(self._budget_s) if self.simulates else None
        if catcher == SCHEDULED and mutant.package != "raft":
            return None
        targets = SCHEDULES if catcher == SCHEDULED else targets_of(mutant)
        caught = copy.tests(targets, self._budget_s)
        if caught is None or not caught.by.startswith(_LIVELY):
            return caught
        again = (caught.by,)
        if self._sound.tests(again, self._budget_s) is not None:
            raise Unusable(f"{caught.by} fails without the mutant, too")
        if copy.tests(again, self._budget_s) is None:
            raise Unusable(f"{caught.by} does not fail each time")
        return caught


def targets_of(mutant: Mutant) -> tuple[str, ...]:
    """The files of tests in which to look, in this order.

    Files and not folders, as pytest drops a file that lies in a folder which it is given as well.
    The schedules are a catcher of their own.
    """
    files: dict[str, None] = {}
    for target in (*mutant.tests, *TARGETS[mutant.package]):
        path = ROOT / target
        found = sorted(path.glob("test_*.py")) if path.is_dir() else [path]
        files.update(dict.fromkeys(str(file.relative_to(ROOT)) for file in found))
    return tuple(file for file in files if file not in SCHEDULES)
