"""The proxy between clients and nodes: it routes, and nothing is correct only because it exists."""
