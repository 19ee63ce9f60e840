"""raftzmq rebuild: a node with damaged files begins anew and gets everything from its peers."""

from __future__ import annotations

import sys
import time
from typing import Annotated, Final

import typer

from raftzmq.cli import exit_codes
from raftzmq.cli.options import ConfigOption, open_config
from raftzmq.cli.running import pid_of
from raftzmq.config import ClusterConfig
from raftzmq.errors import ConfigError, DataFolderLocked
from raftzmq.observe.ask import Asker
from raftzmq.observe.holders import why_not_without
from raftzmq.observe.survey import look
from raftzmq.storage.folder import DataFolder

PATIENCE_S: Final = 5.0
"""The others get so long to elect a leader and to catch up before rebuilding is refused."""
_LOOK_S: Final = 0.2


def rebuild(
    node: Annotated[str, typer.Argument(help="A node of nodes.toml that does not run.")],
    config: ConfigOption = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    force: Annotated[
        bool,
        typer.Option("--force", help="Even if the others may not hold every acknowledged write."),
    ] = False,
) -> None:
    """Let NODE begin anew on this machine: move its data folder aside. The next start is empty.

    Nothing is deleted: the folder is renamed to FOLDER.damaged-1. Refused while the node runs,
    and unless a majority of the cluster without NODE is up, follows one leader and holds every
    write that was ever acknowledged.

    Example: raftzmq rebuild n2 && raftzmq start n2

    Example: raftzmq rebuild n2 --yes --config /etc/raftzmq/nodes.toml
    """
    cluster = open_config(config)
    if node not in cluster.nodes:
        raise ConfigError(f"no node is named {node!r}; there are {', '.join(cluster.nodes)}")
    data = cluster.nodes[node].data
    if not data.is_dir():
        typer.echo(f"{data} does not exist: {node} begins anew at its next start in any case")
        return
    with_config = f" --config {cluster.source}" if cluster.source is not None else ""
    folder = _hold(cluster, node, with_config)
    try:
        objection = _objection(cluster, node)
        if objection is not None and not force:
            typer.echo(
                f"{node} is not rebuilt: {objection}. Its folder may hold writes that no other"
                " node holds. Bring the others up first; --force begins anew all the same, and"
                " what only this folder holds is then lost to the cluster",
                err=True,
            )
            raise typer.Exit(exit_codes.FAILED)
        if objection is not None:
            typer.echo(f"warning: {objection}; going on because of --force", err=True)
        if not yes and not _confirmed(node, str(data)):
            raise typer.Exit(exit_codes.FAILED)
        moved = folder.move_aside()
    finally:
        folder.close()
    typer.echo(f"{node} begins anew; its old files are in {moved}")
    typer.echo(f"now start it: raftzmq start {node}{with_config}")
    typer.echo(f"when `raftzmq status{with_config}` shows lag 0 for it, {moved} may be deleted")


def _hold(cluster: ClusterConfig, node: str, with_config: str) -> DataFolder:
    try:
        return DataFolder.hold(cluster.nodes[node].data)
    except DataFolderLocked:
        raise DataFolderLocked(
            f"{node} runs as process {pid_of(cluster, node)}; stop it first:"
            f" raftzmq stop {node}{with_config} (under systemd: systemctl stop raftzmq@{node})"
        ) from None


def _objection(cluster: ClusterConfig, node: str) -> str | None:
    others = {name: each.client for name, each in cluster.nodes.items() if name != node}
    if not others:
        return f"{node} is the only node, so its folder is the only copy"
    deadline = time.monotonic() + PATIENCE_S
    with Asker(others) as asker:
        while True:
            why = why_not_without(node, tuple(cluster.nodes), look(asker))
            if why is None or time.monotonic() >= deadline:
                return why
            time.sleep(_LOOK_S)


def _confirmed(node: str, data: str) -> bool:
    if not sys.stdin.isatty():
        typer.echo(f"moving {data} aside needs a yes: add --yes", err=True)
        return False
    return typer.confirm(f"Move {data} aside and let {node} begin anew?")
