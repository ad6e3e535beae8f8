"""``gauntlet drift``: any two files, without a spec or a store."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from gauntlet.cli.app import app
from gauntlet.cli.console import DONE, REJECTED
from gauntlet.core.records.drift import DriftReport


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


def test_a_column_can_be_left_out(files: dict[str, Path]) -> None:
    result = drift(files, "moved.parquet", "--exclude", "income")
    assert result.exit_code == DONE, result.output
    assert "income" not in result.stdout


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
