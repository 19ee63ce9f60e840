#!/usr/bin/env bash
# Throws everything that a stranger can send at every bound socket of a cluster, under load.
set -euo pipefail

usage() {
    cat <<'TEXT'
Usage: scripts/chaos/hostile.sh [--seconds N] [--seed N] [--scale X] [--only ATTACK ...]
                                [--beside] [--keep]

Starts a cluster of its own (three nodes and a proxy) in a temporary folder on free loopback ports.
While two writers and two readers work through the proxy, attackers in a process of their own throw
at the peer and client port of each node and at the proxy, all at the same time: random, truncated,
nested, bloated and oversized frames, wrong versions, other clusters, forged and replayed messages,
extreme headers, SQL that never ends, a million tiny requests whose answers nobody reads, messages
of a hundred thousand frames and without end, half greetings, slow connections, hostile commands,
stolen routing ids, sockets of wrong types, CURVE handshakes, connections that come and go.

It fails when a request of the workload failed, an acknowledged row is missing, a process ended or
was restarted, the term changed, memory passed its bound (640 MiB), files or sockets stayed open, a
kind of hostile message was not counted, the replicas differ, or when it proved nothing: an attack
never reached one of its targets, or the workload got less than 50 writes and 50 reads through.

The attackers run at niceness 10, because on a network they would not compete with their victims for
processors. What else works on this machine does: the share of it is printed, and where it is large
a change of the term may be its doing. So do the three nodes and the proxy with each other, which in
earnest have machines of their own: how long their main threads worked, and waited for a processor,
is printed too. Running clusters are not touched.

  --seconds N   the attacks are repeated until so long has passed; 60 by default
  --seed N      of order and content of the attacks; random by default, printed
  --scale X     1.0, the default: a million tiny requests, 500 connections; 0.01: a short look
  --only A ...  these attacks only; an unknown name prints them all
  --beside      attack another cluster on this machine, not that of the workload: what requests take
                then, they take because the processors are busy; what they take more without it,
                because of the attack
  --keep        keep the folder; it is always kept after a failure

Exit code: 0 nothing was noticed, 1 something was, 2 wrong arguments.
Example: scripts/chaos/hostile.sh --seconds 30 --scale 0.1 --only spoofed_sender churn
TEXT
}

# shellcheck source=scripts/program.sh
. "$(dirname "${BASH_SOURCE[0]}")/../program.sh"
run_program hostile.py "$@"
