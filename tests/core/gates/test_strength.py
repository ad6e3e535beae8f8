"""Every limit of every gate says which way it is weaker, and a diff of two specs says it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

import pytest
from pydantic import BaseModel
from tests.mutations.world import good, spec

from gauntlet.core.gates.catalogue import GATES
from gauntlet.core.gates.judge import judge_gate
from gauntlet.core.gates.strength import LIMITS, way_of, weaker
from gauntlet.core.spec_diff import differences


def models(annotation: Any) -> Iterator[tuple[type[BaseModel], bool]]:
    """The sections in an annotation, and whether they are values of a mapping."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation, False
    mapped = "Mapping" in str(annotation)
    for inner in get_args(annotation):
        yield from ((model, mapped) for model, _ in models(inner))


def fields(model: type[BaseModel], prefix: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        nested = list(models(field.annotation))
        if nested and "tuple" not in str(field.annotation):
            for inner, mapped in nested:
                yield from fields(inner, f"{prefix}.{name}.*" if mapped else f"{prefix}.{name}")
        else:
            yield f"{prefix}.{name}"


FIELDS = [key for name, gate in GATES.items() for key in fields(gate.config, name)]


def test_no_limit_is_forgotten_and_none_is_of_yesterday():
    assert len(FIELDS) > 80
    assert [key for key in FIELDS if way_of(key) is None] == []
    used = {key for key in LIMITS if any(way_of(field) and fits(key, field) for field in FIELDS)}
    assert set(LIMITS) - used == {"holdout_reads"}


def fits(pattern: str, field: str) -> bool:
    parts = list(zip(pattern.split("."), field.split("."), strict=False))
    return len(pattern.split(".")) == len(field.split(".")) and all(one in ("*", two) for one, two in parts)


@pytest.mark.parametrize(
    ("key", "before", "after", "expected"),
    [
        ("latency.p50_us", 100, 200, True),
        ("latency.p50_us", 200, 100, False),
        ("calibration.slope", [0.8, 1.2], [0.7, 1.2], True),
        ("calibration.slope", [0.8, 1.2], [0.9, 1.1], False),
        ("fairness.attributes", ["sex", "race"], ["sex"], True),
        ("absolute_performance.judge", "interval", "point", True),
        ("absolute_performance.judge", "point", "interval", False),
        ("determinism.retrain", True, False, True),
        ("slices.margin", 0.1, None, True),
        ("slices.margin", None, 0.1, False),
        ("versus_champion.mode", "superiority", "equivalence", None),
        ("no_such.key", 1, 2, None),
        ("latency.p50_us", 5, 5, None),
    ],
)
def test_which_way_is_weaker(key, before, after, expected):
    assert weaker(key, before, after) is expected


@pytest.mark.parametrize(
    ("gates", "key", "meaning"),
    [
        ({"latency": {"p50_us": 9_000}}, "gates.latency.p50_us", "gate weakened: ceiling raised"),
        ({"latency": {"p50_us": 900}}, "gates.latency.p50_us", "gate strengthened"),
        ({"beats_naive": {"margin": 0.1}}, "gates.beats_naive.margin", "gate strengthened"),
        ({"calibration": {"ece": 0.05, "slope": [0.1, 9]}}, "gates.calibration.slope", "gate weakened: range widened"),
        ({"determinism": {}}, "gates.determinism.retrain", "gate weakened: switched off"),
        ({"golden": "off: no rows kept"}, "gates.golden", "gate weakened: switched off"),
        ({"holdout_reads": 10_000}, "gates.holdout_reads", "gate weakened: ceiling raised"),
        (
            {"absolute_performance": {"metrics": {"f1": {"minimum": 0.4}}}},
            "gates.absolute_performance.metrics.roc_auc.minimum",
            "gate weakened: limit removed",
        ),
    ],
)
def test_a_diff_says_it(gates, key, meaning):
    found = {change.key: change.meaning for change in differences(spec(), spec(**gates))}
    assert found[key] == meaning


def test_what_is_called_weaker_lets_more_through():
    """A ceiling that the good run breaks is weaker once raised: the gate then passes."""
    tight, loose = {"golden": {"tolerance": 0.0}}, {"golden": {"tolerance": 1.0}}
    assert weaker("golden.tolerance", 0.0, 1.0)
    evidence = good("golden", gates=tight)
    changed = tuple(item.model_copy(update={"value": 0.5}) for item in evidence.observations or ())
    from dataclasses import replace

    assert not judge_gate("golden", replace(evidence, observations=changed)).outcome.satisfied
    assert judge_gate("golden", replace(good("golden", gates=loose), observations=changed)).outcome.satisfied
