"""Records and audit log as SQL."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection, Select, insert, select, update

from gauntlet.adapters import store_tables as t
from gauntlet.adapters.store_mirror import Mirror, read_mirror
from gauntlet.core.audit import chain, instant_text
from gauntlet.core.errors import IntegrityError, MissingRecord
from gauntlet.core.ledger import Note
from gauntlet.core.ports import AuditEntry, Clock
from gauntlet.core.records.base import Record
from gauntlet.core.stored import kind_name, missing, model_of, stored_json

R = TypeVar("R", bound=Record)
KEYS_PER_QUERY = 500
"""Bound parameters of one query; SQLite's old limit is 999."""


class Transactions(Protocol):
    """Where the connections come from: :class:`gauntlet.adapters.store_sql.Database`."""

    mirror: Mirror | None

    def read(self) -> AbstractContextManager[Connection]:
        """A consistent view."""
        ...

    def write(self) -> AbstractContextManager[Connection]:
        """The one writer."""
        ...


# ---- audit -----------------------------------------------------------------------------------------


def _entry(row: Any) -> AuditEntry:
    return AuditEntry(
        sequence=row.sequence,
        at=datetime.fromisoformat(row.at),
        actor=row.actor,
        action=row.action,
        model=row.model,
        subject=row.subject,
        detail=json.loads(row.detail),
        previous=row.previous,
        digest=row.digest,
    )


def _last_entry(connection: Connection) -> AuditEntry | None:
    row = connection.execute(select(t.audit).order_by(t.audit.c.sequence.desc()).limit(1)).first()
    return _entry(row) if row else None


def entries_after(connection: Connection, sequence: int) -> list[AuditEntry]:
    """The entries with a number above ``sequence``, in order."""
    rows = connection.execute(select(t.audit).where(t.audit.c.sequence > sequence).order_by(t.audit.c.sequence))
    return [_entry(row) for row in rows]


def append_entry(connection: Connection, clock: Clock, actor: str, model: str, note: Note) -> AuditEntry:
    """Add the next link of the chain, inside the caller's write transaction."""
    entry = chain(
        _last_entry(connection),
        at=clock.now(),
        actor=actor,
        action=note.action,
        model=model,
        subject=note.subject,
        detail=note.detail,
    )
    connection.execute(
        insert(t.audit).values(
            sequence=entry.sequence,
            at=instant_text(entry.at),
            actor=entry.actor,
            action=entry.action,
            model=entry.model,
            subject=entry.subject,
            detail=json.dumps(entry.detail),
            previous=entry.previous,
            digest=entry.digest,
        )
    )
    return entry


