#!/usr/bin/env bash
# Makes one fsync of a node of a running cluster fail; the node has to end.
set -euo pipefail

usage() {
    cat <<'TEXT'
Usage: scripts/chaos/fsync-error.sh [--node NAME] [--state] [--seconds N] [--config FILE]

The next fsync of the node's log fails with EIO, once. The node must end at once and never repeat
it; after N seconds it is started again. A node that goes on, or that makes no fsync within 20
seconds, is a failure: let something write meanwhile.
Needs a cluster that was started for it, with root: scripts/chaos/cluster.sh --out DIR; then give
--config DIR/nodes.toml.

  --node NAME     this one; leader or follower (the default): of that role
  --state         of state.db, which is made durable now and then, instead of the log; of the log
                  all the same if that does not come about within 20 seconds
  --seconds N     how long it stays down; 3 by default
  --config FILE   the cluster's nodes.toml; else config/nodes.toml here; else the built-in one

Exit code: 0 it was seen to take effect, was taken back, and the cluster is whole again; 1 not so;
2 wrong arguments.
Example: sudo scripts/chaos/fsync-error.sh --node leader --config DIR/nodes.toml
TEXT
}

# shellcheck source=scripts/program.sh
. "$(dirname "${BASH_SOURCE[0]}")/../program.sh"
run_program inject.py fsync-error "$@"
