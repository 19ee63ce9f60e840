"""Load on a cluster, what came of it, and what it cost."""
