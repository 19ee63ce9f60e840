"""A whole cluster in one thread and virtual time; sockets, clock, disk and chance are fakes."""
