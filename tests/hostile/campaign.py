"""Runs the attacks in a process of their own, all targets at the same time.

python -m tests.hostile.campaign --plan FILE --seed N --scale X [--seconds S] [--only NAME ...]

The plan is JSON: cluster, members, targets ([kind, address, node] each), recorded (hex).
Prints a line of JSON when an attack begins (attack, target, began: seconds since the start) and one
when it has ended: attack, target, thrown, began, seconds, error or null.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import sys
import threading
import time
import traceback
from pathlib import Path

from tests.hostile.attacks import ATTACKS, Target


def targets_of(plan: dict[str, object]) -> list[Target]:
    """The targets that a plan names."""
    recorded = tuple(bytes.fromhex(each) for each in plan["recorded"])  # type: ignore[attr-defined]
    return [
        Target(kind, address, node, str(plan["cluster"]), tuple(plan["members"]), recorded)  # type: ignore[arg-type]
        for kind, address, node in plan["targets"]  # type: ignore[attr-defined]
    ]


def say(line: dict[str, object]) -> None:
    """One write: the lines of several threads must not mix."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def assault(
    target: Target, seed: str, scale: float, start: float, seconds: float, only: list[str]
) -> None:
    """All attacks on one target in a random order; again until the time is over."""
    rng = random.Random(seed)
    where = f"{target.kind} {target.node}".strip()
    for again in itertools.count():
        names = list(only)
        rng.shuffle(names)
        for name in names:
            began = time.monotonic()
            if again and began >= start + seconds:
                return
            line: dict[str, object] = {
                "attack": name, "target": where, "began": round(began - start, 2)
            }  # fmt: skip
            say(line)
            error = None
            thrown = 0
            try:
                thrown = ATTACKS[name](target, rng, scale)
            except OSError as refused:
                error = str(refused)  # the server closed the door; that is its right
            except Exception:  # noqa: BLE001 - a broken attack must show in the report
                error = "broken attack: " + traceback.format_exc()
            took = round(time.monotonic() - began, 2)
            say({**line, "thrown": thrown, "seconds": took, "error": error})
        if time.monotonic() >= start + seconds:
            return


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Attack the bound sockets of a cluster.")
    parser.add_argument("--plan", type=Path, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--scale", type=float, required=True)
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("--only", nargs="*", choices=sorted(ATTACKS), default=sorted(ATTACKS))
    arguments = parser.parse_args()
    start = time.monotonic()
    threads = [
        threading.Thread(
            target=assault,
            # The place and not the port, which differs from run to run.
            args=(
                each,
                f"{arguments.seed}/{at}",
                arguments.scale,
                start,
                arguments.seconds,
                arguments.only,
            ),
        )
        for at, each in enumerate(targets_of(json.loads(arguments.plan.read_text())))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
