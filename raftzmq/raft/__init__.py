"""What Raft decides: a pure state machine without clock, socket, disk, thread or entropy."""
