"""raftzmq: a relational database (SQLite) replicated by Raft over ZeroMQ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from raftzmq.client.connection import Connection as Connection
    from raftzmq.client.connection import connect as connect
    from raftzmq.client.connection import open_pipeline as open_pipeline

_FROM_CLIENT = frozenset({"Connection", "connect", "open_pipeline"})


def __getattr__(name: str) -> Any:
    """The client API, loaded when first used: the pure packages must not pull in ZeroMQ."""
    if name in _FROM_CLIENT:
        from importlib import import_module

        return getattr(import_module("raftzmq.client.connection"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
