"""Records, audit log, ledger events, routing rows, champions and intents."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision: str | None = None
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    """From an empty database."""
    op.create_table(
        "record",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        *_texts("run_key", "model", "kind", "name", "digest", "body", "at", "actor"),
        sa.Column("current", sa.Integer, nullable=False),
    )
    op.create_index("record_by_run", "record", ["run_key", "kind", "name", "id"])
    op.create_index("record_by_model", "record", ["model", "kind", "id"])
    _one_where("record_current", "record", ["run_key", "kind", "name"], "current = 1")
    op.create_table(
        "audit",
        sa.Column("sequence", sa.Integer, primary_key=True, autoincrement=False),
        *_texts("at", "actor", "action", "model", "subject", "detail", "previous", "digest"),
    )
    op.create_index("audit_by_model", "audit", ["model", "sequence"])
    op.create_table(
        "event",
        sa.Column("sequence", sa.Integer, primary_key=True, autoincrement=True),
        *_texts("model", "candidate", "body"),
        sa.Column("audit", sa.Integer, nullable=False, unique=True),
    )
    op.create_index("event_by_candidate", "event", ["model", "candidate", "sequence"])
    op.create_table(
        "routing",
        sa.Column("model", sa.String, primary_key=True),
        sa.Column("epoch", sa.Integer, primary_key=True, autoincrement=False),
        *_texts("body", "at", "actor", "action", "reason"),
        sa.Column("audit", sa.Integer, nullable=False, unique=True),
    )
    op.create_table(
        "champion",
        sa.Column("model", sa.String, primary_key=True),
        sa.Column("epoch", sa.Integer, nullable=False),
        *_texts("body"),
        sa.CheckConstraint("epoch > 0", name="champion_epoch_positive"),
    )
    op.create_table(
        "intent",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        *_texts("model", "kind", "key", "stage"),
        sa.Column("open", sa.Integer, nullable=False),
        *_texts("body"),
    )
    _one_where("intent_open", "intent", ["model"], "open = 1")


def downgrade() -> None:
    """To an empty database: all history is lost."""
    for table in ("intent", "champion", "routing", "event", "audit", "record"):
        op.drop_table(table)


def _texts(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.String, nullable=False) for name in names]


def _one_where(name: str, table: str, columns: list[str], condition: str) -> None:
    """At most one row per key among those that fulfil a condition."""
    where = sa.text(condition)
    op.create_index(name, table, columns, unique=True, sqlite_where=where, postgresql_where=where)
