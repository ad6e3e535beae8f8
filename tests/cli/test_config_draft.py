"""``gauntlet config draft``: a table nobody has described becomes a spec that can be run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from gauntlet.cli.app import app
from gauntlet.cli.console import REJECTED, USAGE
from gauntlet.core.gates.catalogue import GATES
from gauntlet.core.records.model import Task
from gauntlet.core.spec import ModelSpec, load_spec

ROWS = 900


def table() -> pd.DataFrame:
    """One column of each kind that a person meets, odd ones included."""
    rng = np.random.default_rng(3)
    return pd.DataFrame({
        "id": np.arange(ROWS),
        "seen at": pd.Timestamp("2026-01-01") + pd.to_timedelta(np.arange(ROWS), unit="min"),
        "age": rng.integers(18, 80, ROWS),
        "balance": rng.normal(0, 100, ROWS),
        "income": np.where(rng.random(ROWS) < 0.1, np.nan, rng.lognormal(7, 1, ROWS)),
        "plan": rng.choice(["yes", "no", "1e3", 'q"uote', "ü: x"], ROWS),
        "member": rng.random(ROWS) < 0.5,
        "note": [f"free text {i}" for i in range(ROWS)],
        "same": 1,
        "empty": np.full(ROWS, np.nan),
        "gender": rng.choice(["f", "m"], ROWS),
        "binary": rng.integers(0, 2, ROWS),
        "word": rng.choice(["good", "bad"], ROWS),
        "class": rng.choice(["a", "b", "c"], ROWS),
        "amount": rng.lognormal(3, 1, ROWS),
    })


LABELS = {
    "binary": Task.BINARY,
    "word": Task.BINARY,
    "member": Task.BINARY,
    "class": Task.MULTICLASS,
    "amount": Task.REGRESSION,
    "age": Task.REGRESSION,
}


def drafted(tmp_path: Path, *options: str, name: str = "table.parquet") -> tuple[ModelSpec, str]:
    path = tmp_path / name
    if not path.exists():
        frame = table()
        frame.to_parquet(path) if name.endswith("parquet") else frame.to_csv(path, index=False)
    to = tmp_path / "spec.yaml"
    result = CliRunner().invoke(app, ["config", "draft", str(path), "--to", str(to), *options])
    assert result.exit_code == 0, result.output
    return load_spec(to), to.read_text()


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gauntlet.settings import settings

    monkeypatch.setenv("GAUNTLET_HOME", str(tmp_path / "home"))
    settings.cache_clear()


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("timed", [True, False])
def test_every_kind_of_label_becomes_a_valid_spec(tmp_path: Path, label: str, timed: bool) -> None:
    spec, _ = drafted(tmp_path, "--label", label, *(["--time", "seen at"] if timed else []))
    assert spec.task is LABELS[label]
    assert spec.split.kind == ("time" if timed else "random")
    assert set(spec.gates.names) | set(spec.gates.off) == set(GATES)
    unasked = {"fairness", "approval"} | ({"calibration"} if spec.task is Task.MULTICLASS else set())
    assert set(spec.gates.off) == unasked


@pytest.mark.parametrize("name", ["table.parquet", "table.csv"])
def test_each_column_has_its_encoding_or_a_reason(tmp_path: Path, name: str) -> None:
    spec, text = drafted(tmp_path, "--label", "binary", "--time", "seen at", "--protected", "gender", name=name)
    features = spec.source.features
    assert features.numeric == ("age", "balance", "income", "amount")
    assert features.boolean == ("member",)
    assert features.categorical == ("plan", "word", "class")
    for left_out in ("id", "note", "same", "empty"):
        assert f"# not {left_out}: " in text
    assert spec.source.columns.protected == ("gender",)
    assert spec.gates.wants("fairness")


def test_the_contract_is_what_was_seen(tmp_path: Path) -> None:
    spec, _ = drafted(tmp_path, "--label", "binary", "--key", "id", "--leave-out", "note")
    columns = spec.contract.columns
    assert columns["id"].unique
    assert columns["plan"].values == ("1e3", "no", 'q"uote', "yes", "ü: x")
    assert columns["balance"].minimum is None
    assert columns["age"].minimum == 0
    assert columns["age"].max_null == 0
    assert 0.10 <= columns["income"].max_null <= 0.20
    assert spec.contract.rows == (ROWS // 10, ROWS * 10)


@pytest.mark.parametrize(
    ("options", "told", "code"),
    [
        (("--label", "agee"), "no column 'agee': did you mean 'age'?", USAGE),
        (("--label", "same"), "there is nothing to learn", USAGE),
        (("--label", "note"), "neither class nor number", USAGE),
        (("--label", "age", "--model", "no name"), "model", USAGE),
    ],
)
def test_what_cannot_be_drafted_is_said_and_leaves_no_file(
    tmp_path: Path, options: tuple[str, ...], told: str, code: int
) -> None:
    table().to_parquet(tmp_path / "table.parquet")
    to = tmp_path / "spec.yaml"
    arguments = ["config", "draft", str(tmp_path / "table.parquet"), "--to", str(to), *options]
    result = CliRunner().invoke(app, arguments)
    assert (result.exit_code, to.exists()) == (code, False), result.output
    assert told in " ".join(result.output.split())


def test_no_file_no_row_and_a_spec_that_is_there_are_named(tmp_path: Path) -> None:
    table().iloc[:0].to_parquet(tmp_path / "none.parquet")
    for name, told in (("missing.csv", "does not exist"), ("none.parquet", "no row")):
        result = CliRunner().invoke(
            app, ["config", "draft", str(tmp_path / name), "--label", "x", "--to", "/dev/null/x"]
        )
        assert (result.exit_code, told in " ".join(result.output.split())) == (REJECTED, True), result.output
    there = tmp_path / "spec.yaml"
    there.write_text("mine")
    result = CliRunner().invoke(
        app, ["config", "draft", str(tmp_path / "none.parquet"), "--label", "x", "--to", str(there)]
    )
    assert result.exit_code == USAGE
    assert there.read_text() == "mine"


def test_it_is_told_what_wants_a_person(tmp_path: Path) -> None:
    _, text = drafted(tmp_path, "--label", "word")
    assert "positive: good # TODO:" in text
    assert text.count("TODO:") >= 8


@pytest.mark.parametrize("kind", ["table.parquet", "table.csv"])
def test_names_and_values_of_more_than_one_line_stay_what_they_are(tmp_path: Path, kind: str) -> None:
    frame = table()[["age", "word"]]
    rng = np.random.default_rng(4)
    frame["a\nschedule: {}"] = rng.normal(size=ROWS)
    frame["same\ngates: {}"] = 1
    frame["said"] = rng.choice(["a\n\n  b", "#", " pad "], ROWS)
    frame.to_parquet(tmp_path / kind) if kind.endswith("parquet") else frame.to_csv(tmp_path / kind, index=False)
    spec, text = drafted(tmp_path, "--label", "word", name=kind)
    assert "a\nschedule: {}" in spec.source.features.numeric
    assert spec.contract.columns["said"].values == (" pad ", "#", "a\n\n  b")
    assert set(spec.gates.names) | set(spec.gates.off) == set(GATES)
    assert r'# not "same\ngates: {}": one value only' in text


@pytest.mark.parametrize("model", ["no", "on", "null", "true"])
def test_a_model_may_be_called_what_yaml_takes_for_something_else(tmp_path: Path, model: str) -> None:
    spec, _ = drafted(tmp_path, "--label", "word", "--model", model)
    assert (spec.model, spec.owner.team) == (model, model)


def test_a_label_that_is_a_date_or_only_nulls_is_refused(tmp_path: Path) -> None:
    frame = table()[["age"]].assign(
        day=pd.to_datetime(np.where(np.arange(ROWS) % 2, "2026-01-01", "2026-01-02")),
        none=pd.Series([None] * ROWS, dtype="Int64"),
    )
    frame.to_parquet(tmp_path / "table.parquet")
    for label, told in (("day", "neither class nor number"), ("none", "the label has no value")):
        arguments = ["config", "draft", str(tmp_path / "table.parquet"), "--to", str(tmp_path / "x.yaml")]
        result = CliRunner().invoke(app, [*arguments, "--label", label])
        assert (result.exit_code, told in " ".join(result.output.split())) == (USAGE, True), result.output
