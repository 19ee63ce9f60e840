"""The command `raftzmq`: one file per command, and what several of them need."""
