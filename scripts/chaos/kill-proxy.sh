#!/usr/bin/env bash
# Kills a proxy of a running cluster with SIGKILL, and has it started again.
set -euo pipefail

usage() {
    cat <<'TEXT'
Usage: scripts/chaos/kill-proxy.sh [--node NAME] [--seconds N] [--config FILE]

Kills one proxy with SIGKILL, waits N seconds, and has it started again. Clients that know another
proxy go on with that.

Works only on a cluster whose nodes are all on this machine: on loopback, or started by
cluster.sh.

  --node NAME     this proxy; random by default
  --seconds N     how long it stays down; 3 by default
  --config FILE   the cluster's nodes.toml; else config/nodes.toml here; else the built-in one

Exit code: 0 it was seen to take effect, was taken back, and the cluster is whole again; 1 not so;
2 wrong arguments.
Example: raftzmq start &  scripts/chaos/kill-proxy.sh --seconds 1
TEXT
}

# shellcheck source=scripts/program.sh
. "$(dirname "${BASH_SOURCE[0]}")/../program.sh"
run_program inject.py kill-proxy "$@"
