"""Ports for clusters that are thrown away: free, and not to be taken by outgoing connections."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from raftzmq.cli.local_cluster import on_free_ports
from raftzmq.transport.free_ports import HOST, free_ports

OUTGOING = Path("/proc/sys/net/ipv4/ip_local_port_range")


def test_they_differ_and_are_free() -> None:
    ports = free_ports(40)
    assert len(set(ports)) == 40
    for port in ports:
        with socket.socket() as listener:
            listener.bind((HOST, port))


def test_a_dead_process_loses_its_port_to_no_outgoing_connection(tmp_path: Path) -> None:
    """The demo kills a node and starts it again: meanwhile the others go on connecting."""
    first = int(OUTGOING.read_text().split()[0])
    if first < 32_000:
        pytest.skip("this machine draws from almost all ports")
    config = on_free_ports(tmp_path, nodes=5, proxies=2)
    for node in config.nodes.values():
        for address in (node.peer, node.client):
            assert int(address.rpartition(":")[2]) < first
