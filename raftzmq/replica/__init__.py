"""Raft with its disk and its state machine: persists, then sends, then applies. No sockets."""
