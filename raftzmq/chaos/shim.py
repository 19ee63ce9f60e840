"""Faults of disk and clock of one process, by a library that stands between it and the kernel."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from raftzmq.chaos.trouble import ChaosError

SOURCE: Final = Path(__file__).with_name("faulty.c")
EIO: Final = 5
FOREVER: Final = 1_000_000_000


def compiler() -> str | None:
    """The C compiler, or None."""
    return shutil.which("cc") or shutil.which("gcc")


def build(library: Path) -> None:
    """Compile the library.

    Raises:
        ChaosError: there is no compiler, or it failed.
    """
    found = compiler()
    if found is None:
        raise ChaosError(
            "faults of disk and clock need a C compiler, and there is none: apt install gcc"
        )
    done = subprocess.run(
        [found, "-O2", "-shared", "-fPIC", "-o", library, SOURCE, "-ldl"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ChaosError(f"{SOURCE.name} does not compile: {done.stderr.strip()}")


class FaultFile:
    """The file that tells one process which of its calls fail.

    Args:
        path: given to the process as FAULTS.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def environment(self, library: Path) -> dict[str, str]:
        """What to add to the environment of the process."""
        return {"LD_PRELOAD": str(library), "FAULTS": str(self._path)}

    def add(self, what: str, ends: Iterable[str], number: int, times: int = FOREVER) -> None:
        """Add a rule per end of a path; see the head of faulty.c. Those of the same what are
        replaced, all at once: the process reads the file at any moment."""
        kept = [line for line in self._rules() if line.split()[0] != what]
        self._write([*kept, *(f"{what} {end} {number} {times}" for end in ends)])

    def remove(self, what: str) -> None:
        """Take back all rules of this kind."""
        self._write([line for line in self._rules() if line.split()[0] != what])

    def clear(self) -> None:
        """Take back all."""
        self._write([])

    def fired(self, what: str) -> int:
        """How often a fault of this kind was done to the process so far."""
        file = self._path.with_name(self._path.name + ".fired")
        if not file.exists():
            return 0
        return sum(line.startswith(what + " ") for line in file.read_text().splitlines())

    def _rules(self) -> list[str]:
        return self._path.read_text().splitlines() if self._path.exists() else []

    def _write(self, lines: list[str]) -> None:
        draft = self._path.with_name(self._path.name + ".new")
        draft.write_text("".join(line + "\n" for line in lines))
        draft.replace(self._path)
