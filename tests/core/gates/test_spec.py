"""The gates section of a spec: closed, strict, and with a reason for everything that is off."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError
from tests.mutations.world import BINARY_GATES, spec

from gauntlet.core.errors import SpecError
from gauntlet.core.gates.catalogue import GATES
from gauntlet.core.spec import ModelSpec, load_spec
from gauntlet.core.specs.gates import GatesSection, Off

ROOT = Path(__file__).parents[3]
SHIPPED = [ROOT / "include/models/credit_default.yaml", *sorted((ROOT / "examples").glob("*.yaml"))]


def section(**gates):
    return GatesSection.model_validate(BINARY_GATES | gates)


def complaint(**gates) -> str:
    with pytest.raises(ValidationError) as caught:
        section(**gates)
    return str(caught.value)


def test_all_gates_in_catalogue_order():
    assert section().names == tuple(GATES)
    assert section().off == {}


@pytest.mark.parametrize("gate", GATES)
def test_a_gate_left_out_is_an_error_that_names_it(gate):
    with pytest.raises(ValidationError, match=f"missing: {gate}; configure each, or write"):
        GatesSection.model_validate({name: value for name, value in BINARY_GATES.items() if name != gate})


def test_an_empty_section_lists_every_gate():
    with pytest.raises(ValidationError) as caught:
        GatesSection.model_validate({})
    assert all(gate in str(caught.value) for gate in GATES)


def test_a_renamed_gate_is_unknown_and_the_old_name_missing():
    gates = dict(BINARY_GATES)
    gates["latancy"] = gates.pop("latency")
    with pytest.raises(ValidationError, match=r"unknown gate 'latancy': did you mean 'latency'.*missing: latency"):
        GatesSection.model_validate(gates)


@pytest.mark.parametrize(
    "written", ["off: too noisy for now", {"off": "too noisy for now"}, {False: "too noisy for now"}]
)
def test_off_with_a_reason(written):
    found = section(latency=written)
    assert found.off == {"latency": "too noisy for now"}
    assert "latency" not in found.names
    assert found.model_dump(mode="json")["latency"] == "off: too noisy for now"
    with pytest.raises(SpecError, match="latency"):
        found.config("latency")


@pytest.mark.parametrize("written", [False, "off", "off:", "off:  ", {"off": ""}, {"off": None}, "off: no"])
def test_off_without_a_reason_is_refused(written):
    assert "without a reason" in complaint(latency=written)


@pytest.mark.parametrize("written", [None, True, "on", 3, [1], "disabled: later"])
def test_what_is_no_configuration_is_refused(written):
    complaint(latency=written)


def test_yaml_reads_the_bare_word_off_as_false_and_that_is_understood():
    assert section(latency=yaml.safe_load("latency: {off: too noisy for now}")["latency"]).off
    assert "without a reason" in complaint(latency=yaml.safe_load("latency: off")["latency"])


@pytest.mark.parametrize("gate", GATES)
def test_an_unknown_key_is_refused_in_every_gate(gate):
    value = BINARY_GATES[gate] | {"minimun": 1}
    assert "minimun" in complaint(**{gate: value})


def test_a_misspelt_key_gets_a_hint_with_file_and_line(tmp_path):
    text = SHIPPED[0].read_text(encoding="utf-8").replace("p95_us: 5000", "p95us: 5000")
    path = tmp_path / "credit_default.yaml"
    path.write_text(text, encoding="utf-8")
    line = next(number for number, row in enumerate(text.splitlines(), 1) if "p95us" in row)
    with pytest.raises(SpecError, match=rf"{path}:{line}: gates.latency.p95us: unknown key; did you mean 'p95_us'"):
        load_spec(path)


@pytest.mark.parametrize(
    ("gate", "value", "words"),
    [
        ("absolute_performance", {}, "metrics"),
        ("absolute_performance", {"metrics": {}}, "at least 1"),
        ("absolute_performance", {"metrics": {"roc_auc": {}}}, "empty would pass anything"),
        ("absolute_performance", {"metrics": {"roc_auk": {"minimum": 0.7}}}, "did you mean 'roc_auc'"),
        ("absolute_performance", {"metrics": {"roc_auc": {"minimum": float("nan")}}}, "finite"),
        ("absolute_performance", {"metrics": {"roc_auc": {"minimum": 0.9, "maximum": 0.8}}}, "above maximum"),
        ("versus_champion", {}, "margin"),
        ("versus_champion", {"margin": 0}, "greater than 0"),
        ("versus_champion", {"margin": 0.01, "superior_on": ["luck"]}, "superior_on"),
        ("versus_champion", {"margin": 0.01, "profit": {}}, "gain and loss, or a function"),
        ("slices", {"by": {}, "bounds": {"minimum": 0.7}}, "at least 1"),
        ("slices", {"by": {"region": {}}}, "bounds"),
        ("fairness", {"attributes": []}, "at least 1"),
        ("approval", {}, "approvers"),
        ("freeze_window", {"frozen": [{"days": ["friday"]}]}, "days"),
        ("freeze_window", {"dates": [{"first": "2026-12-31", "last": "2026-12-24", "reason": "x"}]}, "before first"),
    ],
)
def test_configurations_that_would_judge_nothing_are_refused(gate, value, words):
    assert words in complaint(**{gate: value})


@pytest.mark.parametrize(
    ("task", "gates", "words"),
    [
        (
            "binary",
            {"absolute_performance": {"metrics": {"rmse": {"maximum": 1}, "f1": {"minimum": 0.1}}}},
            "binary model",
        ),
        ("binary", {"absolute_performance": {"metrics": {"roc_auc": {"minimum": 0.7}}}}, "single class"),
        (
            "binary",
            {"absolute_performance": {"metrics": {"log_loss": {"minimum": 0.1}, "f1": {"minimum": 0.1}}}},
            "metrics.log_loss: needs a maximum",
        ),
        ("binary", {"slices": {"by": {"regoin": {}}, "bounds": {"minimum": 0.7}}}, "did you mean 'region'"),
        ("binary", {"slices": {"by": {"region": {}}, "bounds": {"maximum": 0.7}}}, "needs a minimum"),
        ("binary", {"fairness": {"attributes": ["region"]}}, "source.columns.protected"),
        ("binary", {"versus_champion": {"margin": 0.1, "primary": "profit"}}, "needs the section profit"),
        ("binary", {"calibration": {}}, "ece: a binary model needs this limit"),
        ("regression", {"fairness": {"attributes": ["gender"]}}, "no yes-or-no decisions"),
        ("regression", {"calibration": {"ece": 0.1}}, "only a binary model"),
        ("regression", {"versus_champion": {"margin": 1, "superior_on": ["calibration"]}}, "exists for this model"),
        ("regression", {"overfit": {"gap": 1, "metric": "roc_auc"}}, "not a metric of a regression model"),
        ("regression", {"label_quality": {"positive_rate": [0, 1]}}, "only a binary model"),
    ],
)
def test_gates_that_do_not_fit_the_model_are_refused(task, gates, words):
    with pytest.raises(ValidationError, match="gates") as caught:
        spec(task, **gates)
    assert words in str(caught.value)


def test_decisions_need_a_threshold():
    document = spec().model_dump(mode="json")
    document["training"]["threshold"] = None
    with pytest.raises(ValidationError, match=r"gates.absolute_performance: .*training.threshold"):
        ModelSpec.model_validate(document)


def test_columns_are_those_that_gates_read():
    assert set(section().columns) == {"profit_if_repaid", "region", "new_customer", "gender"}
    assert "gender" not in section(fairness="off: not here").columns


def test_it_survives_the_way_through_json():
    found = section(latency="off: too noisy for now")
    assert GatesSection.model_validate(found.model_dump(mode="json")) == found
    assert isinstance(found.latency, Off)


def test_the_schema_describes_every_gate():
    schema = GatesSection.model_json_schema()
    assert set(GATES) <= set(schema["properties"])
    assert set(GATES) <= set(schema["required"])
    assert "LatencyConfig" in schema["$defs"]
    assert schema["properties"]["latency"]["description"] == GATES["latency"].question


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_specs_say_something_about_every_gate(path):
    found = load_spec(path).gates
    assert set(found.names) | set(found.off) == set(GATES)
    assert {"absolute_performance", "beats_naive", "versus_champion", "smoke", "golden"} <= set(found.names)


def test_loading_a_spec_imports_nothing_heavy():
    code = (
        "import sys; from pathlib import Path; from gauntlet.core.spec import load_spec;"
        f"load_spec(Path({str(SHIPPED[0])!r}));"
        "print(sorted({'numpy', 'pandas', 'scipy', 'pyarrow', 'lightgbm'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment())
    assert out.stdout.strip() == "[]"


def environment():
    import os

    return os.environ | {"PYTHONPATH": str(ROOT / "include")}
