"""No row gets the last rowid, by whatever way; and bulk changes are not watched row by row."""

from __future__ import annotations

from collections.abc import Callable

import apsw
import pytest

from raftzmq.errors import SqlError
from raftzmq.statemachine import statements
from raftzmq.statemachine.authorizer import Authorizer
from raftzmq.statemachine.rowids import RowidWatch
from tests.statemachine.world import World

LAST = (1 << 63) - 1
SCHEMA = (
    "CREATE TABLE t (id INTEGER PRIMARY KEY, v, w)",
    "CREATE TABLE bare (v)",
    "CREATE TABLE named (rowid TEXT)",
    "CREATE TABLE parent (u INTEGER UNIQUE)",
    "CREATE TABLE updated (id INTEGER PRIMARY KEY REFERENCES parent (u) ON UPDATE CASCADE)",
    "CREATE TABLE former (u INTEGER UNIQUE)",
    f"CREATE TABLE deleted (id INTEGER PRIMARY KEY DEFAULT {LAST} REFERENCES former (u) "
    "ON DELETE SET DEFAULT)",
    "CREATE TABLE logged (v)",
    "CREATE TABLE copies (id INTEGER PRIMARY KEY, v)",
    "CREATE TRIGGER copy AFTER UPDATE ON logged BEGIN REPLACE INTO copies VALUES (new.v, 1); END",
    "CREATE TRIGGER gone AFTER DELETE ON logged BEGIN UPDATE t SET id = old.v; END",
    "CREATE VIEW shown AS SELECT id, v FROM t",
    "CREATE TRIGGER through INSTEAD OF UPDATE ON shown BEGIN "
    "UPDATE t SET id = new.v WHERE id = old.id; END",
)
ROWS = (
    "INSERT INTO t VALUES (1, 1, 1), (2, 2, 2)",
    "INSERT INTO bare VALUES (1)",
    "INSERT INTO named VALUES ('x')",
    "INSERT INTO parent VALUES (1)",
    "INSERT INTO updated VALUES (1)",
    f"INSERT INTO former VALUES (1), ({LAST})",
    "INSERT INTO deleted VALUES (1)",
    "INSERT INTO logged VALUES (1)",
)
REFUSED = (
    f"INSERT INTO t VALUES ({LAST}, 1, 1)",
    f"UPDATE t SET id = {LAST} WHERE id = 1",
    f"UPDATE t SET v = 7, id = {LAST} WHERE id = 1",
    f"UPDATE t SET _rowid_ = {LAST} WHERE id = 1",
    f"UPDATE bare SET rowid = {LAST}",
    f"UPDATE bare SET oid = {LAST}",
    f"UPDATE named SET _rowid_ = {LAST}",
    f"UPDATE parent SET u = {LAST}",
    "DELETE FROM former WHERE u = 1",
    f"UPDATE logged SET v = {LAST}",
    f"UPDATE shown SET v = {LAST} WHERE id = 1",
)
HARMLESS = (
    f"UPDATE t SET v = {LAST}",
    "UPDATE t SET v = v + 1, w = (SELECT count(*) FROM bare) WHERE id > 0",
    "DELETE FROM t WHERE v = 1",
    "DELETE FROM bare",
)


@pytest.fixture
def world(make_world: Callable[[], World]) -> World:
    made = make_world()
    made.ok(*SCHEMA)
    made.ok(*ROWS)
    return made


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each change of a user's table was made with the hook on."""
    found: list[bool] = []

    class Spy(RowidWatch):
        def switch(self, *, on: bool) -> None:
            super().switch(on=on)
            found.append(on)  # the last one is how the statement that follows is run

    monkeypatch.setattr(statements, "RowidWatch", Spy)
    return found


@pytest.mark.parametrize("sql", REFUSED)
def test_no_row_gets_the_last_rowid(world: World, sql: str) -> None:
    for _ in range(3):  # the first run of a text learns what the next ones rely on
        reply = world.do(sql)
        assert reply[0] == SqlError.code, (sql, reply)


@pytest.mark.parametrize("sql", HARMLESS)
def test_a_change_that_numbers_no_row_is_not_watched(
    watched: list[bool], make_world: Callable[[], World], sql: str
) -> None:
    world = make_world()
    world.ok(*SCHEMA)
    world.ok(*ROWS)
    for _ in range(2):
        world.ok(sql)
        assert watched[-1] is False, sql
    world.ok("INSERT INTO bare VALUES (1)")
    assert watched[-1] is True


def test_a_trigger_made_later_is_seen(world: World) -> None:
    """What was learnt of a text ends with the schema it was learnt under."""
    update = "UPDATE t SET v = ?"
    assert world.do((update, [7]))[0] == 0
    world.ok(
        "CREATE TRIGGER later AFTER UPDATE ON t BEGIN REPLACE INTO copies VALUES (new.v, 1); END"
    )
    assert world.do((update, [LAST]))[0] == SqlError.code
    # In one request, on one connection: first without the trigger, then with it.
    world.ok("DROP TRIGGER later")
    trigger = (
        "CREATE TRIGGER again AFTER UPDATE ON t BEGIN REPLACE INTO copies VALUES (new.v, 1); END"
    )
    assert world.do((update, [3]), trigger, (update, [LAST]))[0] == SqlError.code


@pytest.mark.parametrize(
    ("noted", "needed"),
    [
        ([], True),  # prepared before, unseen
        ([(apsw.SQLITE_UPDATE, "t", "v")], False),
        ([(apsw.SQLITE_UPDATE, "T", "V")], False),
        ([(apsw.SQLITE_DELETE, "t", "")], False),
        ([(apsw.SQLITE_UPDATE, "t", "v"), (apsw.SQLITE_INSERT, "bare", "")], True),
        ([(apsw.SQLITE_UPDATE, "t", "v"), (apsw.SQLITE_UPDATE, "t", "id")], True),
        ([(apsw.SQLITE_UPDATE, "bare", "ROWID")], True),
        ([(apsw.SQLITE_UPDATE, "named", "rowid")], True),
        ([(apsw.SQLITE_UPDATE, "words", "body")], True),  # a virtual table
        ([(apsw.SQLITE_UPDATE, "shown", "v")], True),  # a view
        ([(apsw.SQLITE_UPDATE, "unknown", "v")], True),
    ],
)
def test_what_must_be_watched(noted: list[tuple[int, str, str]], needed: bool) -> None:
    connection = apsw.Connection(":memory:")
    for sql in (*SCHEMA, "CREATE VIRTUAL TABLE words USING fts5 (body)"):
        connection.execute(sql)
    watch = RowidWatch(connection, Authorizer(reader=False), lambda *row: None)
    assert watch.is_needed(noted) is needed
