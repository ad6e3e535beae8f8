"""Snapshots from files: point in time, canonical bytes, and what is said when the input is bad."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.adapters.data.applications import AS_OF, HOUR, START, applications, replace, spec, write

from gauntlet.adapters.environment import expand
from gauntlet.adapters.source_files import FileSource
from gauntlet.adapters.sources import SOURCES, Reading, all_sources, open_source
from gauntlet.core.errors import DataRejected, InfrastructureError, SpecError
from gauntlet.core.ports import PulledData
from gauntlet.core.specs.source import SourceSection

VARIABLE = "GAUNTLET_TEST_SOURCE"
Pull = Callable[..., PulledData]


@pytest.fixture
def pull(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pull:
    """Pull from a table, or from an address."""

    def pull(
        source: pa.Table | str,
        since: datetime | None = None,
        until: datetime = AS_OF,
        labelled: bool = True,
        suffix: str = ".parquet",
        **changes: Any,
    ) -> PulledData:
        address = source if isinstance(source, str) else str(write(source, tmp_path / f"source{suffix}"))
        monkeypatch.setenv(VARIABLE, address)
        reader = FileSource(tmp_path / "scratch", memory_mb=256, threads=2)
        return reader.pull(spec(**changes), since, until, labelled=labelled, to=tmp_path / "snapshot.parquet")

    return pull


def digest(pulled: PulledData) -> str:
    return hashlib.sha256(pulled.path.read_bytes()).hexdigest()


def read(pulled: PulledData) -> pa.Table:
    return pq.read_table(pulled.path, page_checksum_verification=True)


# ---- what is pulled --------------------------------------------------------------------------------


def test_holds_needed_columns_sorted_by_time_then_key(pull: Pull) -> None:
    pulled = pull(applications())
    table = read(pulled)
    assert table.column_names == list(pulled.columns)
    assert table.column_names[0] == "row_key"
    assert "unused" not in table.column_names
    assert "unused" in pulled.source_columns
    times = table.column("applied_at").to_pylist()
    assert times == sorted(times)
    assert table.schema.field("row_key").type == pa.uint64()
    assert table.schema.field("applied_at").type == pa.timestamp("us", tz="UTC")
    assert (pulled.first_event, pulled.last_event) == (times[0], times[-1])
    assert pulled.rows == table.num_rows == 600


def test_window_is_open_at_its_start_and_closed_at_its_end(pull: Pull) -> None:
    pulled = pull(applications(), since=START + 10 * HOUR, until=START + 20 * HOUR, **{"source.columns.known_at": None})
    assert read(pulled).column("id").to_pylist() == list(range(12, 22))


def test_rows_known_after_the_as_of_time_are_not_read(pull: Pull) -> None:
    pulled = pull(applications(), until=START + 20 * HOUR)
    assert read(pulled).column("id").to_pylist()[-1] == 20
    assert read(pulled).column("loaded_at").to_pylist()[-1] == START + 20 * HOUR


def test_a_label_counts_once_its_row_is_old_enough(pull: Pull) -> None:
    pulled = pull(applications(), until=START + 200 * HOUR, **{"source.label_delay": "5d"})
    assert read(pulled).column("id").to_pylist()[-1] == 81


def test_a_label_counts_once_it_is_known(pull: Pull) -> None:
    pulled = pull(applications(), until=START + 200 * HOUR, **{"source.columns.label_known_at": "settled_at"})
    assert read(pulled).column("id").to_pylist()[-1] == 153


def test_without_labels_later_ones_are_not_seen(pull: Pull) -> None:
    pulled = pull(applications(), until=START + 200 * HOUR, labelled=False, **{"source.label_delay": "5d"})
    labels = read(pulled).column("defaulted").to_pylist()
    assert len(labels) == 200
    assert None not in labels[:81]
    assert labels[81:] == [None] * 119


def test_without_labels_the_column_may_be_missing(pull: Pull) -> None:
    pulled = pull(applications().drop(["defaulted"]), labelled=False)
    assert "defaulted" not in pulled.columns


def test_rows_without_label_are_left_out(pull: Pull) -> None:
    labels = applications().column("defaulted").to_pylist()
    labels[3] = None
    pulled = pull(replace(applications(), {"defaulted": pa.array(labels, pa.int64())}))
    assert 4 not in read(pulled).column("id").to_pylist()


def test_nan_is_null(pull: Pull) -> None:
    pulled = pull(replace(applications(), {"amount": [float("nan")] * 5 + [1.0] * 595}))
    assert read(pulled).column("amount").null_count == 5


def test_naive_times_are_utc(pull: Pull) -> None:
    naive = applications().column("applied_at").cast(pa.timestamp("us"))
    aware = pull(applications())
    assert read(pull(replace(applications(), {"applied_at": naive}))).column("applied_at") == read(aware).column(
        "applied_at"
    )


def test_columns_only_the_contract_names_are_pulled(pull: Pull) -> None:
    assert "unused" in pull(applications(), **{"contract.columns": {"unused": {"type": "number"}, "gone": {}}}).columns


def test_derived_columns_serve_as_any_other(pull: Pull) -> None:
    table = applications()
    split = replace(
        table,
        {
            "day": table.column("applied_at").cast(pa.timestamp("us")).cast(pa.date32()),
            "hour": [i % 24 for i in range(600)],
        },
    ).drop(["applied_at"])
    changes = {"source.derive": {"applied_at": "day + to_hours(hour)"}}
    assert read(pull(split, **changes)).column("applied_at") == read(pull(table)).column("applied_at")


# ---- labels ----------------------------------------------------------------------------------------


def test_positive_names_the_class_that_is_one(pull: Pull) -> None:
    words = ["bad" if value else "good" for value in applications().column("defaulted").to_pylist()]
    pulled = pull(replace(applications(), {"defaulted": words}), **{"source.positive": "bad"})
    assert read(pulled).column("defaulted").to_pylist() == applications().column("defaulted").to_pylist()


@pytest.mark.parametrize("kind", [pa.bool_(), pa.float64(), pa.int8()])
def test_zero_and_one_come_in_any_type(pull: Pull, kind: pa.DataType) -> None:
    labels = applications().column("defaulted").cast(kind)
    table = read(pull(replace(applications(), {"defaulted": labels})))
    assert table.schema.field("defaulted").type == pa.int8()
    assert table.column("defaulted").to_pylist() == applications().column("defaulted").to_pylist()


def test_classes_are_coded_in_the_order_of_their_names(pull: Pull) -> None:
    regions = applications().column("region")
    changes = {"task": "multiclass", "source.features.categorical": None, "source.columns.label": "region"}
    pulled = pull(applications(), **changes)
    assert pulled.classes == ("east", "north", "south")
    codes = read(pulled).column("region").to_pylist()
    assert [pulled.classes[code] for code in codes] == regions.to_pylist()


def test_declared_classes_keep_their_code_when_one_is_absent(pull: Pull) -> None:
    declared = ["west", "north", "south", "east"]
    changes = {"task": "multiclass", "source.features.categorical": None, "source.columns.label": "region"}
    assert pull(applications(), **changes, **{"source.classes": declared}).classes == tuple(sorted(declared))
    with pytest.raises(DataRejected, match=r"source\.classes does not name: \['east'\]"):
        pull(applications(), **changes, **{"source.classes": declared[:3]})


# ---- the same rows, the same bytes ------------------------------------------------------------------


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**31), parts=st.integers(1, 4), keyed=st.booleans())
def test_bytes_do_not_depend_on_order_or_layout(
    pull: Pull, tmp_path_factory: pytest.TempPathFactory, seed: int, parts: int, keyed: bool
) -> None:
    changes: dict[str, Any] = {} if keyed else {"source.columns.key": None}
    table = applications(120)
    table = pa.concat_tables([table, table.slice(0, 3)])
    order = np.random.default_rng(seed).permutation(table.num_rows)
    folder = tmp_path_factory.mktemp("layout")
    for index, rows in enumerate(np.array_split(order, parts)):
        write(table.take(pa.array(rows)), folder / f"part-{index}.parquet")
    whole = digest(pull(table, **changes))
    assert digest(pull(str(folder), **changes)) == whole


def test_bytes_do_not_depend_on_order_when_a_key_comes_twice(pull: Pull) -> None:
    table = replace(applications(40), {"id": [1] * 40, "applied_at": [START] * 40})
    once = digest(pull(table))
    assert digest(pull(table.take(pa.array(range(39, -1, -1))))) == once


def test_csv_and_parquet_give_the_same_bytes(pull: Pull) -> None:
    assert digest(pull(applications(), suffix=".csv")) == digest(pull(applications()))


def test_a_type_that_shows_late_in_a_csv_is_seen(pull: Pull, tmp_path: Path) -> None:
    lines = ["id,customer,applied_at,loaded_at,income,amount,open_loans,employed,region,gender,defaulted"]
    lines += [f"{i},c{i},2026-01-01,2026-01-01,{i},1,0,true,north,f,{i % 2}" for i in range(30_000)]
    lines[-1] = lines[-1].replace(",29999,1", ",29999.5,1")
    path = tmp_path / "late.csv"
    path.write_text("\n".join(lines) + "\n")
    assert read(pull(str(path))).column("income").to_pylist().count(29999.5) == 1


# ---- where files are -------------------------------------------------------------------------------


def test_glob_folder_and_url_read_the_same(pull: Pull, tmp_path: Path) -> None:
    table = applications()
    folder = tmp_path / "many"
    write(table.slice(0, 300), folder / "a" / "1.parquet")
    write(table.slice(300), folder / "b" / "2.parquet")
    (folder / "_SUCCESS").write_text("")
    one = digest(pull(table))
    assert digest(pull(str(folder))) == one
    assert digest(pull(f"{folder}/*/*.parquet")) == one
    assert digest(pull(f"file://{folder}")) == one


def test_fsspec_urls_are_read(pull: Pull, tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    local = write(applications(), tmp_path / "x.parquet")
    memory.pipe_file("/lake/x.parquet", local.read_bytes())
    try:
        one = digest(pull(applications()))
        assert digest(pull("memory://lake/x.parquet")) == one
        assert digest(pull("memory://lake/*.parquet")) == one
        assert digest(pull("memory://lake")) == one
        with pytest.raises(DataRejected, match="no CSV or Parquet file"):
            pull("memory://lake/*.csv")
    finally:
        memory.rm("/lake", recursive=True)


class Bucket(fsspec.AbstractFileSystem):
    """An object store in memory under ``s3://``: keys without a leading slash, no times of change."""

    protocol = ("s3", "s3a")
    objects: ClassVar[dict[str, bytes]] = {}
    down = False

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        base = self._strip_protocol(path).rstrip("/")
        if base in self.objects:
            return [{"name": base, "size": len(self.objects[base]), "type": "file"}]
        below = [name for name in self.objects if name.startswith(f"{base}/")]
        if not below:
            raise FileNotFoundError(path)
        return [{"name": name, "size": len(self.objects[name]), "type": "file"} for name in below]

    def _open(self, path: str, mode: str = "rb", **_: Any) -> io.BytesIO:
        if self.down:
            raise TimeoutError("read timed out")
        return io.BytesIO(self.objects[self._strip_protocol(path)])


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_object_stores_are_read(pull: Pull, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    monkeypatch.setitem(import_module("fsspec.registry")._registry, "s3", Bucket)
    one = digest(pull(applications()))
    local = write(applications(), tmp_path / f"x{suffix}")
    monkeypatch.setitem(Bucket.objects, f"lake/day/x{suffix}", local.read_bytes())
    for address in (f"s3://lake/day/x{suffix}", f"s3://lake/day/*{suffix}", "s3://lake/day"):
        assert digest(pull(address)) == one
    monkeypatch.setattr(Bucket, "down", True)
    with pytest.raises(InfrastructureError, match="read timed out"):
        pull(f"s3://lake/day/x{suffix}")


def test_no_other_file_can_be_read(pull: Pull, tmp_path: Path) -> None:
    write(applications(), tmp_path / "secret.csv")
    with pytest.raises(SpecError, match="read_csv"):
        pull(applications(), **{"source.derive": {"x": f"read_csv('{tmp_path}/secret.csv')"}})


def test_nothing_is_left_behind(pull: Pull, tmp_path: Path) -> None:
    pull(applications(), suffix=".csv")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scratch", "snapshot.parquet", "source.csv"]
    assert list((tmp_path / "scratch").iterdir()) == []


# ---- bad input -------------------------------------------------------------------------------------


def test_missing_variable_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(SpecError, match=rf"loans: source\.uri needs the environment variable {VARIABLE}"):
        FileSource(tmp_path).pull(spec(), None, AS_OF, labelled=True, to=tmp_path / "x")


def test_a_variable_is_shown_by_name_never_by_value(pull: Pull, tmp_path: Path) -> None:
    assert expand("m", "s3://${A}/${B}", {"A": "x", "B": "y"}) == "s3://x/y"
    assert str(tmp_path) not in pull(applications()).query


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("gone.parquet", "does not exist"),
        ("*.parquet", "no CSV or Parquet file: glob .* holds nothing"),
        ("empty", "no CSV or Parquet file: folder .* holds 1 other files"),
        ("mixed", "CSV and Parquet files are mixed"),
        ("damaged.parquet", "cannot be read"),
    ],
)
def test_unusable_addresses_are_explained(pull: Pull, tmp_path: Path, address: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("")
    write(applications(5), tmp_path / "mixed" / "a.csv")
    write(applications(5), tmp_path / "mixed" / "b.parquet")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "damaged.parquet").write_bytes(b"PAR1 this is no Parquet file")
    base = tmp_path / "other" if address == "damaged.parquet" else tmp_path
    with pytest.raises(DataRejected, match=message):
        pull(str(base / address))


