#!/usr/bin/env bash
# Starts a cluster that can suffer every kind of fault, and keeps it.
set -euo pipefail

usage() {
    cat <<'TEXT'
Usage: scripts/chaos/cluster.sh [--out DIR] [--nodes N] [--loopback]

Starts nodes and two proxies, each in a network namespace of its own, with a small disk each and a
library between them and the kernel that can make disk and clock misbehave; prints the nodes.toml to
give to the other scripts; starts again whoever dies; Ctrl-C ends all. The same as
`raftzmq chaos --hold`.

Needs root, /dev/net/tun, iproute2 and a C compiler. Touches no other network of this machine.

  --out DIR       for nodes.toml and logs, empty; else a new one here
  --nodes N       3 by default
  --loopback      without namespaces and disks; no rights are needed

Exit code: 0 it was ended by Ctrl-C; 9 it could not be started; 2 wrong arguments.
Example: sudo scripts/chaos/cluster.sh --out /tmp/stand
TEXT
}

# shellcheck source=scripts/program.sh
. "$(dirname "${BASH_SOURCE[0]}")/../program.sh"
run_program keep.py "$@"