class SqlAudit:
    """Implements :class:`~gauntlet.core.ports.AuditLog`."""

    def __init__(self, database: Transactions, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def append(self, actor: str, action: str, model: str, subject: str, detail: Mapping[str, Any]) -> AuditEntry:
        """Add one entry."""
        with self._database.write() as connection:
            return append_entry(connection, self._clock, actor, model, Note(action, subject, detail))

    def entries(self, model: str | None = None, subject: str | None = None) -> list[AuditEntry]:
        """Entries in order, oldest first."""
        query = select(t.audit).order_by(t.audit.c.sequence)
        if model is not None:
            query = query.where(t.audit.c.model == model)
        if subject is not None:
            query = query.where(t.audit.c.subject == subject)
        with self._database.read() as connection:
            return [_entry(row) for row in connection.execute(query)]

    def newest(
        self, model: str, limit: int, before: int | None = None, unrecorded_by: Sequence[str] = ()
    ) -> list[AuditEntry]:
        """The newest entries of a model, newest first; ``before``: only those with a smaller number.

        ``unrecorded_by``: without what these actors have recorded, which is most of a log.
        """
        query = select(t.audit).where(t.audit.c.model == model).order_by(t.audit.c.sequence.desc()).limit(limit)
        if before is not None:
            query = query.where(t.audit.c.sequence < before)
        if unrecorded_by:
            routine = t.audit.c.action.startswith("record.") & t.audit.c.actor.in_(unrecorded_by)
            query = query.where(~routine)
        with self._database.read() as connection:
            return [_entry(row) for row in connection.execute(query)]

    def mirrored(self) -> list[AuditEntry] | None:
        """The entries as the mirror file has them; ``None`` when there is no such file."""
        mirror = self._database.mirror
        if mirror is None or not mirror.path.exists():
            return None
        try:
            return read_mirror(mirror.path)
        except (ValueError, KeyError) as error:
            raise IntegrityError(f"{mirror.path} holds a line that is no audit entry: {error}") from error


# ---- records ---------------------------------------------------------------------------------------


def put_record(connection: Connection, clock: Clock, run_key: str, record: Record, name: str, actor: str) -> None:
    """Store a record, with its audit entry, inside the caller's write transaction; nothing when it is there."""
    kind = kind_name(type(record))
    body, digest = stored_json(record)
    same = (t.record.c.run_key == run_key, t.record.c.kind == kind, t.record.c.name == name, t.record.c.current == 1)
    known = connection.execute(select(t.record.c.digest).where(*same)).scalar()
    if known == digest:
        return
    model = model_of(run_key)
    subject = f"{run_key}/{name}" if name else run_key
    entry = append_entry(connection, clock, actor, model, Note(f"record.{kind}", subject, {"digest": digest}))
    if known is not None:
        connection.execute(update(t.record).where(*same).values(current=0))
    connection.execute(
        insert(t.record).values(
            run_key=run_key,
            model=model,
            kind=kind,
            name=name,
            digest=digest,
            body=body,
            at=instant_text(entry.at),
            actor=actor,
            current=1,
        )
    )


class SqlRecords:
    """Implements :class:`~gauntlet.core.ports.RecordStore`."""

    def __init__(self, database: Transactions, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def put(self, run_key: str, record: Record, name: str = "", *, actor: str = "pipeline") -> None:
        """Store a record of a run under its class and ``name``, with its audit entry, in one transaction."""
        with self._database.write() as connection:
            put_record(connection, self._clock, run_key, record, name, actor)

    def get(self, run_key: str, kind: type[R], name: str = "") -> R:
        """The newest record, or :class:`~gauntlet.core.errors.MissingRecord`."""
        found = self.find(run_key, kind, name)
        if found is None:
            raise MissingRecord(missing(run_key, kind, name))
        return found

    def find(self, run_key: str, kind: type[R], name: str = "") -> R | None:
        """The newest record or ``None``."""
        bodies = self._bodies(_current(kind).where(t.record.c.run_key == run_key, t.record.c.name == name))
        return kind.model_validate_json(bodies[0][1]) if bodies else None

    def named(self, run_key: str, kind: type[R]) -> dict[str, R]:
        """All records of a kind in a run, by name."""
        query = _current(kind).where(t.record.c.run_key == run_key).order_by(t.record.c.id)
        return {name: kind.model_validate_json(body) for name, body in self._bodies(query)}

    def newest(self, model: str, kind: type[R], limit: int = 1, name: str | None = None) -> list[R]:
        """The newest records of a kind over all runs of a model, newest first; superseded ones do not count."""
        query = _current(kind).where(t.record.c.model == model).order_by(t.record.c.id.desc()).limit(limit)
        if name is not None:
            query = query.where(t.record.c.name == name)
        return [kind.model_validate_json(body) for _, body in self._bodies(query)]

    def of_runs(self, run_keys: Sequence[str], kind: type[R], name: str | None = None) -> dict[str, dict[str, R]]:
        """The records of a kind in several runs: run key to name to record; runs that have none are absent."""
        found: dict[str, dict[str, R]] = {}
        columns = (t.record.c.run_key, t.record.c.name, t.record.c.body)
        for first in range(0, len(run_keys), KEYS_PER_QUERY):
            keys = run_keys[first : first + KEYS_PER_QUERY]
            query = (
                select(*columns)
                .where(t.record.c.run_key.in_(keys), t.record.c.kind == kind_name(kind), t.record.c.current == 1)
                .order_by(t.record.c.id)
            )
            if name is not None:
                query = query.where(t.record.c.name == name)
            with self._database.read() as connection:
                for row in connection.execute(query):
                    found.setdefault(row.run_key, {})[row.name] = kind.model_validate_json(row.body)
        return found

    def past(self, run_key: str, kind: type[R], name: str = "") -> list[R]:
        """Every record there has been under this key, kind and name, superseded ones included, oldest first."""
        query = (
            select(t.record.c.name, t.record.c.body)
            .where(t.record.c.run_key == run_key, t.record.c.kind == kind_name(kind), t.record.c.name == name)
            .order_by(t.record.c.id)
        )
        return [kind.model_validate_json(body) for _, body in self._bodies(query)]

    def _bodies(self, query: Select[str, str]) -> list[tuple[str, str]]:
        with self._database.read() as connection:
            return [(row.name, row.body) for row in connection.execute(query)]


def _current(kind: type[Record]) -> Select[str, str]:
    return select(t.record.c.name, t.record.c.body).where(t.record.c.kind == kind_name(kind), t.record.c.current == 1)
