"""A dump arrives whole, in order, in bounded transactions; and when not, it says where."""

from __future__ import annotations

import io
import sqlite3
from typing import cast

import pytest

from raftzmq.cli import dump, merging
from raftzmq.cli.dump import DumpLoader, DumpStopped, Progress
from raftzmq.cli.requests import Requests, Statements, Written
from raftzmq.errors import ConstraintFailed, Outcome, Overloaded, RequestError
from raftzmq.wire.client import Flags
from raftzmq.wire.payload import StatementResult


class Recorder:
    """Stands in for the cluster: applies to a SQLite database in memory."""

    def __init__(self) -> None:
        self.database = sqlite3.connect(":memory:", isolation_level=None)
        self.writes: list[tuple[list[str], int]] = []
        self.keys: dict[bytes, list[str]] = {}
        self.fail_at: int | None = None
        self.under_way: object = None
        self.error: RequestError = Overloaded("full")

    def begin(self, statements: Statements, *, flags: int = 0, key: bytes = b"") -> object:
        """Nothing may be sent before the one before is known to be applied."""
        assert self.under_way is None
        self.under_way = statements, flags, key
        return self.under_way

    def finish(self, call: object) -> Written:
        assert call is not None
        assert call is self.under_way
        self.under_way = None
        statements, flags, key = cast("tuple[Statements, int, bytes]", call)
        return self.write(statements, flags=flags, key=key)

    def write(self, statements: Statements, *, flags: int = 0, key: bytes = b"") -> Written:
        if self.fail_at == len(self.writes):
            raise self.error
        if key in self.keys:
            assert self.keys[key] == [sql for sql, _ in statements]
            return Written([], before=True, forgotten=True)
        if key:
            self.keys[key] = [sql for sql, _ in statements]
        self.writes.append(([sql for sql, _ in statements], flags))
        changes = [max(0, self.database.execute(sql).rowcount) for sql, _ in statements]
        return Written([StatementResult(count, 0, None, None) for count in changes])


def load(text: str, recorder: Recorder, flags: int = 0, key: str | None = None) -> Progress:
    loader = DumpLoader(
        cast(Requests, recorder), flags=flags, advance=lambda progress: None, key=key
    )
    return loader.load(io.StringIO(text))


def test_a_dump_of_sqlite_comes_back_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dump, "BATCH_STATEMENTS", 500)
    original = sqlite3.connect(":memory:")
    original.executescript(
        """CREATE TABLE a (id INTEGER PRIMARY KEY AUTOINCREMENT, t TEXT, b BLOB);
        CREATE TABLE "odd;name" (x REFERENCES a);
        CREATE VIEW v AS SELECT t FROM a;
        CREATE TRIGGER after_a AFTER INSERT ON a BEGIN
            INSERT INTO "odd;name" VALUES (new.id); END;"""
    )
    for number in range(1200):
        original.execute("INSERT INTO a (t, b) VALUES (?, ?)", [f"it's; {number}\n--", b"\0;'"])
    original.commit()
    text = "\n".join(original.iterdump())
    recorder = Recorder()
    progress = load(text, recorder)
    assert "\n".join(recorder.database.iterdump()) == text
    assert progress.transactions == len(recorder.writes) >= 3
    assert all(len(sqls) <= dump.BATCH_STATEMENTS for sqls, _ in recorder.writes)
    assert progress.statements == 2404
    assert progress.rows == 2400
    assert progress.sequences == 2


def test_large_statements_make_small_transactions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dump, "BATCH_CHARACTERS", 100)
    recorder = Recorder()
    load("SELECT 1;" + f"SELECT '{'x' * 60}';" * 3 + f"SELECT '{'x' * 500}';", recorder)
    assert [len(sqls) for sqls, _ in recorder.writes] == [2, 1, 1, 1]


def test_transactions_of_the_dump_are_dropped() -> None:
    recorder = Recorder()
    text = "BEGIN TRANSACTION;begin;SELECT 1;COMMIT;END TRANSACTION;BEGIN IMMEDIATE;commit -- x\n;"
    load(text, recorder)
    assert recorder.writes == [(["SELECT 1"], 0)]


def test_foreign_keys_off_becomes_a_flag_of_what_follows() -> None:
    recorder = Recorder()
    load(
        "SELECT 1;PRAGMA foreign_keys=OFF;SELECT 2;pragma foreign_keys = on ;SELECT 3;"
        "PRAGMA foreign_keys(0);SELECT 4",
        recorder,
    )
    off = Flags.NO_FOREIGN_KEYS
    assert recorder.writes == [
        (["SELECT 1"], 0),
        (["SELECT 2"], off),
        (["SELECT 3"], 0),
        (["SELECT 4"], off),
    ]


