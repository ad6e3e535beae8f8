"""Snapshots from a database: the same rows as from files, streamed, with bound parameters."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
from tests.adapters.data.applications import AS_OF, HOUR, START, applications, spec, write
from tests.conftest import PostgresServer

from gauntlet.adapters import source_sql
from gauntlet.adapters.source_files import FileSource
from gauntlet.adapters.source_sql import SqlSource
from gauntlet.core.errors import DataRejected, InfrastructureError, SpecError
from gauntlet.core.ports import PulledData

VARIABLE = "GAUNTLET_TEST_SOURCE"
SQL = {"source.kind": "sql", "source.query": "SELECT * FROM applications"}
METADATA = sa.MetaData()
TABLE = sa.Table(
    "applications",
    METADATA,
    sa.Column("id", sa.BigInteger),
    sa.Column("customer", sa.String),
    sa.Column("applied_at", sa.DateTime(timezone=True)),
    sa.Column("loaded_at", sa.DateTime(timezone=True)),
    sa.Column("settled_at", sa.DateTime(timezone=True)),
    sa.Column("income", sa.Double),
    sa.Column("amount", sa.Numeric(30, 18)),
    sa.Column("open_loans", sa.BigInteger),
    sa.Column("employed", sa.Boolean),
    sa.Column("region", sa.String),
    sa.Column("gender", sa.String),
    sa.Column("defaulted", sa.BigInteger),
    sa.Column("unused", sa.Double),
)
Pull = Callable[..., PulledData]


def fill(url: str, table: pa.Table) -> None:
    """Put a table into a database, amounts as decimals."""
    engine = sa.create_engine(url)
    METADATA.drop_all(engine)
    METADATA.create_all(engine)
    rows = [row | {"amount": Decimal(repr(row["amount"]))} for row in table.to_pylist()]
    with engine.begin() as connection:
        if rows:
            connection.execute(TABLE.insert(), rows)
    engine.dispose()


@pytest.fixture
def sqlite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An SQLite database with the applications; amounts as floats, for SQLite has no decimals."""
    url = f"sqlite:///{tmp_path}/source.db"
    engine = sa.create_engine(url)
    columns = [sa.Column(c.name, sa.Double() if c.name == "amount" else c.type) for c in TABLE.columns]
    table = sa.Table("applications", sa.MetaData(), *columns)
    table.create(engine)
    with engine.begin() as connection:
        connection.execute(table.insert(), applications().to_pylist())
    engine.dispose()
    monkeypatch.setenv(VARIABLE, url)
    return url


@pytest.fixture
def pull(tmp_path: Path) -> Pull:
    def pull(
        since: datetime | None = None, until: datetime = AS_OF, labelled: bool = True, **changes: Any
    ) -> PulledData:
        source = SqlSource(tmp_path / "scratch", memory_mb=256, threads=2)
        return source.pull(spec(**SQL | changes), since, until, labelled=labelled, to=tmp_path / "snapshot.parquet")

    return pull


def from_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: pa.Table, *window: Any, **changes: Any
) -> PulledData:
    monkeypatch.setenv(VARIABLE, str(write(table, tmp_path / "reference.parquet")))
    since, until = window or (None, AS_OF)
    to = tmp_path / "reference-snapshot.parquet"
    return FileSource(tmp_path / "scratch").pull(spec(**changes), since, until, labelled=True, to=to)


def digest(pulled: PulledData) -> str:
    return hashlib.sha256(pulled.path.read_bytes()).hexdigest()


@pytest.mark.parametrize("window", [(None, AS_OF), (START + 30 * HOUR, START + 90 * HOUR)])
def test_postgresql_gives_the_bytes_that_files_give(
    pull: Pull, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postgres_server: PostgresServer, window: Any
) -> None:
    url = postgres_server.database("pulls")
    fill(url, applications())
    monkeypatch.setenv(VARIABLE, url)
    changes = {"source.columns.label_known_at": "settled_at", "source.label_delay": "3h"}
    pulled = pull(*window, **changes)
    assert digest(pulled) == digest(from_files(tmp_path, monkeypatch, applications(), *window, **changes))
    assert url not in pulled.query


