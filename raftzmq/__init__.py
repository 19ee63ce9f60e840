"""raftzmq: a relational database (SQLite) replicated by Raft over ZeroMQ."""

__version__ = "0.1.0"
