"""The systems that are measured: three nodes on loopback each, every answer after fsync."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from peer_processes import Figure, PeerFailed, Plan, Stand, figure, last_json, listens, owner, ports

HERE = Path(__file__).resolve().parent
ROWS = 1_000


@dataclass(frozen=True)
class Tools:
    """Programs found or installed; None where there is none.

    Attributes:
        python: an interpreter that can import pysyncobj.
    """

    etcd: Path | None
    etcdload: Path | None
    postgres: Path | None
    python: Path | None


def raftzmq(plan: Plan, where: Path, *, connections: bool) -> Iterator[Figure]:
    """Us; over one pipelined connection or as many connections as requests in flight."""
    name = "raftzmq, a connection per request" if connections else "raftzmq, one connection"
    # The folder is ours, so that it goes even if the benchmark is killed with its cluster.
    with Stand(where) as stand:
        for operation in plan.operations:
            for in_flight in plan.in_flight:
                how = "--connections" if connections else "--clients"
                words = ["bench", operation, how, in_flight, "--seconds", plan.seconds]
                words += ["--warm-up", plan.warm_up_s, "--value-size", plan.value_size]
                words += ["--folder", stand.folder, "--json"]
                found = last_json(stand.run([sys.executable, "-m", "raftzmq.cli.main", *words]))
                metrics = {key: value["median"] for key, value in found["metrics"].items()}
                per_s = metrics[f"{operation} per second"]
                others = metrics.get("CPU %, others", 0.0)
                yield Figure(
                    name,
                    operation,
                    in_flight,
                    per_s,
                    metrics[f"{operation} p50 ms"],
                    metrics[f"{operation} p99 ms"],
                    int(metrics["failed requests"]),
                    metrics["CPU us per request, all"] + 1e4 * others / per_s,
                    metrics["CPU us per request, client"],
                )


def etcd(plan: Plan, where: Path, tools: Tools) -> Iterator[Figure]:
    """Three members; puts, and linearizable gets."""
    if tools.etcd is None or tools.etcdload is None:
        raise PeerFailed("etcd or its load generator is missing")
    with Stand(where) as stand:
        names = ("e1", "e2", "e3")
        free = ports(6)
        peer, client = free[:3], free[3:]
        cluster = ",".join(
            f"{name}=http://127.0.0.1:{port}" for name, port in zip(names, peer, strict=True)
        )
        for name, peers, clients in zip(names, peer, client, strict=True):
            stand.start(
                name,
                [
                    tools.etcd,
                    "--name",
                    name,
                    "--data-dir",
                    stand.folder / name,
                    "--listen-peer-urls",
                    f"http://127.0.0.1:{peers}",
                    "--initial-advertise-peer-urls",
                    f"http://127.0.0.1:{peers}",
                    "--listen-client-urls",
                    f"http://127.0.0.1:{clients}",
                    "--advertise-client-urls",
                    f"http://127.0.0.1:{clients}",
                    "--initial-cluster",
                    cluster,
                    "--initial-cluster-state",
                    "new",
                    "--log-level",
                    "error",
                ],
            )
        stand.wait("the members of etcd", lambda: all(listens(port) for port in client))
        endpoints = ",".join(f"127.0.0.1:{port}" for port in client)
        for operation in plan.operations:
            for in_flight in plan.in_flight:
                command = [
                    str(tools.etcdload), "-endpoints", endpoints, "-operation",
                    "put" if operation == "writes" else "get", "-workers", str(in_flight),
                    "-size", str(plan.value_size), "-warm-up", f"{plan.warm_up_s}s",
                    "-length", f"{plan.seconds}s",
                ]  # fmt: skip
                yield figure(
                    "etcd", operation, in_flight, plan, lambda c=command: last_json(stand.run(c))
                )


def postgresql(plan: Plan, where: Path, tools: Tools) -> Iterator[Figure]:
    """A primary and two standbys, one of which has each commit on its disk before the answer."""
    if tools.postgres is None:
        raise PeerFailed("PostgreSQL is missing")
    programs = tools.postgres
    user = owner()
    with Stand(where) as stand:
        home = stand.folder / "pg"
        home.mkdir()
        if user is not None:
            os.chown(home, *user)
        primary, *standbys = ports(3)
        as_user = "postgres"
        stand.run(
            [programs / "initdb", "-D", home / "p", "-U", as_user, "-A", "trust", "-E", "UTF8",
             "--locale=C"],
            user=user,
        )  # fmt: skip
        with (home / "p" / "postgresql.conf").open("a") as file:
            file.write(
                "listen_addresses = '127.0.0.1'\nmax_connections = 400\nfsync = on\n"
                f"unix_socket_directories = '{home}'\nsynchronous_commit = on\n"
                "synchronous_standby_names = 'ANY 1 (s1, s2)'\nwal_level = replica\n"
                "max_wal_senders = 8\nshared_buffers = 128MB\n"
            )

        def start(name: str, port: int) -> None:
            stand.start(
                f"postgres-{name}",
                [programs / "postgres", "-D", home / name, "-p", str(port)],
                stop_with=signal.SIGINT,
                user=user,
            )
            ready = [str(programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]
            stand.wait(
                f"PostgreSQL {name}",
                lambda: subprocess.run(ready, check=False).returncode == 0,
            )

        start("p", primary)
        for number, port in enumerate(standbys, 1):
            name = f"s{number}"
            stand.run(
                [programs / "pg_basebackup", "-D", home / name, "-R", "-X", "stream", "-c", "fast",
                 "-d", f"host=127.0.0.1 port={primary} user={as_user} application_name={name}"],
                user=user,
            )  # fmt: skip
            start(name, port)
        sql = [programs / "psql", "-h", "127.0.0.1", "-p", str(primary), "-U", as_user, "-qAtc"]
        watch = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'quorum'"
        stand.wait("two synchronous standbys", lambda: stand.run([*sql, watch]).strip() == "2")
        value = "v" * plan.value_size
        stand.run(
            [*sql, "CREATE TABLE bench (id bigserial PRIMARY KEY, value bytea); INSERT INTO bench "
             f"(value) SELECT '{value}' FROM generate_series(1, {ROWS})"]
        )  # fmt: skip
        scripts = {
            "writes": f"INSERT INTO bench (value) VALUES ('{value}');\n",
            "reads": f"\\set id random(1, {ROWS})\nSELECT value FROM bench WHERE id = :id;\n",
        }
        for operation in plan.operations:
            script = stand.folder / f"{operation}.sql"
            script.write_text(scripts[operation])
            for in_flight in plan.in_flight:

                def load(script: Path = script, in_flight: int = in_flight) -> dict[str, object]:
                    logs = stand.folder / "log"
                    stand.run(
                        [programs / "pgbench", "-n", "-M", "prepared", "-h", "127.0.0.1", "-p",
                         str(primary), "-U", as_user, "-c", str(in_flight), "-j", "1", "-T",
                         str(max(1, round(plan.seconds + plan.warm_up_s))), "-f", script, "-l",
                         f"--log-prefix={logs}", as_user]
                    )  # fmt: skip
                    return _pgbench_log(stand.folder, plan)

                yield figure("PostgreSQL, ANY 1 of 2", operation, in_flight, plan, load)


def _pgbench_log(folder: Path, plan: Plan) -> dict[str, object]:
    """Lines of pgbench: client, transaction, microseconds, script, seconds, microseconds."""
    rows: list[tuple[float, float]] = []
    for log in folder.glob("log.*"):
        for line in log.read_text().splitlines():
            fields = line.split()
            rows.append((float(fields[4]) + float(fields[5]) / 1e6, float(fields[2]) / 1000))
        log.unlink()
    if not rows:
        raise PeerFailed("pgbench logged no transaction")
    last_s = max(at for at, _ in rows)
    kept = sorted(ms for at, ms in rows if at > last_s - plan.seconds)
    return {
        "count": len(kept),
        "seconds": plan.seconds,
        "p50_ms": kept[len(kept) // 2],
        "p99_ms": kept[min(len(kept) - 1, len(kept) * 99 // 100)],
    }


def pysyncobj(plan: Plan, where: Path, tools: Tools) -> Iterator[Figure]:
    """Three processes with a replicated dict; the load is made within one, as it is used."""
    if tools.python is None:
        raise PeerFailed("PySyncObj is missing")
    if "writes" not in plan.operations:
        return
    for in_flight in plan.in_flight:
        with Stand(where) as stand:
            addresses = [f"127.0.0.1:{port}" for port in ports(3)]
            program = HERE / "pysyncobj_node.py"
            for number in (1, 2):
                others = [each for each in addresses if each != addresses[number]]
                stand.start(
                    f"node{number}",
                    [tools.python, program, addresses[number], ",".join(others), stand.folder],
                )
            command = [
                tools.python, program, addresses[0], ",".join(addresses[1:]), stand.folder,
                "--load", str(in_flight), "--seconds", str(plan.seconds), "--warm-up",
                str(plan.warm_up_s), "--size", str(plan.value_size),
            ]  # fmt: skip
            yield figure(
                "PySyncObj", "writes", in_flight, plan, lambda c=command: last_json(stand.run(c))
            )


def sqlite(plan: Plan, where: Path) -> Iterator[Figure]:
    """One process, no network, no second copy: what one disk and one library allow."""
    with Stand(where) as stand:
        for operation in plan.operations:
            for in_flight in plan.in_flight:
                command = [
                    sys.executable, HERE / "sqlite_alone.py", stand.folder, operation,
                    str(in_flight), str(plan.seconds), str(plan.warm_up_s), str(plan.value_size),
                ]  # fmt: skip
                yield figure(
                    "SQLite alone",
                    operation,
                    in_flight,
                    plan,
                    lambda c=command: last_json(stand.run(c)),
                )


def find_postgres() -> Path | None:
    """The folder with initdb and pgbench, of the newest version that has both."""
    places = sorted(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda each: -float(each.parent.name)
    )
    found = shutil.which("initdb")
    if found is not None:
        places.append(Path(found).resolve().parent)
    for place in places:
        if all((place / name).exists() for name in ("initdb", "postgres", "pgbench")):
            return place
    return None
