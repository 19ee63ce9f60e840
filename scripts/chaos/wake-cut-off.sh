#!/usr/bin/env bash
# Puts the leader of a running cluster to sleep, and wakes it up cut off from its successor.
set -euo pipefail

usage() {
    cat <<'TEXT'
Usage: scripts/chaos/wake-cut-off.sh [--seconds N] [--config FILE]

Stops the leader with SIGSTOP and cuts it off from all nodes and proxies until another leads, then
wakes it up behind the cut: for an election timeout it believes to lead, and clients can ask it.
Healed after N seconds, also when this script is interrupted.
Needs a cluster that was started for it, with root: scripts/chaos/cluster.sh --out DIR; then give
--config DIR/nodes.toml.

  --seconds N     how long it stays cut off; 3 by default
  --config FILE   the cluster's nodes.toml; else config/nodes.toml here; else the built-in one

Exit code: 0 it was seen to take effect, was taken back, and the cluster is whole again; 1 not so;
2 wrong arguments.
Example: sudo scripts/chaos/wake-cut-off.sh --config DIR/nodes.toml
TEXT
}

# shellcheck source=scripts/program.sh
. "$(dirname "${BASH_SOURCE[0]}")/../program.sh"
run_program inject.py wake-cut-off "$@"
