"""The broker as a process: signals, exit codes, messages for people and for systemd."""

from __future__ import annotations

import signal

from raftzmq.broker.broker import Broker
from raftzmq.config import ClusterConfig
from raftzmq.errors import ConfigError, StartError
from raftzmq.observe.log_line import say
from raftzmq.observe.service_manager import notify
from raftzmq.transport.cycles import spare_the_old
from raftzmq.transport.sockets import open_context


def run_broker(config: ClusterConfig, name: str) -> int:
    """Run proxy ``name`` in the foreground until SIGTERM or SIGINT.

    Returns:
        The exit code of the process: 0 after a graceful stop, else ``StartError.exit_code``.
    """
    stopping = False

    def stop(*_: object) -> None:
        nonlocal stopping
        stopping = True

    try:
        if name not in config.proxies:
            raise ConfigError(
                f"there is no proxy {name!r}; nodes.toml names {', '.join(config.proxies)}"
            )
        broker = Broker(
            [config.proxies[name].address],
            {node.name: node.client for node in config.nodes.values()},
            cluster=config.cluster,
            name=name,
            requests_max=config.limits.broker_queue_requests_max,
            bytes_max=config.limits.broker_queue_bytes_max,
            context=open_context(),
        )
    except StartError as error:
        say(name, f"error: {error}")
        return error.exit_code
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    say(name, f"serving clients at {config.proxies[name].address}")
    spare_the_old()
    notify("READY=1")
    broker.run(lambda: stopping)
    notify("STOPPING=1")
    say(name, "stopped")
    return 0
