"""What every kind of source must do alike: the same rows as known at the same time, canonical, or a reason."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
from tests.adapters.data.applications import AS_OF, HOUR, START, applications, replace, spec, write

from gauntlet.adapters.sources import SOURCES, Reading, open_source
from gauntlet.core.errors import DataRejected
from gauntlet.core.ports import PulledData

VARIABLE = "GAUNTLET_TEST_SOURCE"
Setup = Callable[[pa.Table, Path], tuple[str, dict[str, Any]]]
Pull = Callable[..., PulledData]


def _files(table: pa.Table, folder: Path) -> tuple[str, dict[str, Any]]:
    return str(write(table, folder / "source.parquet")), {}


def _sql(table: pa.Table, folder: Path) -> tuple[str, dict[str, Any]]:
    url = f"sqlite:///{folder}/source.db"
    kinds = {pa.float64(): sa.Double, pa.int64(): sa.BigInteger, pa.bool_(): sa.Boolean, pa.string(): sa.String}
    columns = [sa.Column(f.name, kinds.get(f.type, sa.DateTime)()) for f in table.schema]
    stored = sa.Table("applications", sa.MetaData(), *columns)
    engine = sa.create_engine(url)
    stored.drop(engine, checkfirst=True)
    stored.create(engine)
    with engine.begin() as connection:
        if table.num_rows:
            connection.execute(stored.insert(), table.to_pylist())
    engine.dispose()
    return url, {"source.kind": "sql", "source.query": "SELECT * FROM applications"}


SETUPS: Mapping[str, Setup] = {"files": _files, "sql": _sql}
"""How a table becomes a source of each kind: its address, and what the spec says beside it."""


@pytest.fixture(params=SETUPS)
def pull(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pull:
    """Pull from a table that is put where this kind of source reads."""

    def pull(
        table: pa.Table, since: datetime | None = None, until: datetime = AS_OF, labelled: bool = True, **changes: Any
    ) -> PulledData:
        address, said = SETUPS[request.param](table, tmp_path)
        monkeypatch.setenv(VARIABLE, address)
        source = open_source(request.param, Reading(tmp_path / "scratch", memory_mb=256, threads=2))
        return source.pull(spec(**said, **changes), since, until, labelled=labelled, to=tmp_path / "snapshot.parquet")

    return pull


def read(pulled: PulledData) -> pa.Table:
    return pq.read_table(pulled.path, page_checksum_verification=True)


def ids(pulled: PulledData) -> list[int]:
    found: list[int] = read(pulled)["id"].to_pylist()
    return found


def digest(pulled: PulledData) -> str:
    return hashlib.sha256(pulled.path.read_bytes()).hexdigest()


def test_every_kind_is_tried() -> None:
    assert set(SETUPS) == set(SOURCES)


def test_only_what_was_known_is_read(pull: Pull) -> None:
    pulled = pull(applications(), until=START + 20 * HOUR)
    table = read(pulled)
    assert ids(pulled) == list(range(1, 21))
    assert max(table["loaded_at"].to_pylist()) <= START + 20 * HOUR
    assert (pulled.rows, pulled.last_event) == (20, START + 19 * HOUR)


def test_a_row_that_came_late_is_there_from_when_it_came(pull: Pull) -> None:
    table = applications()
    known = table["loaded_at"].to_pylist()
    known[4] = START + 300 * HOUR
    late = replace(table, {"loaded_at": pa.array(known, table.schema.field("loaded_at").type)})
    assert 5 not in ids(pull(late, until=START + 299 * HOUR))
    assert 5 in ids(pull(late, until=START + 300 * HOUR))


def test_the_window_is_open_at_its_start_and_closed_at_its_end(pull: Pull) -> None:
    window = {"since": START + 10 * HOUR, "until": START + 20 * HOUR, "source.columns.known_at": None}
    assert ids(pull(applications(), **window)) == list(range(12, 22))


def test_labels_count_once_they_are_known(pull: Pull) -> None:
    changes = {"source.columns.label_known_at": "settled_at"}
    until = START + 200 * HOUR
    assert ids(pull(applications(), until=until, **changes))[-1] == 153
    unlabelled = read(pull(applications(), until=until, labelled=False, **changes))
    assert unlabelled["id"].to_pylist()[-1] == 200
    assert None not in unlabelled["defaulted"].to_pylist()[:153]
    assert set(unlabelled["defaulted"].to_pylist()[153:]) == {None}


def test_the_same_rows_are_the_same_bytes_in_whatever_order_they_lie(pull: Pull) -> None:
    table = applications()
    backwards = table.take(pa.array(range(table.num_rows - 1, -1, -1)))
    assert digest(pull(table)) == digest(pull(backwards))


def test_a_key_that_comes_twice_is_two_rows_with_one_key(pull: Pull) -> None:
    table = applications()
    twice = replace(table, {"id": pa.array([1, *table["id"].to_pylist()[:-1]], pa.int64())})
    found = read(pull(twice))
    assert found.num_rows == 600
    assert found["row_key"].to_pylist()[0] == found["row_key"].to_pylist()[1]


def test_what_is_missing_or_empty_is_said(pull: Pull) -> None:
    with pytest.raises(DataRejected, match=r"no column 'income' \(source\.features\)"):
        pull(applications().drop(["income"]))
    with pytest.raises(DataRejected, match="as-of time 2020"):
        pull(applications(), until=datetime(2020, 1, 1, tzinfo=UTC))
    with pytest.raises(DataRejected):
        pull(applications().slice(0, 0))


def test_nothing_is_left_behind(pull: Pull, tmp_path: Path) -> None:
    pull(applications())
    assert list((tmp_path / "scratch").iterdir()) == []
