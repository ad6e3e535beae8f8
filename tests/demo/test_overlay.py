from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from gauntlet.core.spec import load_spec
from gauntlet.demo.overlay import OVERLAY, merged, write_spec

SHIPPED = Path(__file__).parents[2] / "include/models/credit_default.yaml"


def test_the_demos_spec_differs_only_where_it_says(tmp_path: Path) -> None:
    shipped, demo = load_spec(SHIPPED), write_spec(SHIPPED, tmp_path / "models/credit_default.yaml")
    assert demo == load_spec(tmp_path / "models/credit_default.yaml")
    for name in type(shipped).model_fields:
        same = getattr(demo, name) == getattr(shipped, name)
        assert same == (name not in OVERLAY), name
    assert demo.gates == shipped.gates
    assert demo.contract == shipped.contract


def test_a_ramp_of_the_demo_takes_seconds(tmp_path: Path) -> None:
    rollout = write_spec(SHIPPED, tmp_path / "credit_default.yaml").rollout
    assert sum((step.hold for step in rollout.steps), timedelta(0)) < timedelta(seconds=20)
    assert rollout.bootstrap == "automatic"
    assert rollout.steps[0].weight <= 5


def test_the_shipped_ramp_is_for_production() -> None:
    rollout = load_spec(SHIPPED).rollout
    assert [step.weight for step in rollout.steps] == [1, 5, 10, 25, 50, 100]
    assert sum((step.hold for step in rollout.steps), timedelta(0)) > timedelta(hours=4)
    assert rollout.bootstrap == "approval"


def test_lists_and_scalars_are_replaced_and_the_base_is_kept() -> None:
    base = {"a": {"b": [1, 2], "c": 1}, "d": {"e": 1}}
    assert merged(base, {"a": {"b": [3]}, "d": None}) == {"a": {"b": [3], "c": 1}, "d": None}
    assert base == {"a": {"b": [1, 2], "c": 1}, "d": {"e": 1}}
