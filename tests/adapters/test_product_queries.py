"""Product queries: bound parameters, one SELECT, and no way to write or to reach anything else."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
import sqlalchemy as sa
from tests.conftest import PostgresServer

from gauntlet.adapters.product_queries import ProductQueries
from gauntlet.core.errors import DataRejected, SpecError
from gauntlet.core.live.products import values_of_keys

SINCE = datetime(2026, 3, 1, tzinfo=UTC)
BOUND = {"since": SINCE, "until": datetime(2026, 3, 2, tzinfo=UTC), "rollout": "r'; DROP TABLE orders; --"}
REQUESTS = pa.table({
    "request_id": ["a", "b", "c"],
    "entity": ["x", "y", "x"],
    "arm": ["canary", "stable", "canary"],
    "score": [0.1, 0.2, 0.3],
    "other_score": [0.1, 0.2, 0.3],
    "status": ["ok", "ok", "ok"],
})


@pytest.fixture
def queries(tmp_path: Path) -> ProductQueries:
    return ProductQueries(tmp_path / "scratch")


@pytest.fixture
def database(tmp_path: Path) -> str:
    path = tmp_path / "shop.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE orders (entity TEXT, price REAL, placed_at TEXT)")
        rows = [
            ("x", 5.0, "2026-03-01 10:00:00+00:00"),
            ("x", 2.0, "2026-03-01 11:00:00+00:00"),
            ("y", 9.0, "2026-02-01"),
        ]
        connection.executemany("INSERT INTO orders VALUES (?, ?, ?)", rows)
    connection.close()
    return f"sqlite:///{path}"


def orders(database: str) -> int:
    connection = sqlite3.connect(database.removeprefix("sqlite:///"))
    count = connection.execute("SELECT count(*) FROM orders").fetchone()[0]
    connection.close()
    return int(count)


def test_requests_are_a_table_and_parameters_are_bound(queries: ProductQueries) -> None:
    sql = "SELECT request_id, score AS value FROM requests WHERE score > 0.15 AND :rollout LIKE '%DROP%'"
    found = queries.on_requests(sql, BOUND, REQUESTS)
    assert found.to_pydict() == {"request_id": ["b", "c"], "value": [0.2, 0.3]}


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM '/etc/passwd'",
        "COPY requests TO '/tmp/requests.csv'",
        "CREATE TABLE mine AS SELECT 1",
        "SELECT 1 AS value; SELECT 2 AS value",
        "SELECT request_id FROM nowhere",
        "SELECT :nobody AS value",
        "SET threads = 1",
    ],
)
def test_nothing_but_one_select_over_requests(queries: ProductQueries, sql: str) -> None:
    with pytest.raises(DataRejected, match="sql:"):
        queries.on_requests(sql, BOUND, REQUESTS)


def test_a_database_is_asked_with_the_stages_times(queries: ProductQueries, database: str) -> None:
    sql = "SELECT entity, price AS value FROM orders WHERE placed_at > :since AND placed_at <= :until;"
    found = queries.on_database("m", database, sql, BOUND)
    assert found.to_pydict() == {"entity": ["x", "x"], "value": [5.0, 2.0]}
    values = values_of_keys(REQUESTS, found, missing=0.0)
    assert values.canary[[0, 2]].tolist() == [7.0, 7.0]
    assert values.stable[[1]].tolist() == [0.0]


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM orders RETURNING entity, price AS value",
        "INSERT INTO orders VALUES ('z', 1, '') RETURNING entity, price AS value",
        "DELETE FROM orders",
        "SELECT entity FROM order",
    ],
)
def test_a_database_cannot_be_written(queries: ProductQueries, database: str, sql: str) -> None:
    with pytest.raises(DataRejected, match="sql:"):
        queries.on_database("m", database, sql, BOUND)
    assert orders(database) == 3


@pytest.mark.parametrize("uri", ["oracle://nowhere", "no url", "airflow://warehouse"])
def test_an_address_that_cannot_be_used_is_said(queries: ProductQueries, uri: str) -> None:
    with pytest.raises(SpecError, match=r"m: rollout\.metrics"):
        queries.on_database("m", uri, "SELECT 1", BOUND)


def test_a_query_must_say_whose_value_it_gives() -> None:
    with pytest.raises(ValueError, match="must give request_id or entity, and value; it gives price"):
        values_of_keys(REQUESTS, pa.table({"price": [1.0]}), None)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1 AS value; COMMIT; DROP TABLE orders",
        "SELECT nextval('counter') AS value",
        "WITH gone AS (DELETE FROM orders RETURNING 1) SELECT count(*) AS value FROM gone",
        "DROP TABLE orders",
    ],
)
def test_postgresql_cannot_be_written_even_where_its_user_may(
    queries: ProductQueries, postgres_server: PostgresServer, sql: str
) -> None:
    url = postgres_server.database("shop")
    engine = sa.create_engine(url)
    try:
        with engine.begin() as connection:
            connection.execute(sa.text("CREATE TABLE orders AS SELECT 1 AS price"))
            connection.execute(sa.text("CREATE SEQUENCE counter"))
        with pytest.raises(DataRejected, match="sql: the database refuses it"):
            queries.on_database("m", url, sql, {})
        with engine.begin() as connection:
            assert connection.execute(sa.text("SELECT count(*) FROM orders")).scalar() == 1
            assert connection.execute(sa.text("SELECT nextval('counter')")).scalar() == 1
    finally:
        engine.dispose()
