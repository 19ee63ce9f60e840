"""`raftzmq sim`: the cluster in virtual time, with faults drawn from a seed."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from raftzmq.cli import exit_codes
from raftzmq.sim.campaign import Tally, campaign
from raftzmq.sim.faults import KINDS
from raftzmq.sim.run import Result, Verdict, run
from raftzmq.sim.shrink import shrink
from raftzmq.sim.world import Options
from raftzmq.transport.clock import monotonic_s

_EXIT = {
    Verdict.GOOD: 0,
    Verdict.CRASH: exit_codes.SIM_CRASH,
    Verdict.LIVENESS: exit_codes.SIM_LIVENESS,
    Verdict.SAFETY: exit_codes.SIM_SAFETY,
}
_STEPS = 2_500


def sim(
    seed: Annotated[int | None, typer.Option(help="Replay this seed.")] = None,
    seeds: Annotated[
        str | None, typer.Option(help="A campaign over the seeds A..B, on all processors.")
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Events before the faults end.")] = _STEPS,
    nodes: Annotated[int, typer.Option(help="3 or 5.")] = 3,
    faults: Annotated[
        str, typer.Option(help=f"default, none, or some of: {', '.join(KINDS)}.")
    ] = "default",
    without: Annotated[
        str, typer.Option(help="Numbers of faults of the plan to leave out, as a failure names.")
    ] = "",
    quiet_links: Annotated[
        bool, typer.Option("--quiet-links", help="No loss, doubling, reordering.")
    ] = False,
    budget_seconds: Annotated[
        int, typer.Option(min=0, help="End a campaign after so long, as passed; 0: never.")
    ] = 0,
    workers: Annotated[int, typer.Option(min=0, help="Processes; 0: one per processor.")] = 0,
    trace: Annotated[bool, typer.Option("--trace", help="Print every event of --seed.")] = False,
    no_shrink: Annotated[
        bool, typer.Option("--no-shrink", help="Do not look for a smaller failing run.")
    ] = False,
) -> None:
    """Run the production code against simulated sockets, disks, clocks and chance.

    The same options replay the same events. Exit codes: 0 good, 101 crash, 102 liveness, 103
    safety (the name of the violated invariant is printed).

    Example: raftzmq sim --seeds 1..1000
    """
    if (seed is None) == (seeds is None):
        raise typer.BadParameter("say --seed N, or --seeds A..B for a campaign")
    if trace and seeds is not None:
        raise typer.BadParameter("--trace prints one run: say --seed N")
    options = Options(
        seed=seed or 0,
        nodes=_checked_nodes(nodes),
        steps=steps,
        kinds=_kinds(faults),
        without=_numbers(without),
        quiet=quiet_links,
    )
    console = Console(highlight=False, soft_wrap=True)
    if seeds is None:
        failed = _one(options, console, trace=trace)
    else:
        failed = _many(options, _span(seeds), workers, budget_seconds, console)
    if failed is None:
        return
    if not no_shrink and not trace:
        small = shrink(failed)
        if small.options != failed.options:
            console.print("smallest failing run:")
            _print_failure(small, console)
    raise typer.Exit(_EXIT[failed.verdict])


def _one(options: Options, console: Console, *, trace: bool) -> Result | None:
    result = run(options, keep_lines=None if trace else 60)
    if trace:
        for line in result.tail:
            console.print(line, markup=False)
    if result.verdict is Verdict.GOOD:
        console.print(
            f"seed {options.seed}: good, {result.steps} steps, {result.virtual_us // 1000} ms of"
            f" virtual time, {result.acknowledged} operations,"
            f" {sum(result.counts.faults.values())} faults, trace {result.hash}"
        )
        return None
    _print_failure(result, console)
    return result


def _many(
    options: Options, seeds: range, workers: int, budget_seconds: int, console: Console
) -> Result | None:
    began = monotonic_s()
    with Progress(
        TextColumn("seeds {task.fields[first]}..{task.fields[last]}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[speed]}"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    ) as progress:
        bar = progress.add_task("", total=len(seeds), first=seeds[0], last=seeds[-1], speed="")

        def told(tally: Tally) -> bool:
            took = max(monotonic_s() - began, 0.001)
            progress.update(
                bar,
                completed=tally.seeds,
                speed=f"{tally.seeds / took:.1f} seeds/s, {tally.steps / took:.0f} steps/s",
            )
            return not budget_seconds or took < budget_seconds

        tally = campaign(options, seeds, workers=workers, told=told)
    took = max(monotonic_s() - began, 0.001)
    if tally.failed is not None:
        _print_failure(tally.failed, console)
    quiet = sorted(set(options.kinds) - set(tally.faults))
    console.print(
        f"{tally.seeds} seeds good on {options.nodes} nodes in {took:.1f} s:"
        f" {tally.seeds / took:.1f} seeds/s, {tally.steps / took:.0f} steps/s,"
        f" {tally.acknowledged} operations, {sum(tally.faults.values())} faults"
        + (f"; never fired: {', '.join(quiet)}" if quiet else "")
    )
    return tally.failed


def _print_failure(result: Result, console: Console) -> None:
    options = result.options
    console.print(
        f"seed {options.seed}: {result.verdict.value.upper()} {result.name}", markup=False
    )
    console.print(f"  {result.detail}", markup=False)
    kinds = (
        "" if options.kinds == tuple(KINDS) else f" --faults {','.join(options.kinds) or 'none'}"
    )
    left_out = ",".join(map(str, sorted(options.without)))
    console.print(
        f"  replay: raftzmq sim --seed {options.seed} --steps {options.steps}"
        f" --nodes {options.nodes}{kinds}"
        + (f" --without {left_out}" if left_out else "")
        + (" --quiet-links" if options.quiet else "")
        + f"   (trace {result.hash}, {result.steps} steps)",
        markup=False,
    )
    for line in result.tail[-12:]:
        console.print(f"    {line}", markup=False)


def _checked_nodes(nodes: int) -> int:
    if nodes not in (3, 5):
        raise typer.BadParameter("--nodes is 3 or 5")
    return nodes


def _kinds(text: str) -> tuple[str, ...]:
    if text == "default":
        return tuple(KINDS)
    if text == "none":
        return ()
    kinds = tuple(part.strip() for part in text.split(",") if part.strip())
    for kind in kinds:
        if kind not in KINDS:
            raise typer.BadParameter(f"--faults: {kind} is none of {', '.join(KINDS)}")
    return kinds


def _numbers(text: str) -> frozenset[int]:
    try:
        return frozenset(int(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise typer.BadParameter("--without takes numbers with commas between") from None


def _span(text: str) -> range:
    first, _, last = text.partition("..")
    try:
        span = range(int(first), int(last or first) + 1)
    except ValueError:
        raise typer.BadParameter("--seeds takes A..B, both included") from None
    if not span:
        raise typer.BadParameter("--seeds A..B: B is not below A")
    return span
