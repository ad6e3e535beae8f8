"""Other people's databases are read and never written, whatever a spec's SQL says.

Two locks beside the one that is theirs, a role that may only read: the transaction is read-only, and a statement is
one statement. The second is what PostgreSQL's simple protocol does not give: a text without parameters may end the
read-only transaction and begin another (``SELECT 1; COMMIT; DROP TABLE …``). A prepared statement cannot.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from gauntlet.adapters.environment import expand
from gauntlet.core.errors import DataRejected, InfrastructureError, SpecError

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

AIRFLOW = "airflow://"
SQLITE_DOWN = ("unable to open", "locked", "busy", "disk i/o", "malformed", "not a database")
"""What SQLite says when the file is at fault and not the statement."""
READ_ONLY: Mapping[str, str | None] = {
    "postgresql": None,
    "sqlite": "PRAGMA query_only = ON",
    "mysql": "SET SESSION TRANSACTION READ ONLY",
    "mariadb": "SET SESSION TRANSACTION READ ONLY",
}
"""How each database is kept from writing; PostgreSQL by an option of the transaction."""


def address_of(model: str, uri: str, who: str, connection_url: Callable[[str], str] | None) -> str:
    """An SQLAlchemy URL from a spec: variables are filled in, an Airflow connection is looked up.

    ``who``: how the place in the spec is called in errors.
    """
    address = expand(model, uri)
    if not address.startswith(AIRFLOW):
        return address
    if connection_url is None:
        raise SpecError(f"{who}: {AIRFLOW} needs Airflow; outside of it write an SQLAlchemy URL")
    return connection_url(address.removeprefix(AIRFLOW))


@contextmanager
def reading(address: str, *, key: str, who: str, refuses: str) -> Generator[Connection]:
    """A connection to somebody's database, whose errors come out as ours.

    ``key`` is the spec's for the address; ``who`` asks; ``refuses`` says what the database would not do.

    Raises:
        SpecError: the address cannot be used.
        DataRejected: the database refuses the statement.
        InfrastructureError: the database does not answer.
    """
    import sqlalchemy as sa

    try:
        engine = reading_engine(address)
    except (sa.exc.ArgumentError, sa.exc.NoSuchModuleError, ImportError) as error:
        raise SpecError(f"{key} is no usable SQLAlchemy URL: {_words(error)}") from None
    try:
        with engine.connect() as connection:
            yield connection
    except (sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.TimeoutError) as error:
        if _refused_by_sqlite(engine, error):
            raise DataRejected(f"{refuses}: {_words(error)}") from None
        raise InfrastructureError(f"{who}: the database does not answer: {_words(error)}") from None
    except sa.exc.SQLAlchemyError as error:
        raise DataRejected(f"{refuses}: {_words(error)}") from None
    finally:
        engine.dispose()


def plain(value: Any) -> Any:
    """A value of a row as Arrow takes it."""
    from decimal import Decimal
    from uuid import UUID

    if isinstance(value, Decimal):
        return float(value)
    return str(value) if isinstance(value, UUID) else value


def _words(error: Exception) -> str:
    """The database's own words; never the statement with its parameters."""
    return str(getattr(error, "orig", None) or error).strip().splitlines()[0]


def _refused_by_sqlite(engine: Engine, error: Exception) -> bool:
    """SQLite alone reports a wrong statement with the class that others keep for operation."""
    said = str(error).lower()
    return engine.dialect.name == "sqlite" and not any(word in said for word in SQLITE_DOWN)


def reading_engine(address: str) -> Engine:
    """An engine whose statements are prepared before they are run, where the driver can.

    Raises:
        sqlalchemy.exc.ArgumentError, NoSuchModuleError, ImportError: the address cannot be used.
    """
    import sqlalchemy as sa

    url = sa.make_url(address)
    psycopg = url.get_backend_name() == "postgresql" and url.get_driver_name() == "psycopg"
    options: dict[str, Any] = {"prepare_threshold": 0} if psycopg else {}
    return sa.create_engine(url, pool_pre_ping=True, connect_args=options)


def can_be_kept(connection: Connection) -> bool:
    """Whether this database can be kept from writing by its session."""
    return connection.dialect.name in READ_ONLY


def kept_from_writing(connection: Connection) -> Connection:
    """The connection, before its first statement, as one that cannot write; as it is where there is no way."""
    name = connection.dialect.name
    if name == "postgresql":
        return connection.execution_options(postgresql_readonly=True)
    if (command := READ_ONLY.get(name)) is not None:
        connection.exec_driver_sql(command)
    return connection


WRITABLE = """
SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%'
  AND has_table_privilege(c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE')
ORDER BY 1 LIMIT :most
"""
"""Tables that the present role may change, of all it can see."""


def role_can_write(address: str, most: int = 5) -> tuple[bool, str]:
    """Whether the role of an address may change anything, and in words what is known about it.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: the database cannot be asked.
    """
    import sqlalchemy as sa

    engine = reading_engine(address)
    try:
        with engine.connect() as connection:
            name = connection.dialect.name
            if name != "postgresql":
                kept = can_be_kept(connection)
                return (
                    not kept,
                    f"{name}: {'kept from writing by its session' if kept else 'nothing keeps it from writing'}",
                )
            found = list(kept_from_writing(connection).execute(sa.text(WRITABLE), {"most": most}).scalars())
            return bool(found), f"its role may change {', '.join(found)}" if found else "its role may change no table"
    finally:
        engine.dispose()
