"""The rules that can be switched off, as they stand in mutants.toml."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parents[1]
CATALOGUE: Final = HERE / "mutants.toml"
_TEXTS: Final = ("rule", "source", "harm")


class DoesNotApply(Exception):
    """The code changed and the mutant did not; it has to be written anew."""


@dataclass(frozen=True, slots=True)
class Change:
    """``old`` stands exactly once in ``file`` (below raftzmq/), and ``new`` takes its place."""

    file: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Mutant:
    """One rule switched off."""

    name: str
    rule: str
    source: str
    harm: str
    changes: tuple[Change, ...]
    tests: tuple[str, ...] = ()

    @property
    def package(self) -> str:
        """The package whose rule it is."""
        return self.changes[0].file.split("/")[0]

    def mutated(self, project: Path) -> dict[Path, str]:
        """The files of ``project`` that it changes, and what they hold then.

        Raises:
            DoesNotApply: a text is not there exactly once, nothing changes, or the result is no
                Python.
        """
        files: dict[Path, str] = {}
        for change in self.changes:
            path = project / "raftzmq" / change.file
            text = files.get(path) or path.read_text()
            found = text.count(change.old)
            if found != 1:
                raise DoesNotApply(
                    f"{self.name}: its old text stands {found} times in raftzmq/{change.file}, not"
                    " once; look up where the rule went and correct mutants.toml"
                )
            files[path] = text.replace(change.old, change.new)
            if files[path] == text:
                raise DoesNotApply(f"{self.name} changes nothing in raftzmq/{change.file}")
        for path, text in files.items():
            try:
                compile(text, str(path), "exec")
            except SyntaxError as error:
                raise DoesNotApply(f"{self.name}: {path.name} is no Python: {error}") from error
        return files


def load(path: Path = CATALOGUE) -> dict[str, Mutant]:
    """All mutants by name, in the order of the file."""
    with path.open("rb") as file:
        return {name: _mutant(name, row) for name, row in tomllib.load(file).items()}


def _mutant(name: str, row: dict[str, str | list[str]]) -> Mutant:
    known = {*_TEXTS, "file", "old", "new", "also_file", "also_old", "also_new", "tests"}
    if not row.keys() <= known:
        raise ValueError(f"{name}: {', '.join(sorted(row.keys() - known))} is not known")
    changes = [Change(str(row["file"]), str(row["old"]), str(row["new"]))]
    if "also_old" in row:
        file = str(row.get("also_file", row["file"]))
        changes.append(Change(file, str(row["also_old"]), str(row["also_new"])))
    rule, source, harm = (str(row[text]) for text in _TEXTS)
    return Mutant(name, rule, source, harm, tuple(changes), tuple(row.get("tests", ())))
