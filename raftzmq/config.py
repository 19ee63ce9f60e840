"""nodes.toml becomes frozen dataclasses; what is wrong in it becomes one ``ConfigError``.

The format, complete::

    [cluster]
    id = "raftzmq"                          # nodes of different ids never talk to each other

    [nodes.n1]                              # 1 to 7 nodes; a name is [a-z0-9_-]{1,32}
    peer = "tcp://127.0.0.1:7101"           # other nodes connect here
    client = "tcp://127.0.0.1:7201"         # proxies and clients connect here
    data = "./raftzmq-data/n1"              # relative paths start at the current directory

    [proxies.proxy]                         # none or more
    address = "tcp://127.0.0.1:7100"        # clients connect here

    [limits]                                # every key is optional; see LimitsConfig
    heartbeat_ticks = 4

Each error names the file, the table, the key, the value, what is allowed and what to do.
This module opens nothing but the file it is given, and checks no address by connecting.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Final

from raftzmq import limits as defaults
from raftzmq.errors import ConfigError

NODES_MAX: Final = 7
"""More voters make every write wait for more machines and add no safety in practice."""

_NAME = re.compile(r"[a-z0-9_-]{1,32}")
_TCP = re.compile(r"tcp://(?P<host>\[[0-9A-Fa-f:.%a-z]+\]|[A-Za-z0-9._-]+):(?P<port>[0-9]{1,5})")
_IPC = re.compile(r"ipc://.{1,100}")  # sun_path of a Unix socket holds 107 bytes
_WILDCARDS: Final = frozenset({"0.0.0.0", "[::]"})
_SHOWN_MAX: Final = 200
_BUILT_IN: Final = "built-in defaults"


def _limit(default: int, least: int, most: int) -> int:
    """A field of LimitsConfig with its allowed range, both ends included."""
    value: int = field(default=default, metadata={"range": (least, most)})
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitsConfig:
    """The bounds of ``raftzmq.limits`` that an operator may change; same names, same units.

    All nodes of a cluster should have the same values. What decides the outcome of a write
    (``ledger_*``, ``key_ledger_*``, ``write_steps_max``, ``result_bytes_max``) is the leader's:
    it travels in each log entry, so that differing files cannot make replicas differ.
    """

    tick_ms: int = _limit(defaults.TICK_MS, 1, 1_000)
    heartbeat_ticks: int = _limit(defaults.HEARTBEAT_TICKS, 1, 1_000)
    election_ticks: int = _limit(defaults.ELECTION_TICKS, 3, 10_000)
    uncommitted_bytes_max: int = _limit(defaults.UNCOMMITTED_BYTES_MAX, 1 << 20, 4 << 30)
    log_bytes_max: int = _limit(defaults.LOG_BYTES_MAX, 1 << 16, 16 << 30)
    log_keep_bytes: int = _limit(defaults.LOG_KEEP_BYTES, 0, 16 << 30)
    log_memory_bytes: int = _limit(defaults.LOG_MEMORY_BYTES, 0, 16 << 30)
    log_hold_bytes_max: int = _limit(defaults.LOG_HOLD_BYTES_MAX, 0, 1 << 40)
    result_bytes_max: int = _limit(defaults.RESULT_BYTES_MAX, 1 << 10, 64 << 20)
    write_steps_max: int = _limit(defaults.WRITE_STEPS_MAX, 10_000, 1 << 50)
    read_timeout_ms: int = _limit(defaults.READ_TIMEOUT_MS, 10, 24 * 3_600_000)
    fast_read_ms: int = _limit(defaults.FAST_READ_MS, 1, 10_000)
    ledger_ms: int = _limit(defaults.LEDGER_MS, 1_000, 7 * 24 * 3_600_000)
    ledger_bytes_max: int = _limit(defaults.LEDGER_BYTES_MAX, 1 << 16, 4 << 30)
    disk_reserve_bytes: int = _limit(defaults.DISK_RESERVE_BYTES, 1 << 20, 1 << 50)
    checksum_interval_s: int = _limit(defaults.CHECKSUM_INTERVAL_S, 0, 7 * 24 * 3_600)
    key_ledger_ms: int = _limit(defaults.KEY_LEDGER_MS, 1_000, 366 * 24 * 3_600_000)
    key_ledger_bytes_max: int = _limit(defaults.KEY_LEDGER_BYTES_MAX, 1 << 16, 4 << 30)
    read_workers_fast: int = _limit(defaults.READ_WORKERS_FAST, 1, 64)
    read_workers_slow: int = _limit(defaults.READ_WORKERS_SLOW, 1, 64)
    node_pending_requests_max: int = _limit(defaults.NODE_PENDING_REQUESTS_MAX, 1, 10_000_000)
    broker_queue_requests_max: int = _limit(defaults.BROKER_QUEUE_REQUESTS_MAX, 1, 10_000_000)
    broker_queue_bytes_max: int = _limit(defaults.BROKER_QUEUE_BYTES_MAX, 1 << 20, 64 << 30)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeConfig:
    """One voter of the cluster.

    Attributes:
        name: its id in Raft, for instance ``n1``.
        peer: address it binds for other nodes.
        client: address it binds for proxies and clients.
        data: folder of raft.db and state.db, absolute.
    """

    name: str
    peer: str
    client: str
    data: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyConfig:
    """One broker; ``address`` is what it binds and clients connect to."""

    name: str
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterConfig:
    """A whole nodes.toml, checked.

    Attributes:
        cluster: the cluster's id.
        nodes: by name, in the order of the file.
        proxies: by name, in the order of the file.
        limits: the bounds, defaults filled in.
        source: the file it came from, or None for the built-in defaults.
    """

    cluster: str
    nodes: dict[str, NodeConfig]
    proxies: dict[str, ProxyConfig]
    limits: LimitsConfig = field(default_factory=LimitsConfig)
    source: Path | None = None


def default_config() -> ClusterConfig:
    """Three nodes and a proxy on loopback, data under ``./raftzmq-data``."""
    base = Path.cwd() / "raftzmq-data"
    return ClusterConfig(
        cluster="raftzmq",
        nodes={
            f"n{number}": NodeConfig(
                name=f"n{number}",
                peer=f"tcp://127.0.0.1:{7100 + number}",
                client=f"tcp://127.0.0.1:{7200 + number}",
                data=base / f"n{number}",
            )
            for number in (1, 2, 3)
        },
        proxies={"proxy": ProxyConfig(name="proxy", address="tcp://127.0.0.1:7100")},
    )


def load(path: Path | None) -> ClusterConfig:
    """Read and check a nodes.toml.

    Args:
        path: the file, or None for ``default_config()``.

    Raises:
        ConfigError: the file cannot be read, is not TOML, or says something not allowed.
    """
    if path is None:
        return default_config()
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: no such file; name an existing one with --config, or leave it out to get "
            f"three nodes and a proxy on this machine"
        ) from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text: {error}; save it as UTF-8") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    return parse(text, source=path)


def parse(text: str, *, source: Path | None = None) -> ClusterConfig:
    """Check the text of a nodes.toml; ``source`` is the file that errors name.

    Raises:
        ConfigError: as for ``load``.
    """
    where = str(source) if source is not None else _BUILT_IN
    try:
        document = tomllib.loads(text)
    except RecursionError:
        raise ConfigError(f"{where}: not valid TOML: nested too deeply") from None
    except ValueError as error:
        # Not only TOMLDecodeError: a number of thousands of digits is a plain ValueError.
        raise ConfigError(f"{where}: not valid TOML: {_bounded(str(error))}") from None
    return _Reading(where).cluster(document, source)


def to_toml(config: ClusterConfig) -> str:
    """Write a config so that ``parse`` reads the same one back; only changed limits are named."""
    lines = ["[cluster]", f"id = {_quoted(config.cluster)}", ""]
    for node in config.nodes.values():
        lines += [f"[nodes.{node.name}]", f"peer = {_quoted(node.peer)}"]
        lines += [f"client = {_quoted(node.client)}", f"data = {_quoted(str(node.data))}", ""]
    for proxy in config.proxies.values():
        lines += [f"[proxies.{proxy.name}]", f"address = {_quoted(proxy.address)}", ""]
    changed = [
        f"{item.name} = {getattr(config.limits, item.name)}"
        for item in fields(LimitsConfig)
        if getattr(config.limits, item.name) != item.default
    ]
    if changed:
        lines += ["[limits]", *changed, ""]
    return "\n".join(lines)


def _quoted(text: str) -> str:
    """A TOML basic string; control characters and quotes escaped (TOML 1.0, Strings)."""
    inner = "".join(
        f"\\{character}"
        if character in '"\\'
        else f"\\u{ord(character):04x}"
        if ord(character) < 32 or ord(character) == 127
        else character
        for character in text
    )
    return f'"{inner}"'


def _shown(value: object) -> str:
    """A value as an error shows it: whole when short, and never a traceback of its own."""
    try:
        text = repr(value)
    except (RecursionError, ValueError):
        return "a value too large to be shown"  # an integer of more than 4,300 digits
    return text if len(text) <= _SHOWN_MAX else f"{text[:_SHOWN_MAX]}…"


def _bounded(text: str) -> str:
    """A text without its middle where a name of thousands of characters would hide its end."""
    return text if len(text) <= 1_000 else f"{text[:500]} … {text[-400:]}"


class _Reading:
    """One pass over a document; holds the name of the file so that every error can say it."""

    def __init__(self, where: str) -> None:
        self._where = where

    def cluster(self, document: Mapping[str, object], source: Path | None) -> ClusterConfig:
        self._known_keys("the top level", document, {"cluster", "nodes", "proxies", "limits"})
        head = self._table("[cluster]", document.get("cluster", {}))
        self._known_keys("[cluster]", head, {"id"})
        cluster = self._name("[cluster]", "id", head.get("id"))
        node_tables = self._table("[nodes]", document.get("nodes", {}))
        if not 1 <= len(node_tables) <= NODES_MAX:
            raise self._wrong(
                f"[nodes]: {len(node_tables)} nodes; 1 to {NODES_MAX} are allowed, 3 or 5 are "
                f"usual; write one table [nodes.NAME] per node"
            )
        nodes = {name: self._node(name, table) for name, table in node_tables.items()}
        proxy_tables = self._table("[proxies]", document.get("proxies", {}))
        proxies = {name: self._proxy(name, table) for name, table in proxy_tables.items()}
        self._no_clashes(nodes, proxies)
        limits = self._limits(self._table("[limits]", document.get("limits", {})))
        return ClusterConfig(
            cluster=cluster, nodes=nodes, proxies=proxies, limits=limits, source=source
        )

    def _node(self, name: str, value: object) -> NodeConfig:
        where = f"[nodes.{name}]"
        table = self._table(where, value)
        self._known_keys(where, table, {"peer", "client", "data"})
        data = table.get("data")
        if not isinstance(data, str) or not data or "\0" in data:
            raise self._wrong(
                f"{where} data = {_shown(data)}: must be the path of a folder, as a string"
            )
        try:
            folder = Path(data).expanduser().absolute()
        except RuntimeError:
            raise self._wrong(
                f"{where} data = {_shown(data)}: there is no such user; write the path in full, "
                f"or ./~NAME for a folder whose name begins with ~"
            ) from None
        return NodeConfig(
            name=self._name("[nodes]", "name", name),
            peer=self._address(where, "peer", table.get("peer")),
            client=self._address(where, "client", table.get("client")),
            data=folder,
        )

    def _proxy(self, name: str, value: object) -> ProxyConfig:
        where = f"[proxies.{name}]"
        table = self._table(where, value)
        self._known_keys(where, table, {"address"})
        return ProxyConfig(
            name=self._name("[proxies]", "name", name),
            address=self._address(where, "address", table.get("address")),
        )

    def _limits(self, table: Mapping[str, object]) -> LimitsConfig:
        ranges: dict[str, tuple[int, int]] = {
            item.name: item.metadata["range"] for item in fields(LimitsConfig)
        }
        self._known_keys("[limits]", table, ranges)
        values: dict[str, int] = {}
        for key, value in table.items():
            least, most = ranges[key]
            if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
                raise self._wrong(
                    f"[limits] {key} = {_shown(value)}: must be a whole number from {least} to "
                    f"{most}"
                )
            values[key] = value
        limits = LimitsConfig(**values)
        if limits.election_ticks < 3 * limits.heartbeat_ticks:
            raise self._wrong(
                f"[limits] election_ticks = {limits.election_ticks}: must be at least 3 times "
                f"heartbeat_ticks (= {limits.heartbeat_ticks}), or a lost heartbeat starts an "
                f"election"
            )
        if limits.log_keep_bytes > limits.log_bytes_max:
            raise self._wrong(
                f"[limits] log_keep_bytes = {limits.log_keep_bytes}: must not be more than "
                f"log_bytes_max (= {limits.log_bytes_max})"
            )
        return limits

    def _no_clashes(
        self, nodes: Mapping[str, NodeConfig], proxies: Mapping[str, ProxyConfig]
    ) -> None:
        for name in nodes:
            if name in proxies:
                raise self._wrong(
                    f"[proxies.{name}]: there is a node of that name too; `raftzmq start {name}` "
                    f"could not tell them apart, so rename one"
                )
        places: list[tuple[str, str]] = []
        for node in nodes.values():
            places.append((node.peer, f"[nodes.{node.name}] peer"))
            places.append((node.client, f"[nodes.{node.name}] client"))
        places += [(proxy.address, f"[proxies.{proxy.name}] address") for proxy in proxies.values()]
        seen: dict[str, str] = {}
        for address, owner in places:
            same = address.lower().replace("//localhost:", "//127.0.0.1:")
            if same in seen:
                raise self._wrong(
                    f"{owner} = {address!r}: already used by {seen[same]}; give each its own port"
                )
            seen[same] = owner
        folders: list[tuple[Path, str]] = []
        for node in nodes.values():
            # Not Path.resolve(), which raises where links lead in a circle.
            folder = Path(os.path.realpath(node.data))
            for other, owner in folders:
                if folder == other or other in folder.parents or folder in other.parents:
                    raise self._wrong(
                        f"[nodes.{node.name}] data = {str(node.data)!r}: same folder as "
                        f"[nodes.{owner}], or one inside the other; give each node its own"
                    )
            folders.append((folder, node.name))

    def _table(self, where: str, value: object) -> dict[str, object]:
        if not isinstance(value, dict):
            raise self._wrong(f"{where} = {_shown(value)}: must be a table")
        return value

    def _known_keys(self, where: str, table: Mapping[str, object], allowed: Iterable[str]) -> None:
        for key in table:
            if key not in allowed:
                raise self._wrong(
                    f"{where} {key}: unknown key; allowed are {', '.join(sorted(allowed))}; "
                    f"remove it or correct its spelling"
                )

    def _name(self, where: str, key: str, value: object) -> str:
        if not isinstance(value, str) or not _NAME.fullmatch(value):
            raise self._wrong(
                f"{where} {key} = {_shown(value)}: must be 1 to 32 characters of a-z, 0-9, _ and -"
            )
        return value

    def _address(self, where: str, key: str, value: object) -> str:
        if isinstance(value, str):
            if _IPC.fullmatch(value):
                return value
            found = _TCP.fullmatch(value)
            if found and found["host"] in _WILDCARDS:
                raise self._wrong(
                    f"{where} {key} = {_shown(value)}: others connect to this address, so it must "
                    f"name this machine; write its IP address or host name"
                )
            if found and 1 <= int(found["port"]) <= 65_535:
                return value
        raise self._wrong(
            f"{where} {key} = {_shown(value)}: must be 'tcp://HOST:PORT' with a port from 1 to "
            f"65535, or 'ipc://PATH'"
        )

    def _wrong(self, what: str) -> ConfigError:
        return ConfigError(f"{self._where}: {_bounded(what)}")