def test_missing_column_has_a_hint(pull: Pull) -> None:
    with pytest.raises(DataRejected, match=r"no column 'income' \(source\.features\): did you mean 'incom'"):
        pull(applications().rename_columns(["incom" if n == "income" else n for n in applications().column_names]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"defaulted": [0] * 600}, "one class only, '0', in 600 rows"),
        ({"defaulted": [2, 1] * 300}, r"not 0/1 but '1', '2'; say which value .* source\.positive"),
        ({"defaulted": pa.nulls(600, pa.int64())}, "0 of 600 rows have a label"),
        ({"applied_at": ["soon"] * 600}, "'applied_at': 600 of 600 values cannot be read as a time"),
        ({"applied_at": list(range(600))}, "'applied_at' is BIGINT, not a time: compute one with source.derive"),
        ({"applied_at": [None, *[START] * 599]}, "'applied_at' .* is null in 1 of 600"),
        ({"region": [[1]] * 600}, r"'region' has type BIGINT\[\]"),
        ({"row_key": [1] * 600}, "'row_key' is reserved"),
    ],
)
def test_unusable_columns_are_explained(pull: Pull, change: dict[str, Any], message: str) -> None:
    with pytest.raises(DataRejected, match=message):
        pull(replace(applications(), change))


def test_positive_must_occur_and_be_one_of_two(pull: Pull) -> None:
    words = replace(applications(), {"defaulted": ["yes", "no"] * 300})
    with pytest.raises(DataRejected, match=r"'oui' is no value of .*: 'no', 'yes'"):
        pull(words, **{"source.positive": "oui"})
    with pytest.raises(DataRejected, match="two values, but"):
        pull(replace(applications(), {"defaulted": ["yes", "no", "?"] * 200}), **{"source.positive": "yes"})


