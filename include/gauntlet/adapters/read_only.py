"""Other people's databases are read and never written, whatever a spec's SQL says.

Two locks beside the one that is theirs, a role that may only read: the transaction is read-only, and a statement is
one statement. The second is what PostgreSQL's simple protocol does not give: a text without parameters may end the
read-only transaction and begin another (``SELECT 1; COMMIT; DROP TABLE …``). A prepared statement cannot.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

READ_ONLY: Mapping[str, str | None] = {
    "postgresql": None,
    "sqlite": "PRAGMA query_only = ON",
    "mysql": "SET SESSION TRANSACTION READ ONLY",
    "mariadb": "SET SESSION TRANSACTION READ ONLY",
}
"""How each database is kept from writing; PostgreSQL by an option of the transaction."""


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
