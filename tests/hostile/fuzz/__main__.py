"""Fuzzes for a time with seeds that nobody has tried; see scripts/fuzz.sh."""

from __future__ import annotations

import argparse
import json
import random
import secrets
import sys
import time
import traceback
from pathlib import Path

from tests.hostile.fuzz.targets import ROOT, TARGETS, Input, Target


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/fuzz.sh", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0, help="for all targets together")
    parser.add_argument("--seed", default=None, help="default: a fresh one, which is printed")
    parser.add_argument("--target", choices=[*TARGETS, "all"], default="all")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="play one kept input again")
    parser.add_argument("--keep", type=Path, default=ROOT / "build" / "fuzz", metavar="FOLDER")
    options = parser.parse_args()
    if options.replay is not None:
        try:
            kept = json.loads(options.replay.read_text())
            target, steps = TARGETS[kept["target"]], kept["steps"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            parser.error(f"{options.replay} is no input that was kept: {error!r}")
        target.play(steps)
        print(f"{options.replay}: every promise was kept")
        return 0
    seed = options.seed or secrets.token_hex(4)
    names = list(TARGETS) if options.target == "all" else [options.target]
    print(f"seed {seed}, targets {', '.join(names)}, {options.minutes:g} minutes", flush=True)
    return _run(names, seed, time.monotonic() + 60 * options.minutes, options.keep)


def _run(names: list[str], seed: str, until: float, keep: Path) -> int:
    counts = dict.fromkeys(names, 0)
    while time.monotonic() < until:
        for name in names:
            number = counts[name]
            counts[name] += 1
            steps = TARGETS[name].make(random.Random(f"{seed}/{name}/{number}"))
            error = _failure(TARGETS[name], steps)
            if error is None:
                continue
            traceback.print_exception(error)
            steps = shortened(TARGETS[name], steps, type(error))
            keep.mkdir(parents=True, exist_ok=True)
            file = keep / f"{name}-{seed}-{number}.json"
            file.write_text(json.dumps({"target": name, "steps": steps}, indent=1) + "\n")
            print(f"input {number} of seed {seed} fails; again: scripts/fuzz.sh --replay {file}")
            return 1
    print("inputs without a failure:", ", ".join(f"{n} {name}" for name, n in counts.items()))
    if not all(counts.values()):
        print("there was no time to try every target: nothing is proven")
        return 2
    return 0


def shortened(target: Target, steps: Input, kind: type[Exception]) -> Input:
    """Leave out each step without which it still fails in the same way."""
    at = 0
    while at < len(steps):
        less = steps[:at] + steps[at + 1 :]
        if less and isinstance(_failure(target, less), kind):
            steps = less
        else:
            at += 1
    return steps


def _failure(target: Target, steps: Input) -> Exception | None:
    try:
        target.play(steps)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what is looked for
        return error
    return None


if __name__ == "__main__":
    sys.exit(main())
