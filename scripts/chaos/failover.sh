#!/usr/bin/env bash
# Makes the leader of a cluster go under load, in five ways, and measures what clients notice.
set -euo pipefail

usage() {
    cat <<'TEXT'
Usage: scripts/chaos/failover.sh [--fault kill|term|stop|cut|wake|all] [--rounds N]
           [--clients N] [--think-ms N] [--seed N] [--json] [--keep]

Starts a cluster of its own (three nodes and a proxy) in a temporary folder on free loopback ports.
64 writers insert a unique row and add one to a counter, in one transaction, through the proxy; 16
readers compare what they read there with what was acknowledged before; others ask each node
directly, the old leader in particular. Each round makes the leader go and waits until the cluster
is whole again:

  kill   kill -9
  term   SIGTERM: it hands over first
  stop   SIGSTOP, and SIGCONT two seconds later
  cut    every connection of the leader to peers, proxy and clients goes dead without being closed,
         as if its cable was pulled; put back two seconds later. No rights are needed for that
  wake   stop and cut together, and SIGCONT behind the cut when another leads: for an election
         timeout the old leader believes to lead, while direct clients ask it

Printed per fault: the longest wait between two acknowledged writes (least, median, 90 %, most),
client errors by kind and outcome, acknowledged writes that are lost, writes applied twice, stale
reads, elections. Running clusters are not touched.

A run fails when anything was lost, doubled, stale, or there though refused, when a client got an
error, when the replicas differ, when a fault did not take effect, or when there was too little
traffic to judge. A median above the goal is shown and is no failure: other work on the machine
would decide about it.

  --fault NAME           all by default
  --rounds N             of each fault; 20 by default, 3 to 6 seconds each
  --clients N            writers; 64 by default, and a quarter as many readers
  --think-ms N           pause of a client between two requests, on average; 40, so that the load
                         leaves some of the machine to the cluster; 0 is as fast as it goes
  --acknowledged-min N   writes a round needs before and after the fault; 100 by default
  --seed N               of the moments of the faults; random by default, printed
  --json                 print JSON instead of the table
  --keep                 keep the data folders and logs; they are always kept after a failure

Exit code: 0 every round passed, 1 not so, 2 wrong arguments.
Example: scripts/chaos/failover.sh --fault kill --rounds 5
TEXT
}

# shellcheck source=scripts/program.sh
. "$(dirname "${BASH_SOURCE[0]}")/../program.sh"
run_program failover.py "$@"
