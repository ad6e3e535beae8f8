"""Specs: strict, frozen, quick to load, and every complaint says where."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import yaml

from gauntlet.core.errors import SpecError
from gauntlet.core.spec import ModelSpec, json_schema, load_spec, load_specs

HEAVY = ("numpy", "pandas", "scipy", "lightgbm", "mlflow", "great_expectations", "duckdb", "pyarrow", "sqlalchemy")
ROOT = Path(__file__).parents[2]
MODELS = ROOT / "include" / "models"
SHIPPED = [*sorted(MODELS.glob("*.yaml")), *sorted((ROOT / "examples").glob("*.yaml"))]


@pytest.fixture
def document() -> dict:
    return yaml.safe_load((MODELS / "credit_default.yaml").read_text())


def write(tmp_path: Path, document: object) -> Path:
    path = tmp_path / "credit_default.yaml"
    path.write_text(document if isinstance(document, str) else yaml.safe_dump(document, sort_keys=False))
    return path


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_specs_are_valid_and_named_as_their_file(path: Path) -> None:
    assert load_spec(path).model == path.stem


def test_a_spec_survives_its_own_yaml(document: dict) -> None:
    spec = ModelSpec.model_validate(document)
    assert ModelSpec.model_validate(spec.model_dump(mode="json")) == spec
    assert ModelSpec.model_validate(spec.model_dump(mode="json")).digest == spec.digest


def test_an_unknown_key_is_refused_with_line_path_and_hint(tmp_path: Path, document: dict) -> None:
    document["split"]["embrago"] = "1d"
    path = write(tmp_path, document)
    line = 1 + path.read_text().splitlines().index("  embrago: 1d")
    with pytest.raises(SpecError, match=rf"{path}:{line}: split\.embrago: unknown key; did you mean 'embargo'\?"):
        load_spec(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["source"]["features"]["numeric"].append("defaulted"), "must not hold the label"),
        (lambda d: d["source"]["features"]["numeric"].append("gender"), "protected column"),
        (lambda d: d["rollout"]["steps"].reverse(), "weights must rise"),
        (lambda d: d["schedule"].update(timezone="Mars/Olympus"), "no IANA time zone"),
        (lambda d: d["source"].update(window="sixty days"), "is not a duration"),
        (lambda d: d.pop("owner"), "owner: missing"),
        (lambda d: d["contract"].update(rows=[0, 10]), "least is at least|1 <= least"),
        (lambda d: d["split"].update(holdout=0.9), "must leave at least"),
        (lambda d: d["source"]["columns"].pop("event_time"), "event_time"),
    ],
)
def test_contradictions_are_refused(tmp_path: Path, document: dict, change, message: str) -> None:
    change(document)
    with pytest.raises(SpecError, match=message):
        load_spec(write(tmp_path, document))


@pytest.mark.parametrize("text", ["", "just text", "- a\n- b\n", "model: [", "a: 1\na: 2\n", "\x00"])
def test_what_is_no_spec_is_refused_by_name(tmp_path: Path, text: str) -> None:
    with pytest.raises(SpecError, match=r"credit_default\.yaml"):
        load_spec(write(tmp_path, text))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"absent\.yaml: cannot be read"):
        load_spec(tmp_path / "absent.yaml")


def test_a_spec_is_frozen(document: dict) -> None:
    spec = ModelSpec.model_validate(document)
    with pytest.raises(ValueError, match="frozen"):
        spec.model = "other"  # type: ignore[misc]


def test_durations_are_read_and_written() -> None:
    spec = load_specs(MODELS)["credit_default"]
    assert isinstance(spec.rollout.tick, timedelta)
    assert isinstance(spec.model_dump(mode="json")["rollout"]["tick"], str)


def test_the_committed_schema_is_current() -> None:
    committed = (MODELS / "model_spec.schema.json").read_text()
    assert json.loads(committed) == json_schema(), (
        "run: gauntlet config schema --write include/models/model_spec.schema.json"
    )


def test_loading_a_spec_is_fast_and_imports_nothing_heavy() -> None:
    code = f"""
import sys, time
from pathlib import Path
from gauntlet.core.spec import load_spec
started = time.process_time()
load_spec(Path({str(MODELS / "credit_default.yaml")!r}))
assert time.process_time() - started < 0.5
heavy = [name for name in {HEAVY!r} if name in sys.modules]
assert not heavy, heavy
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT / "include"
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("value", [".inf", "-.inf", ".nan"])
@pytest.mark.parametrize(
    "path",
    [
        ("gates", "versus_champion", "margin"),
        ("gates", "latency", "p99_us"),
        ("contract", "columns", "amount", "maximum"),
        ("drift", "psi"),
        ("training", "params", "num_leaves"),
        ("training", "params", "lambda_l2"),
    ],
)
def test_a_limit_that_is_no_number_is_refused(
    tmp_path: Path, document: dict, path: tuple[str, ...], value: str
) -> None:
    """A margin without end, or a comparison with NaN, would let everything pass."""
    section = document
    for key in path[:-1]:
        section = section[key]
    section[path[-1]] = yaml.safe_load(value)
    with pytest.raises(SpecError, match=path[-1]):
        load_spec(write(tmp_path, document))