def test_constant_regression_label_is_refused(pull: Pull) -> None:
    changes = {"task": "regression", "source.columns.label": "amount", "source.features.numeric": ["income"]}
    with pytest.raises(DataRejected, match=r"'amount' is 1\.0 in every row"):
        pull(replace(applications(), {"amount": [1.0] * 600}), **changes)
    with pytest.raises(DataRejected, match="'amount': 600 of 600 values cannot be read as a number"):
        pull(replace(applications(), {"amount": ["much"] * 600}), **changes)


def test_no_row_left_says_why(pull: Pull) -> None:
    table = applications()
    with pytest.raises(DataRejected, match="the table is empty"):
        pull(table.slice(0, 0))
    with pytest.raises(DataRejected, match=r"the as-of time 2025-12-01.* lies before the first row, 2026-01-01"):
        pull(table, until=datetime(2025, 12, 1, tzinfo=UTC))
    with pytest.raises(DataRejected, match=r"0 of 600 rows lie in the window; the window is \(2027-.*rows go from"):
        pull(table, since=datetime(2027, 1, 1, tzinfo=UTC), until=datetime(2027, 2, 1, tzinfo=UTC))
    with pytest.raises(DataRejected, match="have a mature label"):
        pull(table, until=START + 20 * HOUR, **{"source.label_delay": "30d"})
    with pytest.raises(DataRejected, match="were known at the as-of time"):
        pull(table, until=START + timedelta(minutes=30))


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("random()", "function 'random' is not allowed"),
        ("now()", "function 'now' is not allowed"),
        ("sum(amount)", "function 'sum' is not allowed"),
        ("(SELECT 1)", "cannot hold a subquery"),
        ("row_number() OVER ()", "cannot hold a window"),
        ("amount; SELECT 1", "one expression"),
        ("amount AS other", "one expression"),
        ("amount FROM source", "one expression"),
        ("amont * 2", "no column 'amont': did you mean 'amount'"),
        ("amount +", "is no SQL expression"),
        ("*", "cannot hold a star"),
    ],
)
def test_computed_columns_are_confined_to_their_row(pull: Pull, expression: str, message: str) -> None:
    with pytest.raises(SpecError, match=rf"source\.derive\.computed: .*{message}"):
        pull(applications(), **{"source.derive": {"computed": expression}})


