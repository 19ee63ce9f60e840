#!/usr/bin/env bash
# Injects every kind of fault into a running cluster, one after the other.
set -euo pipefail

usage() {
    cat <<'TEXT'
Usage: scripts/chaos/all.sh [--seconds N] [--possible] [--config FILE]

Each kind of fault that `raftzmq chaos --list` shows, once, each taken back before the next. Let
something write meanwhile. `raftzmq chaos` does more: random faults, a workload, and a verdict.

A cluster of `raftzmq start` cannot suffer all kinds; those left out are printed and make this fail,
unless --possible. For all kinds: sudo scripts/chaos/cluster.sh --out DIR; then --config
DIR/nodes.toml. One of the kinds deletes the data of a node, which comes back from the others.

  --seconds N     how long each lasts; 3 by default
  --possible      those that this cluster can suffer are enough
  --config FILE   the cluster's nodes.toml; else config/nodes.toml here; else the built-in one

Exit code: 0 each fired and the cluster was whole again after each; 1 not so; 2 wrong arguments.
Example: sudo scripts/chaos/all.sh --seconds 2 --config DIR/nodes.toml
TEXT
}

# shellcheck source=scripts/program.sh
. "$(dirname "${BASH_SOURCE[0]}")/../program.sh"
run_program inject.py all "$@"
