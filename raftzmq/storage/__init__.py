"""What is on disk for Raft: the log, hard state, the data folder, incoming snapshots."""
