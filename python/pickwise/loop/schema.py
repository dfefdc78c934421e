"""The tables of a project. They hold rows that were asked for or labelled, never the pool."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
)

VERSION = 1
"""Of the tables; a project of a higher one is refused."""

# SQLite numbers rows by INTEGER alone.
_Number = BigInteger().with_variant(Integer, "sqlite")

metadata = MetaData()

facts = Table(
    "facts",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("value", JSON, nullable=False),
    comment="What is true of the project as a whole: its version, the cursor of the annotator, the pool's fingerprint.",
)

counts = Table(
    "counts",
    metadata,
    Column("name", Text, primary_key=True),
    Column("count", BigInteger, nullable=False),
    comment="Totals, kept with what they count, so that they are there at once.",
)

events = Table(
    "events",
    metadata,
    Column("number", _Number, primary_key=True, autoincrement=True),
    Column("key", Text, nullable=False, unique=True),
    Column("kind", String(32), nullable=False),
    Column("at", Float, nullable=False),
    Column("round", Integer),
    Column("row", Text),
    Column("annotator", Text),
    Column("body", Text),
    comment="The log: appended to, never changed. An event whose key is there already changes nothing.",
)

rounds = Table(
    "rounds",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("state", String(16), nullable=False),
    Column("strategy", JSON, nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("pool", String(64)),
    Column("labelled", BigInteger, nullable=False, default=0),
    Column("metrics", JSON, nullable=False, default=dict),
    Column("per_class", JSON, nullable=False, default=dict),
    Column("seconds", JSON, nullable=False, default=dict),
    Column("planned_at", Float),
    Column("closed_at", Float),
    Column("trained_at", Float),
    Column("model", Text),
)

asks = Table(
    "asks",
    metadata,
    Column("round", Integer, ForeignKey("rounds.number"), nullable=False),
    Column("row", Text, nullable=False),
    Column("rank", Integer, nullable=False),
    Column("score", Float),
    Column("why", String(32), nullable=False),
    Column("since", BigInteger, nullable=False),
    Column("state", String(16), nullable=False),
    PrimaryKeyConstraint("round", "row"),
    Index("asks_by_row", "row"),
    Index("asks_by_state", "state", "round"),
    comment="Rows that a round asks for: open, done, or recalled. Answers after the event `since` count.",
)

rows = Table(
    "rows",
    metadata,
    Column("row", Text, primary_key=True),
    Column("held_out", Integer, nullable=False),
    Column("answers", Integer, nullable=False),
    Column("labels", Integer, nullable=False),
    sqlite_with_rowid=False,
    comment="Rows that are known: how many answers of any kind each has, and how many that are labels.",
)

votes = Table(
    "votes",
    metadata,
    Column("row", Text, nullable=False),
    Column("annotator", Text, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("label", Text),
    Column("version", Float, nullable=False),
    Column("event", BigInteger().with_variant(Integer, "sqlite"), nullable=False),
    Column("seconds", Float),
    PrimaryKeyConstraint("row", "annotator"),
    sqlite_with_rowid=False,
    comment="The answer of each annotator about each row that holds now, withdrawals among them.",
)
