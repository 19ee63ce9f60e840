"""Records of runs as they could have been, of any length and with any number of faults."""

from __future__ import annotations

import random

from raftzmq.chaos.record import Fault, Leadership, LogLine, Run, Sample, Stall, Verdict

KINDS = {
    "kill-leader": (0.02, 0.1),
    "terminate-leader": (0.01, 0.05),
    "pause-leader": (0.4, 1.0),
    "partition": (0.4, 0.9),
    "one-way-loss": (0.0, 0.4),
    "slow-disk": (0.0, 0.2),
    "clock-jump": (0.0, 0.0),
    "full-disk": (0.1, 0.5),
}


def made_up_run(
    *,
    seconds: float = 60.0,
    nodes: int = 3,
    faults: int = 12,
    seed: int = 7,
    violated: bool = False,
    unfired: int = 0,
    picture: str = "",
    interval_s: float = 0.25,
) -> Run:
    """A record with all parts filled in."""
    chance = random.Random(seed)
    names = tuple(f"n{number + 1}" for number in range(nodes))
    injected: list[Fault] = []
    stalls: list[Stall] = []
    leaderships: list[Leadership] = []
    log: list[LogLine] = []
    leader, term, since = names[0], 1, 0.3
    for number in range(faults):
        kind = chance.choice(list(KINDS))
        begin = seconds * (number + 0.6) / (faults + 1)
        end = begin + chance.uniform(0.1, 0.7) * seconds / (faults + 1)
        fired = number >= unfired
        target = leader if "leader" in kind else chance.choice(names)
        if kind == "one-way-loss":
            target = f"{target}>{chance.choice(names)}"
        detail = f"pid {chance.randint(1000, 9999)} was seen to end" if fired else "no packet lost"
        injected.append(Fault(kind, target, begin, end, fired, detail))
        log.append(LogLine(begin, "chaos", f"inject {kind} on {target}"))
        low, high = KINDS[kind]
        stall = chance.uniform(low, high)
        if fired and stall > 0.01:
            stalls.append(Stall(begin, begin + stall, number))
        if fired and low > 0:
            leaderships.append(Leadership(leader, term, since, begin + 0.002))
            leader = chance.choice([name for name in names if name != leader])
            term, since = term + chance.choice([1, 1, 2]), begin + stall * 0.8
            log.append(LogLine(begin + 0.004, leader, f"lost the leader; pre-vote for {term}"))
            log.append(LogLine(since, leader, f"leader of term {term}, log index {term * 4711}"))
        log.append(LogLine(end, "chaos", f"heal {kind} on {target}"))
        log.append(LogLine(end + 0.2, "n2", "applied <b>4,711</b> entries & is up to date"))
    leaderships.append(Leadership(leader, term, since, seconds))
    verdicts = [
        Verdict("register: linearizable", True, "48,211 operations on 24 keys, 61 unknown"),
        Verdict(
            "bank: sum constant",
            not violated,
            "no set of transfers leads to these balances"
            if violated
            else "9,120 operations on 4 ledgers",
            picture,
        ),
        Verdict("counter: exactly once", True, "12,001 increments, 40 of them retried"),
        Verdict("nothing lost", True, "31,402 acknowledged writes on every replica"),
        Verdict("replicas equal", True, "3 digests at log index 48,003"),
    ]
    return Run(
        command=f"raftzmq chaos --seconds {seconds:g} --nodes {nodes} --seed {seed}",
        seed=seed,
        seconds=seconds,
        started="2026-03-14 15:09 UTC",
        versions={
            "raftzmq": "0.2.0",
            "Python": "3.11.2",
            "SQLite": "3.46.1",
            "libzmq": "4.3.5",
            "kernel": "Linux 6.1.0-x86_64",
            "machine": "2 cores, 8 GB",
        },
        nodes=names,
        faults=tuple(injected),
        leaderships=tuple(leaderships),
        samples=tuple(_samples(chance, seconds, interval_s, injected, stalls)),
        stalls=tuple(stalls),
        verdicts=tuple(verdicts),
        log=tuple(log),
    )


def _samples(
    chance: random.Random,
    seconds: float,
    interval_s: float,
    faults: list[Fault],
    stalls: list[Stall],
) -> list[Sample]:
    samples: list[Sample] = []
    for number in range(int(seconds / interval_s)):
        at = number * interval_s
        stalled = sum(
            max(0.0, min(each.until_s, at + interval_s) - max(each.from_s, at)) for each in stalls
        )
        free = max(0.0, 1 - stalled / interval_s)
        slow = 2.5 if any(each.from_s <= at <= each.until_s for each in faults) else 1.0
        writes = int(free * 4_000 * interval_s * chance.uniform(0.85, 1.1) / slow)
        reads = int((0.4 + 0.6 * free) * 9_000 * interval_s * chance.uniform(0.9, 1.1) / slow)
        p50 = slow * chance.uniform(3.5, 5.0)
        samples.append(
            Sample(
                at_s=at,
                seconds=interval_s,
                reads=reads,
                writes=writes,
                unknown=chance.randint(1, 20) if free < 0.7 else 0,
                refused=chance.randint(0, 6) if free < 0.9 else 0,
                read_p50_ms=p50 * 0.6,
                read_p99_ms=p50 * chance.uniform(1.5, 3),
                write_p50_ms=p50 if writes else None,
                write_p99_ms=p50 * 2 + stalled * 1000 if writes else None,
            )
        )
    return samples
