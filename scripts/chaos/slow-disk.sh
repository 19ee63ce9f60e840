#!/usr/bin/env bash
# Makes each fsync of a node of a running cluster slow.
set -euo pipefail

usage() {
    cat <<'TEXT'
Usage: scripts/chaos/slow-disk.sh [--node NAME] [--ms N] [--seconds N] [--config FILE]

Each fsync of the node's databases takes so many milliseconds longer, for N seconds; taken back also
when this script is interrupted. None that was slow is a failure: let something write meanwhile.
Needs a cluster that was started for it, with root: scripts/chaos/cluster.sh --out DIR; then give
--config DIR/nodes.toml.

  --node NAME     this one; leader or follower (the default): of that role
  --ms N          150 by default
  --seconds N     how long; 3 by default
  --config FILE   the cluster's nodes.toml; else config/nodes.toml here; else the built-in one

Exit code: 0 it was seen to take effect, was taken back, and the cluster is whole again; 1 not so;
2 wrong arguments.
Example: sudo scripts/chaos/slow-disk.sh --node leader --ms 500 --config DIR/nodes.toml
TEXT
}

# shellcheck source=scripts/program.sh
. "$(dirname "${BASH_SOURCE[0]}")/../program.sh"
run_program inject.py slow-disk "$@"
