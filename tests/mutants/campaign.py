"""Switches rules off one by one and tells what notices; scripts/mutants.sh runs it."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.mutants.catchers import CATCHERS, SIMULATED, Caught, Inquest, Unusable
from tests.mutants.document import PAGE, load_findings, render, save_findings
from tests.mutants.mutants import ROOT, DoesNotApply, Mutant, load

CAUGHT, SURVIVED, VOID = 0, 1, 2


def main(arguments: list[str]) -> int:
    """Run the campaign; the exit codes are those of scripts/mutants.sh."""
    parser = argparse.ArgumentParser(prog="scripts/mutants.sh", description=__doc__)
    parser.add_argument("--only", action="append", metavar="NAME", default=[])
    parser.add_argument("--package", action="append", default=[])
    parser.add_argument("--catcher", action="append", choices=CATCHERS, default=[])
    parser.add_argument("--every", action="store_true")
    parser.add_argument("--jobs", type=_at_least_one, default=1)
    parser.add_argument("--budget", type=float, default=120.0, metavar="SECONDS")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--no-control", action="store_true")
    parser.add_argument("--document", action="store_true")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that nothing is left behind

    mutants = load()
    unknown = [name for name in options.only if name not in mutants]
    if unknown:
        print(f"there is no mutant {', '.join(unknown)}; see --list", file=sys.stderr)
        return VOID
    packages = {mutant.package for mutant in mutants.values()}
    if strange := [name for name in options.package if name not in packages]:
        print(
            f"no mutant is of {', '.join(strange)}; there are {', '.join(sorted(packages))}",
            file=sys.stderr,
        )
        return VOID
    chosen = [
        mutant
        for mutant in mutants.values()
        if (not options.only or mutant.name in options.only)
        and (not options.package or mutant.package in options.package)
    ]
    if not chosen:
        print("no mutant is both of --only and of --package", file=sys.stderr)
        return VOID
    if options.list:
        for mutant in chosen:
            print(f"{mutant.name:38} {mutant.rule}")
        return CAUGHT
    catchers = tuple(name for name in CATCHERS if not options.catcher or name in options.catcher)
    with tempfile.TemporaryDirectory(prefix="raftzmq-mutants-") as scratch:
        inquest = Inquest(ROOT, Path(scratch), options.budget)
        if SIMULATED in catchers and not inquest.simulates:
            print("raftzmq sim is not there: the simulator catches nothing", file=sys.stderr)
        try:
            if not options.no_control and not _passes_control(inquest, chosen, catchers):
                return VOID
            survivors = []
            for mutant, nets in _campaign(
                inquest, chosen, catchers, every=options.every, jobs=options.jobs
            ):
                if not any(nets.values()):
                    survivors.append(mutant.name)
                if options.document:
                    _write_down(mutant, nets, mutants)
        except DoesNotApply as error:
            print(error, file=sys.stderr)
            return VOID
        finally:
            inquest.close()
    print(f"{len(chosen) - len(survivors)} of {len(chosen)} mutants caught")
    if survivors:
        print(f"not caught: {', '.join(survivors)}")
    return SURVIVED if survivors else CAUGHT


def _at_least_one(text: str) -> int:
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return value


def _write_down(mutant: Mutant, nets: dict[str, Caught | None], mutants: dict[str, Mutant]) -> None:
    """Each finding at once: a campaign takes long and may be ended."""
    findings = load_findings()
    known = {**findings.get(mutant.name, {}), **nets}
    findings[mutant.name] = {net: caught for net, caught in known.items() if caught is not None}
    save_findings(findings, mutants)
    PAGE.write_text(render(mutants, findings))


def _passes_control(inquest: Inquest, mutants: list[Mutant], catchers: tuple[str, ...]) -> bool:
    try:
        failed = inquest.control(mutants, catchers)
    except Unusable as error:
        print(f"control: {error}", file=sys.stderr)
        return False
    if failed is not None:
        print(f"control: {failed.by} fails without any mutant: {failed.why}", file=sys.stderr)
    return failed is None


def _campaign(
    inquest: Inquest, mutants: list[Mutant], catchers: tuple[str, ...], *, every: bool, jobs: int
) -> Iterator[tuple[Mutant, dict[str, Caught | None]]]:
    def one(mutant: Mutant) -> dict[str, Caught | None]:
        began = time.monotonic()
        nets = inquest.try_on(mutant, catchers, every=every)
        told = "; ".join(f"{net}: {found.by} {found.why}" for net, found in nets.items() if found)
        took_s = time.monotonic() - began
        print(f"{mutant.name:38} {took_s:4.0f} s  {told or 'NOT CAUGHT'}", flush=True)
        return nets

    with ThreadPoolExecutor(max_workers=jobs) as pool:
        yield from zip(mutants, pool.map(one, mutants), strict=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
