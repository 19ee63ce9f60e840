"""What the clients of a run ask, and what they conclude from the answers.

Registers, lists, counters and bank transfers, as SQL that anybody could write. Each write leaves
its name in a table, so that in the end it shows how often it was carried out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from raftzmq.checker.history import Operation
from raftzmq.checker.promises import Promises
from raftzmq.client.results import read_result, write_result
from raftzmq.client.session import Call
from raftzmq.errors import Outcome
from raftzmq.sim.chance import Chance
from raftzmq.sim.clients import SimClient
from raftzmq.sim.schedule import Schedule
from raftzmq.wire.client import Level

KEYS: Final = 3
ACCOUNTS: Final = 4
START_AMOUNT: Final = 20
SETUP: Final = (
    "CREATE TABLE IF NOT EXISTS reg(k TEXT PRIMARY KEY, v INTEGER, n INTEGER)",
    "CREATE TABLE IF NOT EXISTS list(pos INTEGER PRIMARY KEY, k TEXT, v INTEGER)",
    "CREATE TABLE IF NOT EXISTS ctr(k TEXT PRIMARY KEY, n INTEGER)",
    "CREATE TABLE IF NOT EXISTS acct(id INTEGER PRIMARY KEY, amount INTEGER CHECK(amount >= 0))",
    "CREATE TABLE IF NOT EXISTS done(op TEXT)",
    "CREATE TABLE IF NOT EXISTS odd(id INTEGER PRIMARY KEY AUTOINCREMENT, a,"
    " b DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now')), c DEFAULT (random()))",
    "CREATE TABLE IF NOT EXISTS ballast(id INTEGER PRIMARY KEY, a)",
    "INSERT OR IGNORE INTO ballast VALUES (1, 0)",
    *(f"INSERT OR IGNORE INTO reg VALUES ('r{n}', NULL, 0)" for n in range(KEYS)),
    *(f"INSERT OR IGNORE INTO ctr VALUES ('l{n}', 0), ('c{n}', 0)" for n in range(KEYS)),
    *(f"INSERT OR IGNORE INTO acct VALUES ({n}, {START_AMOUNT})" for n in range(ACCOUNTS)),
)
_KINDS: Final = (
    ("write", 18),
    ("cas", 8),
    ("read", 24),
    ("append", 10),
    ("list", 8),
    ("add", 10),
    ("count", 5),
    ("transfer", 8),
    ("sum", 4),
    ("odd", 4),
    ("note", 14),
    ("schema", 1),
)
_LEVELS: Final = (
    (Level.LINEARIZABLE, 60),
    (Level.LEADER, 10),
    (Level.SESSION, 20),
    (Level.STALE, 10),
)
_MODELS: Final = {
    "write": "register",
    "cas": "register",
    "read": "register",
    "append": "append",
    "list": "append",
    "add": "counter",
    "count": "counter",
    "transfer": "bank",
    "sum": "bank",
}
_OPS: Final = {"list": "read", "count": "read", "sum": "read"}
_READS: Final = ("read", "list", "count", "sum")


@dataclass(slots=True)
class Asked:
    """One operation of a client."""

    name: str
    kind: str
    key: str
    value: int
    expected: object
    level: Level
    session: str
    floor: int
    call_ns: int


class Workload:
    """Asks and judges.

    Args:
        chance: its own stream.
        schedule: virtual time.
        think_us: most time between two operations of a client.

    Attributes:
        promises: what was told.
        history: (model, operation), as ``checker.linearizability`` wants them.
        done: kind -> how many succeeded.
        failed: name of the outcome -> how many.
        stopping: no further operations begin.
    """

    def __init__(self, chance: Chance, schedule: Schedule, think_us: int) -> None:
        self._chance = chance
        self._schedule = schedule
        self._think_us = think_us
        self._count = 0
        self._open: dict[str, Asked] = {}
        self._values: dict[str, object] = {}
        """What a register was last known to hold: a compare-and-set then mostly succeeds."""
        self._last_done: dict[str, int] = {}
        self.promises = Promises()
        self.history: list[tuple[str, Operation]] = []
        self.done: dict[str, int] = {}
        self.failed: dict[str, int] = {}
        self.acknowledged: list[tuple[bytes, int, int]] = []
        self.stopping = False
        self.is_set_up = False

    @property
    def idle(self) -> bool:
        """Whether nobody waits for an answer."""
        return not self._open

    def last_done(self, client: SimClient) -> int:
        """When an operation of this client last succeeded, in microseconds; -1: never."""
        return self._last_done.get(client.name, -1)

    def set_up(self, client: SimClient) -> None:
        """The first write of all."""
        client.pipeline.write([(sql, ()) for sql in SETUP], timeout_ms=60_000, tag="setup")
        client.poll()

    def begin(self, client: SimClient, kind: str = "") -> None:
        """The next operation of a client, unless one is open."""
        if client.name in self._open or (self.stopping and not kind):
            return
        chance = self._chance
        kind = kind or chance.weighted(_KINDS)
        self._count += 1
        key = f"{'l' if kind in ('append', 'list') else _letter(kind)}{chance.below(KEYS)}"
        asked = Asked(
            name=f"o{self._count}",
            kind=kind,
            key=key,
            value=self._count,
            expected=self._values.get(key) if chance.hit(800) else self._count,
            level=chance.weighted(_LEVELS) if kind in _READS else Level.LINEARIZABLE,
            session=client.session_name,
            floor=self.promises.floor(key),
            call_ns=self._schedule.now * 1000,
        )
        self._open[client.name] = asked
        timeout_ms = chance.pick((800, 3_000, 10_000))
        if kind in _READS:
            age_ms = chance.pick((0, 500, 3_000)) if asked.level == Level.STALE else 0
            client.pipeline.read(
                _query(asked),
                level=asked.level,
                max_age_ms=age_ms,
                timeout_ms=timeout_ms,
                tag=asked,
            )
        else:
            client.pipeline.write([*self._statements(asked)], timeout_ms=timeout_ms, tag=asked)
        client.poll()

    def finished(self, client: SimClient, call: Call) -> None:
        """A call is done: judge it, and think about the next one."""
        if call.tag == "setup":
            self.is_set_up = call.error is None
            if self.is_set_up:
                self._bank_opens()
            else:
                self.set_up(client)
            return
        asked = call.tag
        if not isinstance(asked, Asked) or self._open.get(client.name) is not asked:
            return
        del self._open[client.name]
        if call.error is None:
            self._last_done[client.name] = self._schedule.now
            self._succeeded(asked, call)
        else:
            self._failed(client, asked, call.error.outcome, str(call.error))
        self.think(client)

    def _bank_opens(self) -> None:
        balances = {str(account): START_AMOUNT for account in range(ACCOUNTS)}
        opened = self._schedule.now * 1000
        bank = Operation("setup", "open", "bank", balances, None, None, 0, opened, True)
        self.history.append(("bank", bank))

    def abandon(self, client: SimClient) -> None:
        """The client's process dies; what it asked may happen or not."""
        if not self.is_set_up:
            return  # nobody has asked anything yet
        asked = self._open.pop(client.name, None)
        if asked is not None:
            self._failed(client, asked, Outcome.UNKNOWN, "the client died")
        self.think(client)

    def think(self, client: SimClient) -> None:
        """The client rests, then goes on."""
        self._schedule.after(self._chance.between(0, self._think_us), self.begin, client)

    def _failed(self, client: SimClient, asked: Asked, outcome: Outcome, why: str) -> None:
        self.failed[outcome.name] = self.failed.get(outcome.name, 0) + 1
        unknown = outcome is Outcome.UNKNOWN
        if not unknown and asked.kind not in _READS:
            self.promises.refused(asked.name, why)
        self._record(asked, None, None if unknown and asked.kind not in _READS else False, "")
        if unknown:
            client.new_session()

    def _succeeded(self, asked: Asked, call: Call) -> None:
        reply = call.reply
        assert reply is not None, "a call without error has a reply"
        self.done[asked.kind] = self.done.get(asked.kind, 0) + 1
        who = f"{asked.session} at {reply.server}, index {reply.index}"
        if asked.kind in _READS:
            result = self._judge_read(asked, read_result(reply).rows, who)
        else:
            self.acknowledged.append((call.client, call.sequence, reply.index))
            self.promises.acknowledged(asked.name)
            result = self._judge_write(asked, write_result(reply).rows, who)
        self._record(asked, result, True, f"{reply.server} {reply.index}")

    def _judge_read(self, asked: Asked, rows: tuple[tuple[object, ...], ...], who: str) -> object:
        promises = self.promises
        if asked.kind == "sum":
            amounts = {str(account): amount for account, amount in rows}
            total = sum(amount for amount in amounts.values() if isinstance(amount, int))
            promises.whole(total == ACCOUNTS * START_AMOUNT, "sum of the bank", {who: amounts})
            return amounts
        version = rows[0][0]
        assert isinstance(version, int), "versions are whole numbers"
        result: object = version
        if asked.kind == "list":
            items = [row[1] for row in rows if row[1] is not None]
            promises.whole(
                len(items) == version and len(set(items)) == len(items),
                f"list {asked.key} and its length",
                {who: items, "length": version},
            )
            result = items
        elif asked.kind == "read":
            result = self._values[asked.key] = rows[0][1]
        if asked.level in (Level.LINEARIZABLE, Level.LEADER):
            promises.read(asked.key, asked.floor, version, who)
            promises.session_saw(asked.session, asked.key, version)
        elif asked.level == Level.SESSION:
            promises.session_read(asked.session, asked.key, version)
        return result

    def _judge_write(self, asked: Asked, rows: tuple[tuple[object, ...], ...], who: str) -> object:
        if asked.kind in ("write", "cas", "append", "add") and rows:
            version = rows[0][0]
            assert isinstance(version, int), "versions are whole numbers"
            self.promises.wrote(asked.key, asked.floor, version, who)
            self._values[asked.key] = asked.value
            self.promises.session_saw(asked.session, asked.key, version)
        return bool(rows) if asked.kind == "cas" else None

    def _record(self, asked: Asked, result: object, ok: bool | None, node: str) -> None:
        model = _MODELS.get(asked.kind)
        weak = asked.level not in (Level.LINEARIZABLE, Level.LEADER)
        if model is None or weak:
            return
        self.history.append(
            (
                model,
                Operation(
                    client=asked.session,
                    op=_OPS.get(asked.kind, asked.kind),
                    key="bank" if model == "bank" else asked.key,
                    value=_value(asked),
                    expected=asked.expected if asked.kind == "cas" else None,
                    result=result,
                    call=asked.call_ns,
                    returned=None if ok is None else self._schedule.now * 1000,
                    ok=ok,
                    node=node,
                ),
            )
        )

    def _statements(self, asked: Asked) -> list[tuple[str, tuple[object, ...]]]:
        key, value = asked.key, asked.value
        done: tuple[str, tuple[object, ...]] = ("INSERT INTO done VALUES (?)", (asked.name,))
        bump: tuple[str, tuple[object, ...]] = (
            "UPDATE ctr SET n = n + 1 WHERE k = ? RETURNING n",
            (key,),
        )
        match asked.kind:
            case "write":
                sql = "UPDATE reg SET v = ?, n = n + 1 WHERE k = ? RETURNING n"
                return [done, (sql, (value, key))]
            case "cas":
                sql = "UPDATE reg SET v = ?, n = n + 1 WHERE k = ? AND v IS ? RETURNING n"
                return [done, (sql, (value, key, asked.expected))]
            case "append":
                return [done, ("INSERT INTO list(k, v) VALUES (?, ?)", (key, value)), bump]
            case "add":
                return [done, bump]
            case "transfer":
                source, target, amount = _transfer(value)
                move = "UPDATE acct SET amount = amount + ? WHERE id = ?"
                return [done, (move, (amount, target)), (move, (-amount, source))]
            case "note":
                return [done]  # one INSERT by itself, see statemachine/short_work.py
            case "odd":
                return [done, ("INSERT INTO odd(a) VALUES (hex(randomblob(150)))", ())]
            case _:
                return [
                    done,
                    (f"CREATE TABLE IF NOT EXISTS t{value % 4}(x DEFAULT (random()))", ()),
                    (f"INSERT INTO t{value % 4} DEFAULT VALUES", ()),
                    (f"CREATE INDEX IF NOT EXISTS i{value % 4} ON t{value % 4}(x)", ()),
                ]


def _transfer(value: int) -> tuple[int, int, int]:
    """From, to, amount."""
    return value % ACCOUNTS, (value // 7) % ACCOUNTS, 1 + value % 12


def _value(asked: Asked) -> object:
    """What was asked for, in the words of ``checker.models``."""
    match asked.kind:
        case "add":
            return 1
        case "transfer":
            source, target, amount = _transfer(asked.value)
            return {"from": str(source), "to": str(target), "amount": amount}
        case _:
            return asked.value


def _letter(kind: str) -> str:
    return "r" if kind in ("write", "cas", "read") else "c"


def _query(asked: Asked) -> list[tuple[str, tuple[object, ...]]]:
    key = asked.key
    match asked.kind:
        case "read":
            return [("SELECT n, v FROM reg WHERE k = ?", (key,))]
        case "list":
            sql = (
                "SELECT ctr.n, list.v FROM ctr LEFT JOIN list ON list.k = ctr.k"
                " WHERE ctr.k = ? ORDER BY list.pos"
            )
            return [(sql, (key,))]
        case "count":
            return [("SELECT n FROM ctr WHERE k = ?", (key,))]
        case _:
            return [("SELECT id, amount FROM acct ORDER BY id", ())]
