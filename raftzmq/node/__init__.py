"""The daemon: a process that hosts one replica and gives it sockets, threads and signals."""
