"""The rows of raft.db as peewee models.

The models are made per database: peewee keeps the database on the class, and one process may
hold the logs of several nodes (the simulator, the tests).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from peewee import BlobField, IntegerField, Model, TextField
from playhouse.apsw_ext import APSWDatabase

FORMAT_VERSION = 1
"""Written to the state row; a newer one is refused."""


class RaftModels(NamedTuple):
    """The model classes bound to one database.

    Attributes:
        entry: one row per log entry: index, term, kind, data, checksum.
        state: the one row with what changes at a save beside the entries.
        peer: one row per peer that was met.
    """

    entry: Any
    state: Any
    peer: Any


def raft_models(database: APSWDatabase) -> RaftModels:
    """Make the models of raft.db for ``database``."""

    class EntryRow(Model):
        """One log entry; ``checksum`` continues the one of the entry before."""

        log_index = IntegerField(primary_key=True, column_name="idx")
        term = IntegerField()
        kind = IntegerField()
        data = BlobField()
        checksum = IntegerField()

        class Meta:
            """Where the rows are."""

            table_name = "entry"

    class StateRow(Model):
        """Hard state, base and end of the log; the row with id 1 is the only one."""

        id = IntegerField(primary_key=True)
        version = IntegerField()
        commit_sequence = IntegerField()
        term = IntegerField()
        voted_for = TextField(null=True)
        base_index = IntegerField()
        base_term = IntegerField()
        base_checksum = IntegerField()
        last_index = IntegerField()
        memory = IntegerField()
        checksum = IntegerField()

        class Meta:
            """Where the row is."""

            table_name = "state"

    class PeerRow(Model):
        """Which life of a peer was met last; its numbers are 64 bits without sign, so hex."""

        name = TextField(primary_key=True)
        incarnation = TextField()
        boot = TextField()
        checksum = IntegerField()

        class Meta:
            """Where the rows are."""

            table_name = "peer"

    for model in (EntryRow, StateRow, PeerRow):
        model.bind(database)
    return RaftModels(EntryRow, StateRow, PeerRow)