def test_a_failure_says_where_and_what_was_applied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dump, "BATCH_STATEMENTS", 2)
    recorder = Recorder()
    recorder.fail_at = 2
    recorder.error = ConstraintFailed("FOREIGN KEY constraint failed")
    with pytest.raises(DumpStopped) as stopped:
        load("\n".join(f"SELECT {number};" for number in range(10)), recorder)
    assert stopped.value.progress.statements == 4
    assert stopped.value.progress.transactions == 2
    assert (stopped.value.first.line, stopped.value.last.line) == (5, 6)
    assert stopped.value.error.outcome is Outcome.REJECTED
    assert "--no-foreign-keys" in dump.advice(stopped.value.error)


def test_a_dump_that_breaks_off_keeps_what_was_whole() -> None:
    recorder = Recorder()
    with pytest.raises(DumpStopped, match="line 2"):
        load("SELECT 1;\nSELECT 'a", recorder)
    assert recorder.writes == [(["SELECT 1"], 0)]


def test_a_dump_that_gave_up_is_refused() -> None:
    with pytest.raises(DumpStopped, match="ROLLBACK"):
        load("SELECT 1;\nROLLBACK; -- due to errors\n", Recorder())


def test_a_load_with_a_key_goes_on_where_it_was_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dump, "BATCH_STATEMENTS", 10)
    text = "CREATE TABLE a (x);" + "".join(f"INSERT INTO a VALUES ({n});" for n in range(99))
    recorder = Recorder()
    recorder.fail_at = 4
    with pytest.raises(DumpStopped):
        load(text, recorder, key="load 1")
    # The pieces in which the file is read have nothing to do with it.
    monkeypatch.setattr(dump, "READ_CHARACTERS", 7)
    recorder.fail_at = None
    second = load(text, recorder, key="load 1")
    third = load(text, recorder, key="load 1")
    assert (second.transactions, second.before) == (10, 4)
    assert (third.transactions, third.before) == (10, 10)
    assert recorder.database.execute("SELECT count(*) FROM a").fetchone() == (99,)
    assert {flags for _, flags in recorder.writes} == {Flags.NO_RESULT}


def test_rows_of_literals_are_joined_and_nothing_else() -> None:
    text = """
        INSERT INTO a VALUES(1,'it''s; (1)',-1.5e3,NULL,X'00ff');
        INSERT INTO a VALUES(2,'',.5,null,x'');
        INSERT INTO a VALUES(3,(SELECT max(id) FROM a),1,1,1);
        INSERT INTO a VALUES(4,'a',1,1,1);
        INSERT INTO b VALUES(5,'a',1,1,1);
        INSERT INTO b VALUES(6,'a',1,1,1),(7,'a',1,1,1);
        INSERT OR IGNORE INTO b VALUES(6,'b',1,1,1);
        INSERT OR IGNORE INTO b VALUES(8,'b',1,1,1);
        INSERT INTO b (id, "t") VALUES (9, 'x');
        INSERT INTO b (id, "t") VALUES (10, 'y');
        INSERT INTO b (id) VALUES (11) RETURNING id;
        INSERT INTO b (id) VALUES (random());
        """
    recorder = Recorder()
    for table in "ab":
        recorder.database.execute(f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, t, x, y, z)")
    progress = load(text, recorder)
    (sqls, _) = recorder.writes[0]
    assert [sql.count("),(") + 1 for sql in sqls] == [2, 1, 1, 1, 2, 2, 2, 1, 1]
    assert progress.statements == 12
    alone = sqlite3.connect(":memory:", isolation_level=None)
    for table in "ab":
        alone.execute(f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, t, x, y, z)")
    alone.executescript(text)
    for table in "ab":
        rows = f"SELECT * FROM {table} WHERE id BETWEEN 0 AND 11"
        assert recorder.database.execute(rows).fetchall() == alone.execute(rows).fetchall()


def test_joined_statements_have_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder()
    recorder.database.execute("CREATE TABLE a (id INTEGER PRIMARY KEY, t)")
    load("".join(f"INSERT INTO a VALUES({n},'{'x' * 100}');" for n in range(2000)), recorder)
    (sqls, _) = recorder.writes[0]
    assert len(sqls) == 4
    monkeypatch.setattr(merging, "JOINED_CHARACTERS", 1000)
    load("".join(f"INSERT INTO a VALUES({n},'{'x' * 100}');" for n in range(2000, 2100)), recorder)
    (sqls, _) = recorder.writes[1]
    assert len(sqls) == 10


def test_nothing_is_sent_after_what_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next transaction waits, put together, until the one before is applied."""
    monkeypatch.setattr(dump, "BATCH_STATEMENTS", 1)
    recorder = Recorder()
    recorder.fail_at = 1
    with pytest.raises(DumpStopped) as stopped:
        load("SELECT 1;\nSELECT 2;\nSELECT 3;", recorder)
    assert (stopped.value.first.line, stopped.value.progress.statements) == (2, 1)
    assert [sqls for sqls, _ in recorder.writes] == [["SELECT 1"]]
