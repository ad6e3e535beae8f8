"""A role that may only read: made by our script, recognised by our check."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from tests.conftest import PostgresServer

from gauntlet.adapters.read_only import role_can_write

ROOT = Path(__file__).parents[2]


@pytest.fixture
def warehouse(postgres_server: PostgresServer) -> Iterator[str]:
    """The owner's address; a role ``watcher`` may read it, made by the script."""
    url = postgres_server.database("warehouse")
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.text("DROP ROLE IF EXISTS watcher"))
        connection.execute(sa.text("CREATE TABLE loans AS SELECT 1 AS amount"))
    environment = {**os.environ, **postgres_server.environment, "READER_PASSWORD": "p'w d"}
    command = ["bash", str(ROOT / "deploy/postgres/reader.sh"), "warehouse", "public", "watcher"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    yield url
    with engine.begin() as connection:
        connection.execute(sa.text("DROP OWNED BY watcher"))
        connection.execute(sa.text("DROP ROLE watcher"))
    engine.dispose()


def address(server: PostgresServer) -> str:
    return f"postgresql+psycopg://watcher:p%27w%20d@127.0.0.1:{server.port}/warehouse"


def test_the_role_reads_and_writes_nothing_by_whatever_means(warehouse: str, postgres_server: PostgresServer) -> None:
    owner, reader = sa.create_engine(warehouse), sa.create_engine(address(postgres_server))
    with owner.begin() as connection:
        connection.execute(sa.text("CREATE TABLE later AS SELECT 2 AS amount"))
    with reader.connect() as connection:
        for table in ("loans", "later"):
            assert connection.execute(sa.text(f"SELECT count(*) FROM {table}")).scalar() == 1
    for statement in ("INSERT INTO loans VALUES (3)", "CREATE TABLE mine (n int)", "DROP TABLE loans"):
        for before in ("SELECT 1", "SET TRANSACTION READ WRITE"):
            with reader.connect() as connection:
                connection.execute(sa.text(before))
                with pytest.raises(sa.exc.DBAPIError):
                    connection.execute(sa.text(statement))
    owner.dispose()
    reader.dispose()


def test_a_role_that_may_write_is_told_from_one_that_may_not(warehouse: str, postgres_server: PostgresServer) -> None:
    assert role_can_write(warehouse) == (True, "its role may change loans")
    assert role_can_write(address(postgres_server)) == (False, "its role may change no table")


def test_other_databases_are_kept_by_their_session(tmp_path: Path) -> None:
    assert role_can_write(f"sqlite:///{tmp_path}/x.db") == (False, "sqlite: kept from writing by its session")
