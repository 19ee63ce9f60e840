#!/usr/bin/env bash
# Takes back what an interrupted script may have left in a running cluster.
set -euo pipefail

usage() {
    cat <<'TEXT'
Usage: scripts/chaos/heal.sh [--config FILE]

All scripts here take back what they did, but for kill -9. This one heals all links, disks and
clocks, and wakes up whatever is paused.

Works only on a cluster whose nodes are all on this machine: on loopback, or started by
cluster.sh.

  --config FILE   the cluster's nodes.toml; else config/nodes.toml here; else the built-in one

Exit code: 0 done; 1 not so, or nothing of this cluster runs here; 2 wrong arguments.
Example: sudo scripts/chaos/heal.sh --config DIR/nodes.toml
TEXT
}

# shellcheck source=scripts/program.sh
. "$(dirname "${BASH_SOURCE[0]}")/../program.sh"
run_program inject.py heal "$@"
