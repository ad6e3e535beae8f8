"""``gauntlet drift``: any two files, without a spec or a store."""

from __future__ import annotations

import html
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from gauntlet.cli.app import app
from gauntlet.cli.console import DONE, REJECTED
from gauntlet.core.outcome import Outcome
from gauntlet.core.records.drift import DriftAction, DriftReport


def table(seed: int, shift: float = 0.0) -> pa.Table:
    rng = np.random.default_rng(seed)
    return pa.table({"income": rng.normal(shift, 1, 3000), "region": rng.choice(["north", "south"], 3000)})


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """A reference, a calm window as CSV, and a window that moved."""
    paths = {name: tmp_path / name for name in ("reference.parquet", "calm.csv", "moved.parquet")}
    pq.write_table(table(1), paths["reference.parquet"])
    pa.csv.write_csv(table(2), paths["calm.csv"])
    pq.write_table(table(3, 1.0), paths["moved.parquet"])
    return paths


def drift(files: dict[str, Path], current: str, *options: str):
    return CliRunner().invoke(app, ["drift", str(files["reference.parquet"]), str(files[current]), *options])


@pytest.mark.parametrize("options", [(), ("--exact",)])
def test_calm_files_end_well_and_moved_ones_do_not(files: dict[str, Path], options: tuple[str, ...]) -> None:
    calm, moved = drift(files, "calm.csv", *options), drift(files, "moved.parquet", *options)
    assert calm.exit_code == DONE, calm.output
    assert moved.exit_code == REJECTED
    assert "income" in moved.stdout
    assert "retrain: " in moved.stdout


def test_the_page_and_the_json_are_written(files: dict[str, Path], tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    result = drift(files, "moved.parquet", "--json", "--html", str(page))
    report = DriftReport.model_validate_json(result.stdout)
    assert report.carried_by == ("income",)
    assert "moved.parquet against reference.parquet" in page.read_text(encoding="utf-8")


@pytest.fixture
def wide(tmp_path: Path) -> dict[str, Path]:
    """Two files that are calm in what can be compared, and differ in which columns they have."""
    rows = 3000
    nested = pa.array([[1]] * rows)
    tags, photo = pa.array([{"a": 1}] * rows), pa.array([b"x"] * rows, pa.binary())
    before = table(1).append_column("basket", nested).append_column("photo", photo).append_column("gone", nested)
    before = before.append_column("unpacked", nested)
    after = table(2).append_column("basket", nested).append_column("photo", photo).append_column("tags", tags)
    after = after.append_column("score", pa.array(np.zeros(rows))).append_column("unpacked", pa.array([1] * rows))
    paths = {name: tmp_path / name for name in ("reference.parquet", "wide.parquet")}
    pq.write_table(before, paths["reference.parquet"])
    pq.write_table(after, paths["wide.parquet"])
    return paths


NOT_COMPARED = ("basket", "photo")
FOUND = {
    "gone": "gone: only the reference has it (list<element: int64>)",
    "tags": "tags: only the current file has it (struct<a: int64>)",
    "score": "score: only the current file has it (double)",
    "unpacked": "unpacked: list<element: int64> became integer",
}


def test_nothing_is_left_out_in_silence(wide: dict[str, Path], tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    told = drift(wide, "wide.parquet", "--html", str(page))
    assert told.exit_code == REJECTED, told.output
    for column in NOT_COMPARED:
        assert f"not compared: {column}: " in told.stdout
        assert f"<td>{column}</td>" in page.read_text(encoding="utf-8")
    for sentence in FOUND.values():
        assert sentence in told.stdout
        assert html.escape(sentence) in page.read_text(encoding="utf-8")


def test_what_is_not_compared_is_in_the_json(wide: dict[str, Path]) -> None:
    report = DriftReport.model_validate_json(drift(wide, "wide.parquet", "--json").stdout)
    assert tuple(one.column for one in report.left_out) == NOT_COMPARED
    assert {one.feature: one.sentence for one in report.features if one.outcome is Outcome.FAILED} == FOUND
    assert report.action is DriftAction.INVESTIGATE
    assert set(report.carried_by) <= set(FOUND)


def test_what_is_left_out_on_demand_is_told_and_no_finding(wide: dict[str, Path]) -> None:
    options = [word for name in FOUND for word in ("--exclude", name)]
    told = drift(wide, "wide.parquet", *options)
    assert told.exit_code == DONE, told.output
    for column in FOUND:
        assert f"not compared: {column}: left out on demand" in told.stdout


def test_files_with_nothing_to_compare_say_why(tmp_path: Path) -> None:
    path = tmp_path / "reference.parquet"
    pq.write_table(pa.table({"basket": [[1], [2]]}), path)
    told = drift({"reference.parquet": path}, "reference.parquet")
    assert told.exit_code == REJECTED
    assert "no column that can be compared: basket is list<element: int64>" in told.output


def test_a_column_can_be_left_out(files: dict[str, Path]) -> None:
    result = drift(files, "moved.parquet", "--exclude", "income")
    assert result.exit_code == DONE, result.output
    assert not any(line.startswith("income") for line in result.stdout.splitlines())


def test_progress_is_shown_on_the_way(files: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.progress import Progress

    seen: list[tuple[float | None, float | None, str | None]] = []

    def told(self: Progress, task: object, **state: object) -> None:
        seen.append((state.get("completed"), state.get("total"), state.get("description")))

    monkeypatch.setattr(Progress, "update", told)
    drift(files, "calm.csv")
    assert seen == [(0, 4, "income"), (1, 4, "region"), (2, 4, ""), (2, 4, "income"), (3, 4, "region"), (4, 4, "")]


def test_a_file_that_is_not_there_is_named(files: dict[str, Path], tmp_path: Path) -> None:
    files["gone.parquet"] = tmp_path / "gone.parquet"
    result = drift(files, "gone.parquet")
    assert "gone.parquet: no such file" in result.output


def test_a_column_that_is_to_be_left_out_must_be_there(files: dict[str, Path]) -> None:
    result = drift(files, "calm.csv", "--exclude", "incme")
    assert result.exit_code == REJECTED
    assert "no column incme to leave out" in result.output
