"""Runs `raftzmq chaos --hold`; for cluster.sh."""

from __future__ import annotations

import sys

from raftzmq.cli.main import main

if __name__ == "__main__":
    sys.argv[1:1] = ["chaos", "--hold"]
    main()
