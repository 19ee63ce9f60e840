"""ZeroMQ without meaning: sockets, links to peers, clocks and wake-ups."""
