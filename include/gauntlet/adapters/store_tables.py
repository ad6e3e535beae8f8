"""The control database's tables. Times are fixed-width UTC text: equal on every database, and sortable.

A change here needs a migration in ``migrations/versions`` and its revision in :data:`REVISION`.
"""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, Index, Integer, MetaData, String, Table, text

REVISION = "0001"
"""The newest migration: what a database must be at."""

tables = MetaData()

record = Table(
    "record",
    tables,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("run_key", String, nullable=False),
    Column("model", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("name", String, nullable=False),
    Column("digest", String, nullable=False),
    Column("body", String, nullable=False),
    Column("at", String, nullable=False),
    Column("actor", String, nullable=False),
    Column("current", Integer, nullable=False),
    Index("record_by_run", "run_key", "kind", "name", "id"),
    Index("record_by_model", "model", "kind", "id"),
    Index(
        "record_current",
        "run_key",
        "kind",
        "name",
        unique=True,
        sqlite_where=text("current = 1"),
        postgresql_where=text("current = 1"),
    ),
)
"""Append-only but for ``current``, which marks the newest of its run, kind and name."""

audit = Table(
    "audit",
    tables,
    Column("sequence", Integer, primary_key=True, autoincrement=False),
    Column("at", String, nullable=False),
    Column("actor", String, nullable=False),
    Column("action", String, nullable=False),
    Column("model", String, nullable=False),
    Column("subject", String, nullable=False),
    Column("detail", String, nullable=False),
    Column("previous", String, nullable=False),
    Column("digest", String, nullable=False),
    Index("audit_by_model", "model", "sequence"),
)
"""Append-only and hash-chained."""

event = Table(
    "event",
    tables,
    Column("sequence", Integer, primary_key=True, autoincrement=True),
    Column("model", String, nullable=False),
    Column("candidate", String, nullable=False),
    Column("body", String, nullable=False),
    Column("audit", Integer, nullable=False, unique=True),
    Index("event_by_candidate", "model", "candidate", "sequence"),
)
"""Append-only: transitions of candidates, each with the number of its audit entry."""

routing = Table(
    "routing",
    tables,
    Column("model", String, primary_key=True),
    Column("epoch", Integer, primary_key=True, autoincrement=False),
    Column("body", String, nullable=False),
    Column("at", String, nullable=False),
    Column("actor", String, nullable=False),
    Column("action", String, nullable=False),
    Column("reason", String, nullable=False),
    Column("audit", Integer, nullable=False, unique=True),
)
"""Append-only: every routing row; the one with the highest epoch is in force."""

champion = Table(
    "champion",
    tables,
    Column("model", String, primary_key=True),
    Column("epoch", Integer, nullable=False),
    Column("body", String, nullable=False),
    CheckConstraint("epoch > 0", name="champion_epoch_positive"),
)
"""One row per model that has a champion."""

intent = Table(
    "intent",
    tables,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("model", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("key", String, nullable=False),
    Column("stage", String, nullable=False),
    Column("open", Integer, nullable=False),
    Column("body", String, nullable=False),
    Index(
        "intent_open",
        "model",
        unique=True,
        sqlite_where=text("open = 1"),
        postgresql_where=text("open = 1"),
    ),
)
"""Promotions and rollbacks under way and done; at most one open per model."""
