"""Text is cut into the same statements however it arrives."""

from __future__ import annotations

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftzmq.cli.splitting import IncompleteStatement, Splitter, Statement, split

TRIGGER = """CREATE TRIGGER t AFTER INSERT ON a BEGIN
  UPDATE a SET b = CASE WHEN 1 THEN 2 END; -- one; more
  INSERT INTO c VALUES ('END;');
END"""


@pytest.mark.parametrize(
    ("text", "statements"),
    [
        ("", []),
        (" ;; \n;", []),
        ("-- only a comment", []),
        ("/* a; b */ -- c;\n", []),
        ("SELECT 1", ["SELECT 1"]),
        ("SELECT 1; SELECT 2;", ["SELECT 1", "SELECT 2"]),
        ("SELECT 'a;b', \"c;d\", [e;f], `g;h`;", ["SELECT 'a;b', \"c;d\", [e;f], `g;h`"]),
        ("SELECT 'it''s; fine';SELECT 2", ["SELECT 'it''s; fine'", "SELECT 2"]),
        ("SELECT 1 -- one; two\n + 2;", ["SELECT 1 -- one; two\n + 2"]),
        ("SELECT 1 /* a;' */ + 2;", ["SELECT 1 /* a;' */ + 2"]),
        ("SELECT 4-2, 4/2*2;", ["SELECT 4-2, 4/2*2"]),
        (f"{TRIGGER};\nSELECT 1;", [TRIGGER, "SELECT 1"]),
        (f"{TRIGGER}", [TRIGGER]),
    ],
)
def test_statements_end_where_sqlite_ends_them(text: str, statements: list[str]) -> None:
    assert [found.sql for found in split(text)] == statements
    one_by_one = Splitter()
    found = [statement for character in text for statement in one_by_one.feed(character)]
    found += one_by_one.finish()
    assert [statement.sql for statement in found] == statements


def test_a_statement_knows_its_line() -> None:
    text = "-- head\n\nSELECT 1,\n 'a\nb';  /* x\ny */\n  SELECT 2;\nSELECT 3"
    assert split(text) == [
        Statement("SELECT 1,\n 'a\nb'", 3),
        Statement("SELECT 2", 7),
        Statement("SELECT 3", 8),
    ]


@pytest.mark.parametrize(
    "text", ["SELECT 'a", 'SELECT "a', "SELECT [a", "SELECT 1 /* a", TRIGGER[:-3]]
)
def test_text_that_breaks_off_is_refused(text: str) -> None:
    with pytest.raises(IncompleteStatement, match="line 1"):
        split(text)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(["'", '"', ";", "--", "\n", "/*", "*/", "-", "/", "*", "a", " "])))
def test_sqlite_agrees_that_each_statement_is_complete(tokens: list[str]) -> None:
    text = "".join(tokens)
    try:
        found = split(text)
    except IncompleteStatement:
        return
    for statement in found:
        # The newline ends a comment that the text's own end would have ended.
        assert apsw.complete(statement.sql + "\n;")
