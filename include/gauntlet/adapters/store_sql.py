"""The control database: records, audit log, routing and ledger in SQLite (WAL) or PostgreSQL.

Writes are serial: ``BEGIN IMMEDIATE`` on SQLite, one advisory lock on PostgreSQL. That is what makes a
compare-and-swap, its records and its link in the audit chain one step; there are a few writes a second.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError

from gauntlet.adapters.store_ledger import SqlLedger
from gauntlet.adapters.store_migrate import schema_version, upgrade
from gauntlet.adapters.store_mirror import Mirror
from gauntlet.adapters.store_records import SqlAudit, SqlRecords, entries_after
from gauntlet.adapters.store_tables import REVISION
from gauntlet.core.errors import Conflict, InfrastructureError, SpecError
from gauntlet.core.ports import Clock

WAIT_S = 20
"""How long a write waits for another one."""
LOCK = 0x6761756E746C6574
"""The advisory lock of all writes on PostgreSQL: ``gauntlet`` in ASCII."""
WRITES = "gauntlet_writes"
log = logging.getLogger(__name__)
_inherited: list[Any] = []


class Database:
    """Transactions on the control database; database errors come out as ours."""

    def __init__(self, url: str, *, mirror: Path | None = None) -> None:
        self.engine = _engine(_checked(url))
        self.mirror = Mirror(mirror, self._entries_after) if mirror else None
        self._name = self.engine.url.render_as_string(hide_password=True)
        os.register_at_fork(after_in_child=self._forget_connections)

    def _forget_connections(self) -> None:
        # A connection must not be used, nor even closed, on both sides of a fork.
        _inherited.append(self.engine.pool)
        self.engine.dispose(close=False)

    @contextmanager
    def read(self) -> Generator[Connection, None, None]:
        """A consistent view."""
        with self._errors(), self.engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def write(self) -> Generator[Connection, None, None]:
        """The one writer: all is written when the block ends, or nothing. The mirror follows."""
        with self._errors(), self.engine.connect() as connection:
            connection = connection.execution_options(**{WRITES: True})
            with connection.begin():
                yield connection
        self.catch_up()

    def catch_up(self) -> None:
        """Bring the mirror file up to date. Its failure is no failure of what has been committed."""
        if self.mirror is None:
            return
        try:
            self.mirror.catch_up()
        except (OSError, ValueError, KeyError) as error:
            log.warning("audit mirror %s is behind (%s); the next write repairs it", self.mirror.path, error)

    def _entries_after(self, sequence: int) -> Any:
        with self.read() as connection:
            return entries_after(connection, sequence)

    @contextmanager
    def _errors(self) -> Generator[None, None, None]:
        try:
            yield
        except IntegrityError as error:
            raise Conflict(f"control database {self._name}: somebody else wrote first: {error.orig}") from error
        except (SQLAlchemyError, sqlite3.Error) as error:
            # SQLite's own errors come bare while a connection is being prepared.
            cause = error.orig if isinstance(error, DBAPIError) else error
            raise InfrastructureError(f"control database {self._name}: {cause}") from error


def _checked(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (SQLAlchemyError, ValueError):
        # Not the URL itself: it may hold a password.
        raise SpecError(
            "control database: GAUNTLET_DATABASE_URL is no database URL; write sqlite:///path or postgresql://…"
        ) from None
    backend = parsed.get_backend_name()
    if backend == "postgresql":
        return parsed.set(drivername="postgresql+psycopg")
    if backend != "sqlite":
        raise SpecError(f"control database: {backend} is not supported; use sqlite:///path or postgresql://…")
    if not parsed.database or parsed.database == ":memory:":
        raise SpecError("control database: SQLite needs a file, as in sqlite:////var/lib/gauntlet/gauntlet.db")
    Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    return parsed


def _engine(url: URL) -> Engine:
    if url.get_backend_name() == "sqlite":
        engine = create_engine(url, connect_args={"timeout": WAIT_S, "check_same_thread": False})
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    engine = create_engine(
        url,
        pool_size=2,
        pool_pre_ping=True,
        connect_args={"connect_timeout": 5, "application_name": "gauntlet"},
    )
    event.listen(engine, "begin", _begin_postgresql)
    return engine


def _prepare_sqlite(connection: Any, _: Any) -> None:
    # We say BEGIN ourselves: the driver would begin late, and never IMMEDIATE.
    connection.isolation_level = None
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA synchronous = FULL")
    deadline = time.monotonic() + WAIT_S
    while connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except connection.OperationalError:
            # Switching does not wait for others by itself.
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get(WRITES)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _begin_postgresql(connection: Connection) -> None:
    if connection.get_execution_options().get(WRITES):
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{WAIT_S}s'")
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCK})")


class SqlStore:
    """All four control ports over one database: ``records``, ``audit``, ``routing``, ``ledger``."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self.database = database
        self.audit = SqlAudit(database, clock)
        self.records = SqlRecords(database, clock)
        self.ledger = SqlLedger(database, clock)
        self.routing = self.ledger

    def close(self) -> None:
        """Let go of all connections."""
        self.database.engine.dispose()


def read_store(url: str, *, clock: Clock) -> SqlStore:
    """Another environment's store, to be read: its schema is not touched, and must be the one known here.

    Raises :class:`InfrastructureError` when it does not answer, or is of another schema.
    """
    database = Database(url)
    with database.read() as connection:
        found = schema_version(connection)
    if found != REVISION:
        raise InfrastructureError(
            f"control database {database.engine.url.render_as_string()} is at schema {found!r}, not {REVISION!r}: "
            "run the same version of Gauntlet in both environments"
        )
    return SqlStore(database, clock)


def open_store(url: str, *, clock: Clock, mirror: Path | None = None) -> SqlStore:
    """Connect, bring the schema up to date, and repair the mirror file.

    ``url``: ``sqlite:///path`` or ``postgresql://…``. Raises :class:`InfrastructureError` when the database
    does not answer, or was written by a newer Gauntlet.
    """
    database = Database(url, mirror=mirror)
    with database.read() as connection:
        current = schema_version(connection) == REVISION
    if not current:
        with database.write() as connection:
            upgrade(connection)
    database.catch_up()
    return SqlStore(database, clock)
