"""Bring the control database to the newest schema, once, however many processes start at the same time."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, inspect, text

from gauntlet.adapters.store_tables import REVISION
from gauntlet.core.errors import InfrastructureError

SCRIPTS = Path(__file__).parent / "migrations"
VERSION_TABLE = "alembic_version"


def schema_version(connection: Connection) -> str | None:
    """The database's revision; ``None`` for an empty database."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    return connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()  # noqa: S608 - a constant


def upgrade(connection: Connection) -> None:
    """Run what is missing, inside the caller's write transaction (which keeps other processes out)."""
    found = schema_version(connection)
    if found == REVISION:
        return
    from alembic.config import Config
    from alembic.runtime.environment import EnvironmentContext
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    scripts = ScriptDirectory.from_config(config)
    try:
        with EnvironmentContext(config, scripts, fn=lambda at, _: scripts._upgrade_revs(REVISION, at)) as environment:
            environment.configure(connection=connection, transactional_ddl=True)
            environment.run_migrations()
    except CommandError as error:
        raise InfrastructureError(
            f"control database is at schema {found!r}, which this version of Gauntlet does not know "
            f"(it knows up to {REVISION!r}); install the version that wrote it: {error}"
        ) from error
