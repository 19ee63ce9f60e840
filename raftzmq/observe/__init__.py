"""Looking at a cluster from outside: status of nodes, costs of processes. Changes nothing."""
