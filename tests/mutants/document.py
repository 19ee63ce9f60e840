"""docs/MUTANTS.md, made of the catalogue and of what the last campaign found."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.mutants.catchers import CATCHERS, Caught
from tests.mutants.mutants import HERE, ROOT, Mutant

FINDINGS: Final = HERE / "caught.json"
PAGE: Final = ROOT / "docs" / "MUTANTS.md"
Findings = dict[str, dict[str, Caught]]

_HEAD: Final = """\
# Mutants: each invariant can fail

A test that never failed proves nothing. So each rule that raftzmq's promises rest on was switched
off, one at a time, and the tests had to notice: {caught} of {count} mutants are caught.

Made by `scripts/mutants.sh --document`; do not edit. The changes themselves stand in
`tests/mutants/mutants.toml`.

* A mutant is a change of a line or two in a copy of `raftzmq/`; the tests run against the copy.
* Three nets, each with a budget of CPU time. **tests**: scripted scenarios (`tests/raft/scenarios`)
  and unit tests. **schedules**: random schedules of the core with their fixed seeds, for mutants of
  `raft/`. **simulator**: `raftzmq sim` with fixed seeds.
* Caught means that a test fails which passes without the mutant; without any, all nets stay quiet
  (the control, which runs first). A test with threads or sockets, which a busy machine might fail,
  has to fail twice and pass without the mutant in between. A run that is out of time, or whose
  tests cannot be collected, has caught nothing.
* Behind what caught it stands the property that was seen broken, where the test names one. A
  scenario is compared line by line: without such a name, the nodes said what they should not.
"""
_PACKAGES: Final = {
    "raft": "Consensus core",
    "replica": "Replica",
    "storage": "Storage",
    "statemachine": "State machine",
    "transport": "Transport",
    "node": "Node",
    "broker": "Broker",
    "client": "Client",
}


def load_findings(path: Path = FINDINGS) -> Findings:
    """What caught each mutant, by catcher."""
    if not path.exists():
        return {}
    return {
        name: {catcher: Caught(*caught) for catcher, caught in nets.items()}
        for name, nets in json.loads(path.read_text()).items()
    }


def save_findings(findings: Findings, mutants: Mapping[str, Mutant], path: Path = FINDINGS) -> None:
    """Keep them in the order of the catalogue, without those that are gone from it."""
    rows = {
        name: {
            catcher: [findings[name][catcher].by, findings[name][catcher].why]
            for catcher in CATCHERS
            if catcher in findings[name]
        }
        for name in mutants
        if name in findings
    }
    path.write_text(json.dumps(rows, indent=1) + "\n")


def render(mutants: Mapping[str, Mutant], findings: Findings) -> str:
    """The page."""
    caught = sum(bool(findings.get(name)) for name in mutants)
    lines = [_HEAD.format(count=len(mutants), caught=caught)]
    for package, title in _PACKAGES.items():
        rows = [mutant for mutant in mutants.values() if mutant.package == package]
        if rows:
            lines += [f"## {title}", ""]
            lines += ["| mutant | rule that is off | source | what users would see | caught by |"]
            lines += ["|---|---|---|---|---|"]
            lines += [_row(mutant, findings.get(mutant.name, {})) for mutant in rows]
            lines += [""]
    return "\n".join(lines)


def _row(mutant: Mutant, nets: Mapping[str, Caught]) -> str:
    told = [f"{catcher}: {_words(nets[catcher])}" for catcher in CATCHERS if catcher in nets]
    cells = (
        f"`{mutant.name}`",
        f"{mutant.rule} (`{mutant.changes[0].file}`)",
        mutant.source,
        mutant.harm,
        "<br>".join(told) or "**nothing**",
    )
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def _words(caught: Caught) -> str:
    where, _, test = caught.by.partition("::")
    name = f"`{Path(where).stem}::{test}`" if test else f"`{caught.by}`"
    return f"{name} ({caught.why})" if caught.why else name
