"""The same store tests over memory, SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from tests.adapters.store import postgresql

from gauntlet.adapters.memory.store import MemoryStore
from gauntlet.adapters.store_sql import SqlStore, open_store
from gauntlet.core.records.rollout import ServedVersion

Store = MemoryStore | SqlStore


@dataclass
class FakeClock:
    """Stands still until it is moved."""

    moment: datetime = field(default=datetime(2026, 3, 1, 2, tzinfo=UTC))

    def now(self) -> datetime:
        return self.moment

    def move(self, **by: float) -> None:
        self.moment += timedelta(**by)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    if reason := postgresql.why_not():
        pytest.skip(reason)
    with postgresql.server() as url:
        yield url


@pytest.fixture
def postgresql_url(postgresql_server: str) -> Iterator[str]:
    """A database of its own per test."""
    import psycopg

    name = f"g{uuid4().hex}"
    with psycopg.connect(postgresql_server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    yield postgresql_server.replace("/postgres?", f"/{name}?")
    with psycopg.connect(postgresql_server, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/control/gauntlet.db"
    url: str = request.getfixturevalue("postgresql_url")
    return url


@pytest.fixture
def sql_store(database_url: str, clock: FakeClock, tmp_path: Path) -> Iterator[SqlStore]:
    store = open_store(database_url, clock=clock, mirror=tmp_path / "model_deployments.jsonl")
    yield store
    store.close()


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, clock: FakeClock, tmp_path: Path) -> Iterator[Store]:
    if request.param == "memory":
        yield MemoryStore(clock)
        return
    url = (
        f"sqlite:///{tmp_path}/gauntlet.db" if request.param == "sqlite" else request.getfixturevalue("postgresql_url")
    )
    opened = open_store(url, clock=clock, mirror=tmp_path / "model_deployments.jsonl")
    yield opened
    opened.close()


@pytest.fixture
def served() -> Callable[[int], ServedVersion]:
    def make(number: int) -> ServedVersion:
        return ServedVersion(
            version=number,
            version_id=f"id-{number}",
            release_uri=f"file:///releases/{number}",
            release_digest=f"{number:064x}",
        )

    return make
