"""Faults on real processes: a cluster, a workload, a seed, and a verdict."""
