"""The classifier that tells windows apart, and the drift check that asks it."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from gauntlet.adapters.domain_classifier import LightGBMDomainClassifier
from gauntlet.core.performance import Scored, auc

FEATURES = ("x", "y", "label", "flag")


def rows(seed: int, n: int = 3000, correlation: float = 0.0) -> pa.Table:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    y = correlation * x + np.sqrt(1 - correlation**2) * rng.normal(size=n)
    return pa.table({
        "x": pa.array(x, mask=rng.random(n) < 0.05),
        "y": y,
        "label": pa.array(rng.choice(["a", "b", None], n)).dictionary_encode(),
        "flag": rng.random(n) < 0.5,
    })


def told_apart(reference: pa.Table, current: pa.Table) -> tuple[float, float, dict[str, float]]:
    result = LightGBMDomainClassifier().tell_apart(reference, current, FEATURES)
    found = auc(Scored(result.origin, result.scores))
    assert found is not None
    return found.value, found.error, dict(result.shares)


def test_the_same_population_cannot_be_told_apart() -> None:
    value, error, _ = told_apart(rows(1), rows(2))
    assert value == pytest.approx(0.5, abs=5 * error)


def test_a_change_that_no_single_column_shows_is_found_and_its_columns_named() -> None:
    value, error, shares = told_apart(rows(1), rows(2, correlation=0.9))
    assert value - 5 * error > 0.6
    assert sorted(shares, key=lambda name: -shares[name])[:2] in (["x", "y"], ["y", "x"])
    assert sum(shares.values()) == pytest.approx(1)


def test_the_same_rows_give_the_same_answer() -> None:
    classifier = LightGBMDomainClassifier()
    one, again = (classifier.tell_apart(rows(1), rows(2), FEATURES) for _ in range(2))
    np.testing.assert_array_equal(one.scores, again.scores)
