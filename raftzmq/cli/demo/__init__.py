"""`raftzmq demo`: what the cluster promises, shown by breaking it."""
