"""The catalogue of mutants fits the code, the page fits the catalogue, and the nets hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mutants import campaign, catchers
from tests.mutants.catchers import Caught, Copy, Inquest, Unusable, broken_property
from tests.mutants.document import PAGE, load_findings, render
from tests.mutants.mutants import ROOT, Change, DoesNotApply, Mutant, load

MUTANTS = load()
BUDGET_S = 60.0
SAMPLE = {
    "commit-without-current-term-check": "tests/raft/test_scenarios.py",
    "ledger-skipped": "tests/statemachine/test_ledger.py",
    "doubt-forgotten": "tests/broker/test_routing.py",
}
"""Caught within seconds; all others take their turn in scripts/mutants.sh."""


def test_there_are_enough() -> None:
    assert len(MUTANTS) >= 25


@pytest.mark.parametrize("name", MUTANTS)
def test_applies_to_the_code_as_it_is(name: str) -> None:
    mutant = MUTANTS[name]
    assert mutant.mutated(ROOT), "a mutant changes something"
    assert all((mutant.rule, mutant.source, mutant.harm)), "it says what, whence and what for"
    for target in catchers.targets_of(mutant):
        assert (ROOT / target).exists()


def test_no_mutant_is_another_one() -> None:
    changes = [mutant.changes for mutant in MUTANTS.values()]
    assert len(set(changes)) == len(changes)


def test_the_page_tells_what_the_last_campaign_found() -> None:
    findings = load_findings()
    assert PAGE.read_text() == render(MUTANTS, findings), "scripts/mutants.sh --document writes it"
    assert list(findings) == list(MUTANTS), "every mutant was tried"
    assert all(findings.values()), "and caught"


def test_what_caught_a_mutant_is_still_there() -> None:
    for nets in load_findings().values():
        for caught in nets.values():
            file, _, test = caught.by.partition("::")
            if test:
                name = test.partition("[")[0].rpartition("::")[2]
                folder = (ROOT / file).parent
                assert any(f"def {name}(" in path.read_text() for path in folder.glob("*.py"))


@pytest.mark.parametrize(
    "arguments",
    [["--package", "rfat"], ["--only", "vote-twice-in-a-term", "--package", "client"]],
)
def test_a_campaign_without_mutants_is_no_pass(arguments: list[str]) -> None:
    assert campaign.main(arguments) == campaign.VOID


def test_nothing_can_be_tried_by_nobody() -> None:
    with pytest.raises(SystemExit, match="2"):
        campaign.main(["--jobs", "0"])


def mutant_of(file: str, old: str, new: str, *tests: str) -> Mutant:
    return Mutant("made-up", "rule", "source", "harm", (Change(file, old, new),), tests)


@pytest.mark.parametrize("name", SAMPLE)
def test_a_sample_is_caught(tmp_path: Path, name: str) -> None:
    caught = Copy(ROOT, tmp_path / "copy", MUTANTS[name]).tests((SAMPLE[name],), BUDGET_S)
    assert caught is not None
    assert caught.by.startswith(SAMPLE[name])


NEEDED = "    needed = len(voters) // 2 + 1\n"
QUORUM = ("tests/raft/test_quorum.py",)


def test_a_change_that_changes_nothing_is_not_caught(tmp_path: Path) -> None:
    """So no test fails only because it runs in a copy."""
    harmless = mutant_of("raft/quorum.py", NEEDED, "    needed = 1 + len(voters) // 2\n")
    assert Copy(ROOT, tmp_path / "copy", harmless).tests(QUORUM, BUDGET_S) is None


def test_code_that_cannot_be_imported_is_not_caught(tmp_path: Path) -> None:
    broken = mutant_of("raft/quorum.py", "from enum import Enum\n", "from enum import Enom\n")
    with pytest.raises(Unusable, match="pytest ended with"):
        Copy(ROOT, tmp_path / "copy", broken).tests(QUORUM, BUDGET_S)


def test_a_hang_is_not_caught(tmp_path: Path) -> None:
    endless = mutant_of("raft/quorum.py", NEEDED, NEEDED + "    while needed:\n        pass\n")
    with pytest.raises(Unusable, match="of CPU"):
        Copy(ROOT, tmp_path / "copy", endless).tests(QUORUM, 3)


def test_what_fails_without_the_mutant_too_has_not_caught_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shaky = Copy(ROOT, tmp_path / "shaky", None).folder
    (shaky / "tests" / "client" / "test_shaky.py").write_text("def test_shaky():\n    assert 0\n")
    mutant = mutant_of("raft/quorum.py", NEEDED, NEEDED + "\n", "tests/client/test_shaky.py")
    inquest = Inquest(shaky, tmp_path / "scratch", BUDGET_S)
    assert inquest.try_on(mutant, (catchers.TESTS,), every=True) == {catchers.TESTS: None}
    assert "fails without the mutant, too" in capsys.readouterr().err


def test_the_code_under_test_must_be_the_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = Copy(ROOT, tmp_path / "copy", None)
    (copy.folder / "raftzmq").rename(copy.folder / "elsewhere")
    with pytest.raises(Unusable, match="imported from"):
        copy.tests(("tests/raft/test_quorum.py",), BUDGET_S)


def test_a_text_that_is_not_there_or_twice_does_not_apply() -> None:
    for old in ("no such text", "return"):
        with pytest.raises(DoesNotApply, match="times in raftzmq/raft/quorum"):
            mutant_of("raft/quorum.py", old, "other").mutated(ROOT)
    with pytest.raises(DoesNotApply, match="is no Python"):
        mutant_of("raft/quorum.py", "class VoteResult(Enum):", "class VoteResult(").mutated(ROOT)


def test_the_project_is_left_alone(tmp_path: Path) -> None:
    files = {path: path.read_bytes() for path in (ROOT / "raftzmq").rglob("*.py")}
    Copy(ROOT, tmp_path / "copy", MUTANTS[next(iter(SAMPLE))]).remove()
    assert files == {path: path.read_bytes() for path in (ROOT / "raftzmq").rglob("*.py")}


@pytest.mark.parametrize(
    ("message", "name"),
    [
        ("AssertionError: one vote per term", "one vote per term"),
        (
            "raftzmq.invariants.InvariantBroken: a committed entry is never removed (first=3)",
            "a committed entry is never removed",
        ),
        ("AssertionError: assert 3 == 4", ""),
        ("assert 3 == 4", ""),
        ("", ""),
    ],
)
def test_the_broken_property_is_named(message: str, name: str) -> None:
    assert broken_property(message) == name


def test_the_page_names_those_that_got_away() -> None:
    mutant = mutant_of("raft/quorum.py", "a", "b")
    assert "**nothing**" in render({"made-up": mutant}, {})
    page = render({"made-up": mutant}, {"made-up": {"simulator": Caught("seed 7", "log matching")}})
    assert "1 of 1 mutants are caught" in page
    assert "simulator: `seed 7` (log matching)" in page
