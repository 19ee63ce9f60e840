#!/usr/bin/env bash
# Restarts the nodes of a running cluster one after the other.
set -euo pipefail

usage() {
    cat <<'TEXT'
Usage: scripts/chaos/rolling-restart.sh [--seconds N] [--config FILE]

SIGTERM for a node, a new start by whoever keeps it or else in the background, and the next when the
cluster is whole again. Prints how long each took. Clients should notice nothing.

Works only on a cluster whose nodes are all on this machine: on loopback, or started by
cluster.sh.

  --seconds N     pause at the end; 3 by default
  --config FILE   the cluster's nodes.toml; else config/nodes.toml here; else the built-in one

Exit code: 0 it was seen to take effect, was taken back, and the cluster is whole again; 1 not so;
2 wrong arguments.
Example: raftzmq start &  scripts/chaos/rolling-restart.sh
TEXT
}

# shellcheck source=scripts/program.sh
. "$(dirname "${BASH_SOURCE[0]}")/../program.sh"
run_program inject.py rolling-restart "$@"