def test_sqlite_with_text_times_gives_the_same_rows(
    pull: Pull, sqlite: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    window = (START + 30 * HOUR, START + 90 * HOUR)
    pulled = pull(*window)
    ours = pq.read_table(pulled.path)
    theirs = pq.read_table(from_files(tmp_path, monkeypatch, applications(), *window).path)
    assert ours.column("id") == theirs.column("id")
    assert ours.column("applied_at") == theirs.column("applied_at")
    assert ours.column("row_key") == theirs.column("row_key")
    assert ours.column("income") == theirs.column("income")


def test_times_written_with_a_t_are_read(pull: Pull, sqlite: str) -> None:
    engine = sa.create_engine(sqlite)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE applications SET applied_at = replace(applied_at, ' ', 'T')"))
    engine.dispose()
    until = START + 30 * HOUR
    assert pull(START + 10 * HOUR, until, **{"source.columns.known_at": None}).rows == 20


def test_chunks_do_not_show(pull: Pull, sqlite: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = digest(pull())
    monkeypatch.setattr(source_sql, "CHUNK", 7)
    assert digest(pull()) == whole


def test_a_column_that_is_null_at_first_gets_its_type_later(
    pull: Pull, sqlite: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_sql, "CHUNK", 50)
    engine = sa.create_engine(sqlite)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE applications SET income = NULL WHERE id <= 400"))
        connection.execute(sa.text("UPDATE applications SET gender = NULL"))
    engine.dispose()
    table = pq.read_table(pull().path)
    assert table.column("income").type == pa.float64()
    assert table.column("income").null_count >= 400
    assert table.column("gender").null_count == 600


def test_since_and_until_are_bound_in_the_query(pull: Pull, sqlite: str) -> None:
    query = "SELECT * FROM applications WHERE applied_at <= :until AND id % 2 = 0"
    ids = pq.read_table(pull(**{"source.query": query}).path).column("id").to_pylist()
    assert all(number % 2 == 0 for number in ids)
    assert len(ids) == 300


def test_values_are_bound_not_spliced(pull: Pull, sqlite: str) -> None:
    query = "SELECT * FROM applications WHERE region <> 'x'';--' ; "
    assert pull(**{"source.query": query}).rows == 600


def test_an_airflow_connection_is_resolved_by_who_knows_airflow(tmp_path: Path, sqlite: str) -> None:
    asked = []

    def resolve(name: str) -> str:
        asked.append(name)
        return sqlite

    source = SqlSource(tmp_path / "scratch", connection_url=resolve)
    changes = SQL | {"source.uri": "airflow://warehouse"}
    assert source.pull(spec(**changes), None, AS_OF, labelled=True, to=tmp_path / "x.parquet").rows == 600
    assert asked == ["warehouse"]
    with pytest.raises(SpecError, match="airflow:// needs Airflow"):
        SqlSource(tmp_path).pull(spec(**changes), None, AS_OF, labelled=True, to=tmp_path / "x.parquet")


def test_unusable_queries_are_explained(pull: Pull, sqlite: str) -> None:
    with pytest.raises(DataRejected, match=r"refuses source\.query: no such table: nowhere"):
        pull(**{"source.query": "SELECT * FROM nowhere"})
    columns = ", ".join(c.name for c in TABLE.columns if c.name != "income")
    with pytest.raises(DataRejected, match=r"no column 'income' \(source.features\): did you mean 'incomes'"):
        pull(**{"source.query": f"SELECT {columns}, income AS incomes FROM applications"})
    with pytest.raises(DataRejected, match="the query yields no row"):
        pull(**{"source.query": "SELECT * FROM applications WHERE 1 = 0"})
    with pytest.raises(DataRejected, match="none of 600 rows lies in the window up to the as-of time 2020"):
        pull(until=datetime(2020, 1, 1, tzinfo=UTC))
    with pytest.raises(DataRejected, match="lies before the first row"):
        pull(until=START - timedelta(hours=2))


def test_unusable_addresses_are_explained(pull: Pull, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "nodialect://user:hunter2@host/db")
    with pytest.raises(SpecError, match="no usable SQLAlchemy URL"):
        pull()
    monkeypatch.setenv(VARIABLE, "postgresql+psycopg://user:hunter2@127.0.0.1:1/db")
    with pytest.raises(InfrastructureError, match="the database does not answer") as caught:
        pull()
    assert "hunter2" not in str(caught.value)


def test_nothing_is_left_behind(pull: Pull, sqlite: str, tmp_path: Path) -> None:
    pull()
    assert list((tmp_path / "scratch").iterdir()) == []


def test_one_class_is_refused_as_from_files(pull: Pull, sqlite: str) -> None:
    with pytest.raises(DataRejected, match="one class only, '0'"):
        pull(**{"source.query": "SELECT * FROM applications WHERE defaulted = 0"})


@pytest.fixture
def ledger(postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[sa.Engine]:
    """A database whose user may do everything, with the applications, a table to harm and a counter to move."""
    url = postgres_server.database("kept")
    fill(url, applications())
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE precious (n bigint)"))
        connection.execute(sa.text("CREATE SEQUENCE counter"))
    monkeypatch.setenv(VARIABLE, url)
    yield engine
    engine.dispose()


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM applications) AS q; DROP TABLE precious; SELECT * FROM (SELECT 1 AS id",
        "SELECT * FROM applications) AS q; COMMIT; DROP TABLE precious; SELECT * FROM (SELECT 1 AS id",
        "SELECT *, nextval('counter') AS n FROM applications",
        "WITH gone AS (DROP TABLE precious) SELECT * FROM applications",
    ],
)
def test_a_query_cannot_write_even_where_its_user_may(pull: Pull, ledger: sa.Engine, query: str) -> None:
    with pytest.raises(DataRejected, match=r"the database refuses source\.query"):
        pull(**{"source.query": query})
    with ledger.begin() as connection:
        assert connection.execute(sa.text("SELECT count(*) FROM precious")).scalar() == 0
        assert connection.execute(sa.text("SELECT nextval('counter')")).scalar() == 1


def test_sqlite_cannot_be_written_either(pull: Pull, sqlite: str) -> None:
    for query in (
        "DELETE FROM applications RETURNING *",
        "SELECT * FROM applications) AS q; DELETE FROM applications --",
    ):
        with pytest.raises(DataRejected, match=r"source\.query"):
            pull(**{"source.query": query})
    pull()
