"""raftzmq demo: the cluster's promises, kept while it is being broken."""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from raftzmq.cli import exit_codes
from raftzmq.cli.demo.story import Story
from raftzmq.cli.local_cluster import LocalCluster


def demo(
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep data and logs, and say where they are.")
    ] = False,
) -> None:
    """Start a cluster in a temporary folder, break it under load, and count every row.

    Three nodes and two proxies on free ports. The leader is killed, restarted, paused, resumed,
    a proxy is killed, all while clients write and read. At the end each replica is compared with
    what was confirmed. Takes less than a minute; the exit code is 1 when a promise was broken.

    Example: raftzmq demo
    """
    # A demo that is told to stop must still end its processes.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    began = time.monotonic()
    console = Console(highlight=False, markup=False, soft_wrap=not sys.stdout.isatty())
    folder = Path(tempfile.mkdtemp(prefix="raftzmq-demo-"))
    try:
        console.print(f"Starting three nodes and two proxies, data and logs in {folder}.")
        with LocalCluster(folder, nodes=3, proxies=2) as cluster:
            story = Story(cluster, console.print)
            story.run()
        keep = keep or bool(story.faults)
    finally:
        if keep:
            console.print(f"Data and logs are kept in {folder}.")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    console.print(f"\n{time.monotonic() - began:.0f} seconds; all processes are stopped.")
    if story.faults:
        console.print("NOT AS PROMISED:")
        for fault in story.faults:
            console.print(f"  {fault}")
        raise typer.Exit(exit_codes.FAILED)
