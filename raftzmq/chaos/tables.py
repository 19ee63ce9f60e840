"""The tables of the workloads, and how each operation is said in SQL.

`chaos_done` has no key: each write of a list, of money or of a counter also leaves its unique
name there, in the same transaction, so that one that was applied twice is there twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

Statement = tuple[str, Sequence[object]]

SCHEMA: Final = (
    "CREATE TABLE IF NOT EXISTS chaos_register (key TEXT PRIMARY KEY, value TEXT)",
    "CREATE TABLE IF NOT EXISTS chaos_list (key TEXT, value TEXT)",
    "CREATE INDEX IF NOT EXISTS chaos_list_key ON chaos_list (key)",
    "CREATE TABLE IF NOT EXISTS chaos_counter (key TEXT PRIMARY KEY, total INTEGER)",
    "CREATE TABLE IF NOT EXISTS chaos_account (key TEXT, account TEXT, balance INTEGER, "
    "PRIMARY KEY (key, account))",
    "CREATE TABLE IF NOT EXISTS chaos_done (name TEXT)",
)
ACCOUNTS: Final = ("a", "b", "c", "d")
OPENING: Final = 100
MODELS: Final = ("register", "append", "counter", "bank")


def done(name: str) -> Statement:
    """Leave the name of an operation."""
    return "INSERT INTO chaos_done (name) VALUES (?)", [name]


def write_register(key: str, value: str) -> list[Statement]:
    """Whatever it held before."""
    return [
        (
            "INSERT INTO chaos_register (key, value) VALUES (?, ?) "
            "ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            [key, value],
        )
    ]


def compare_and_set(key: str, expected: str, value: str) -> list[Statement]:
    """One row is affected if it held what was expected, else none."""
    return [
        (
            "UPDATE chaos_register SET value = ? WHERE key = ? AND value = ?",
            [value, key, expected],
        )
    ]


def append(key: str, value: str) -> list[Statement]:
    """To the end of a list; the value is its name."""
    return [("INSERT INTO chaos_list (key, value) VALUES (?, ?)", [key, value]), done(value)]


def add(key: str, number: int, name: str) -> list[Statement]:
    """To a counter."""
    return [
        (
            "INSERT INTO chaos_counter (key, total) VALUES (?, ?) "
            "ON CONFLICT (key) DO UPDATE SET total = total + excluded.total",
            [key, number],
        ),
        done(name),
    ]


def open_ledger(key: str) -> list[Statement]:
    """All accounts of a new ledger."""
    return [
        ("INSERT INTO chaos_account (key, account, balance) VALUES (?, ?, ?)", [key, each, OPENING])
        for each in ACCOUNTS
    ]


def transfer(key: str, source: str, target: str, amount: int, name: str) -> list[Statement]:
    """From one account to another; accounts may become negative."""
    change = "UPDATE chaos_account SET balance = balance + ? WHERE key = ? AND account = ?"
    return [(change, [-amount, key, source]), (change, [amount, key, target]), done(name)]


def read(model: str, key: str) -> Statement:
    """What ``found`` understands."""
    if model == "register":
        return "SELECT value FROM chaos_register WHERE key = ?", [key]
    if model == "append":
        return "SELECT value FROM chaos_list WHERE key = ? ORDER BY rowid", [key]
    if model == "counter":
        return "SELECT total FROM chaos_counter WHERE key = ?", [key]
    return "SELECT account, balance FROM chaos_account WHERE key = ?", [key]


def found(model: str, rows: Sequence[Sequence[object]]) -> Any:
    """What a read returned, as the model has it."""
    if model == "append":
        return [row[0] for row in rows]
    if model == "bank":
        return {str(row[0]): row[1] for row in rows}
    if model == "counter":
        return rows[0][0] if rows else 0
    return rows[0][0] if rows else None
