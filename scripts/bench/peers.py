"""Measures peers and us in turn, prints the ratios; see peers.sh."""

# ruff: noqa: T201  (printing is what this program is for)
from __future__ import annotations

import argparse
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import peer_systems as systems
from peer_processes import Figure, PeerFailed, Plan

from raftzmq.bench.machine import in_memory_only, machine
from raftzmq.errors import RaftzmqError

NAMES = ("raftzmq", "etcd", "postgresql", "pysyncobj", "sqlite")
HERE = Path(__file__).resolve().parent


def main() -> int:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    wanted = arguments()
    plan = Plan(
        tuple(wanted.in_flight), ("writes", "reads"), wanted.seconds, wanted.warm_up, wanted.size
    )
    where = wanted.folder.resolve()
    about = machine(where)
    figures: list[Figure] = []
    skipped: dict[str, str] = {}
    print(f"machine: {json.dumps(about)}", file=sys.stderr)
    if in_memory_only(str(about["file_system"])):
        print(f"{where} is {about['file_system']}: an fsync costs nothing there", file=sys.stderr)
    tools_folder = Path(tempfile.mkdtemp(prefix="raftzmq-peers-tools-"))
    interrupted = False
    try:
        tools, why = find_tools(wanted, tools_folder)
        skipped.update({name: text for name, text in why.items() if name in wanted.only})
        for name, text in skipped.items():
            print(f"SKIPPED {name}: {text}", file=sys.stderr)
        for round_number in range(1, wanted.rounds + 1):
            for name in wanted.only:
                if name in skipped:
                    continue
                for run in runs(name, plan, where, tools):
                    with locked(wanted.lock):
                        print(f"round {round_number} of {wanted.rounds}: {name}", file=sys.stderr)
                        try:
                            figures += list(run())
                        except (PeerFailed, RaftzmqError, OSError) as error:
                            skipped[name] = str(error)
                            print(f"FAILED {name}: {error}", file=sys.stderr)
                            break
    except KeyboardInterrupt:
        interrupted = True
        print("interrupted; what was measured until now:", file=sys.stderr)
    finally:
        # Ended here, or what is below could be cut off by a second interrupt.
        shutil.rmtree(tools_folder, ignore_errors=True)
    print(table(figures, skipped))
    if wanted.save is not None:
        stored = {
            "format": "raftzmq peers",
            "version": 1,
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": about,
            "plan": asdict(plan),
            "skipped": skipped,
            "figures": [asdict(each) for each in figures],
        }
        wanted.save.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
    return 130 if interrupted else int(bool(skipped))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench/peers.sh", add_help=False)
    parser.add_argument("--install", action="store_true")
    parser.add_argument("--only", type=names, default=list(NAMES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--warm-up", type=float, default=1.0)
    parser.add_argument("--size", type=int, default=100)
    parser.add_argument("--in-flight", type=numbers, default=[1, 64, 256])
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--save", type=Path)
    parser.add_argument("--lock", type=Path)
    wanted = parser.parse_args()
    if wanted.rounds < 1 or wanted.seconds < 1 or wanted.warm_up < 0 or not wanted.folder.is_dir():
        parser.error("--rounds and --seconds are at least 1, and --folder is a folder")
    return wanted


def names(text: str) -> list[str]:
    found = text.split(",")
    wrong = [each for each in found if each not in NAMES]
    if wrong:
        raise argparse.ArgumentTypeError(f"{', '.join(wrong)}: none of {', '.join(NAMES)}")
    return found


def numbers(text: str) -> list[int]:
    found = [int(each) for each in text.split(",")]
    if not all(1 <= each <= 300 for each in found):
        raise argparse.ArgumentTypeError("each is 1 to 300")
    return found


@contextmanager
def locked(file: Path | None) -> Iterator[None]:
    if file is None:
        yield
        return
    with file.open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def runs(
    name: str, plan: Plan, where: Path, tools: systems.Tools
) -> list[Callable[[], Iterator[Figure]]]:
    """What is measured under one lock each."""
    if name == "raftzmq":
        return [
            lambda: systems.raftzmq(plan, where, connections=False),
            lambda: systems.raftzmq(plan, where, connections=True),
        ]
    if name == "sqlite":
        return [lambda: systems.sqlite(plan, where)]
    if name == "etcd":
        return [lambda: systems.etcd(plan, where, tools)]
    if name == "pysyncobj":
        return [lambda: systems.pysyncobj(plan, where, tools)]
    return [lambda: systems.postgresql(plan, where, tools)]


def find_tools(wanted: argparse.Namespace, folder: Path) -> tuple[systems.Tools, dict[str, str]]:
    """Programs that are there, or that --install fetched; and why others are missing."""
    why: dict[str, str] = {}
    etcd, load = shutil.which("etcd"), None
    postgres = systems.find_postgres()
    python: Path | None = None
    if wanted.install:
        if "etcd" in wanted.only and etcd is None:
            # Unpacked and not installed: the package would start a server of its own.
            attempt(why, "etcd", ["apt-get", "download", "-q", "etcd-server"], folder)
            for package in folder.glob("etcd-server_*.deb"):
                attempt(why, "etcd", ["dpkg", "-x", package, folder / "etcd"], folder)
                etcd = str(folder / "etcd/usr/bin/etcd")
        if "postgresql" in wanted.only and postgres is None:
            attempt(
                why,
                "postgresql",
                ["apt-get", "install", "-y", "-q", "--no-install-recommends", "postgresql"],
                folder,
            )
            postgres = systems.find_postgres()
        if "pysyncobj" in wanted.only:
            venv = folder / "venv"
            if attempt(why, "pysyncobj", [sys.executable, "-m", "venv", venv], folder) and attempt(
                why, "pysyncobj", [venv / "bin/pip", "install", "-q", "pysyncobj"], folder
            ):
                python = venv / "bin/python"
    elif (
        subprocess.run([sys.executable, "-c", "import pysyncobj"], capture_output=True).returncode
        == 0
    ):
        python = Path(sys.executable)
    if "etcd" in wanted.only and etcd is not None:
        go = shutil.which("go")
        if go is None:
            why["etcd"] = "its load generator needs Go to be built (apt install golang-go)"
        elif attempt(why, "etcd", [go, "build", "-o", folder / "etcdload", "."], HERE / "etcdload"):
            load = folder / "etcdload"
    if etcd is None:
        why.setdefault("etcd", "no etcd on PATH; --install fetches the package etcd-server")
    if postgres is None:
        why.setdefault("postgresql", "no initdb and pgbench; --install installs postgresql")
    if python is None:
        why.setdefault("pysyncobj", "no module pysyncobj; --install puts it into a temporary venv")
    return systems.Tools(Path(etcd) if etcd else None, load, postgres, python), why


def attempt(why: dict[str, str], name: str, command: list[str | Path], folder: Path) -> bool:
    """Run one step of an installation, and remember why it failed."""
    print(f"+ {' '.join(map(str, command))}", file=sys.stderr)
    try:
        found = subprocess.run(
            list(map(str, command)),
            cwd=folder,
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive", "GOFLAGS": "-mod=readonly"},
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError as error:
        why[name] = str(error)
        return False
    if found.returncode:
        why[name] = f"{command[0]} failed: {found.stderr.strip()[-300:]}"
        return False
    return True


def table(figures: list[Figure], skipped: dict[str, str]) -> str:
    """Medians as Markdown; the ratio is to the best of ours at the same load."""
    lines = [
        "| | in flight | system | per second (least..most) | p50 ms | p99 ms | CPU us, all | "
        "of it the load | raftzmq is |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    grouped: dict[tuple[str, int], dict[str, list[Figure]]] = {}
    for each in figures:
        at = grouped.setdefault((each.operation, each.in_flight), {})
        at.setdefault(each.system, []).append(each)
    for (operation, in_flight), of_system in grouped.items():
        ours = max(
            (rate(found) for name, found in of_system.items() if name.startswith("raftzmq")),
            default=None,
        )
        for name, found in sorted(of_system.items(), key=lambda item: -rate(item[1])):
            rates = [each.per_s for each in found]
            ratio = "" if ours is None else f"{ours / rate(found):.2f} times that"
            lines.append(
                f"| {operation} | {in_flight} | {name} | {rate(found):,.0f} "
                f"({min(rates):,.0f}..{max(rates):,.0f}) | {middle(found, 'p50_ms')} | "
                f"{middle(found, 'p99_ms')} | {middle(found, 'busy_us')} | "
                f"{middle(found, 'load_us')} | "
                f"{'' if name.startswith('raftzmq') else ratio} |"
            )
    failed = sum(each.failed for each in figures)
    if failed:
        lines.append(f"\n{failed:,} requests failed.")
    lines += [f"\nNot measured: {name} ({text.splitlines()[0]})" for name, text in skipped.items()]
    return "\n".join(lines)


def rate(found: list[Figure]) -> float:
    return median(each.per_s for each in found)


def middle(found: list[Figure], name: str) -> str:
    known = [value for each in found if (value := getattr(each, name)) is not None]
    return f"{median(known):,.2f}" if known else ""


if __name__ == "__main__":
    sys.exit(main())