def test_a_computed_column_cannot_hide_a_real_one(pull: Pull) -> None:
    with pytest.raises(SpecError, match="already has a column"):
        pull(applications(), **{"source.derive": {"amount": "income"}})


# ---- the registry ----------------------------------------------------------------------------------


def test_every_kind_of_the_spec_is_registered(tmp_path: Path) -> None:
    assert set(SOURCES) == set(SourceSection.model_fields["kind"].annotation.__args__)
    assert set(all_sources(Reading(tmp_path))) == set(SOURCES)
    with pytest.raises(SpecError, match="unknown source kind 'file': did you mean 'files'"):
        open_source("file", Reading(tmp_path))


@pytest.mark.soak
def test_a_million_wide_rows_fit_into_a_small_memory(pull: Pull, tmp_path: Path) -> None:
    """Nearly twice the data that DuckDB may hold: sorted on disk, and the same bytes as with plenty."""
    rows = 1_000_000
    rng = np.random.default_rng(0)
    table = applications(600).take(pa.array(np.arange(rows) % 600))
    wide = {f"x{i}": rng.normal(size=rows) for i in range(40)}
    table = replace(table, {"id": rng.permutation(rows), **wide})
    path = write(table, tmp_path / "wide.parquet")
    changes = {"source.features.numeric": ["income", "amount", *wide], "source.uri": str(path)}
    digests = set()
    for memory_mb in (200, 2_000):
        reader = FileSource(tmp_path / "scratch", memory_mb=memory_mb, threads=2)
        to = tmp_path / f"{memory_mb}.parquet"
        assert reader.pull(spec(**changes), None, AS_OF, labelled=True, to=to).rows == rows
        digests.add(hashlib.sha256(to.read_bytes()).hexdigest())
    assert len(digests) == 1
