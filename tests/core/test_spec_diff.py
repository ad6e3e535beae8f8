"""A loosened threshold is called by its name."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from gauntlet.core.spec import ModelSpec
from gauntlet.core.spec_diff import MISSING, differences

SPEC = Path(__file__).parents[2] / "include" / "models" / "credit_default.yaml"


def spec(change=lambda document: None) -> ModelSpec:
    document = yaml.safe_load(SPEC.read_text())
    change(document)
    return ModelSpec.model_validate(document)


def test_equal_specs_have_no_differences() -> None:
    assert differences(spec(), spec()) == []


def test_a_gate_switched_off_is_weaker_and_switched_on_is_not() -> None:
    off = spec(lambda d: d["gates"].update(latency="off: measured elsewhere"))
    there = {change.key: change.meaning for change in differences(spec(), off)}
    back = [change.meaning for change in differences(off, spec())]
    assert "gate weakened: switched off" in there.values()
    assert "gate weakened: switched off" not in back


def test_a_removed_key_is_shown_as_absent() -> None:
    without = spec(lambda d: d["contract"]["columns"].pop("income"))
    changes = differences(spec(), without)
    assert changes
    assert {change.after for change in changes} == {MISSING}
    assert all(change.key.startswith("contract.columns.income") for change in changes)


@pytest.mark.parametrize(("weight", "expected"), [(2, "2"), (3, "3")])
def test_values_are_shown_as_written(weight: int, expected: str) -> None:
    changes = differences(spec(), spec(lambda d: d["rollout"]["steps"][0].update(weight=weight)))
    assert [change.after for change in changes if change.key.endswith("weight")] == [f"{expected}.0"]
