"""Calibration: scikit-learn's knots, one score and many alike, and refusals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from gauntlet.core.calibration import calibrate, compile_calibration, fit_calibration, fit_isotonic, sigmoid_at
from gauntlet.core.errors import TrainingFailed
from gauntlet.core.records.model import Calibration

Floats = NDArray[np.float64]


def sample(seed: int, rows: int = 400, digits: int = 6) -> tuple[Floats, Floats, Floats]:
    rng = np.random.default_rng(seed)
    scores = np.round(rng.beta(2, 3, rows), digits)
    return scores, (rng.random(rows) < scores**2).astype(float), rng.integers(0, 4, rows).astype(float)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("digits", [1, 2, 6], ids=["many ties", "ties", "distinct"])
@pytest.mark.parametrize("weighted", [False, True])
def test_knots_are_those_of_scikit_learn(seed: int, digits: int, weighted: bool) -> None:
    scores, labels, weights = sample(seed, digits=digits)
    weights = weights if weighted else np.ones(len(scores))
    least = 1 / (len(scores) + 2)
    reference = IsotonicRegression(y_min=least, y_max=1 - least, out_of_bounds="clip").fit(scores, labels, weights)
    ours = fit_isotonic(scores, labels, weights)
    assert np.array_equal(ours.x, reference.X_thresholds_)
    assert np.allclose(ours.y, reference.y_thresholds_, rtol=0, atol=1e-15)
    asked = np.linspace(-0.1, 1.1, 999)
    assert np.allclose(calibrate(ours, asked), reference.predict(asked), rtol=0, atol=1e-14)


@settings(max_examples=50)
@given(st.integers(0, 10_000), st.sampled_from(["isotonic", "sigmoid"]), st.lists(st.floats(0, 1), min_size=1))
def test_one_score_and_many_give_the_same_bits(seed: int, method: str, asked: list[float]) -> None:
    scores, labels, _ = sample(seed)
    fitted = fit_calibration(method, scores, labels)
    values = np.array([*asked, *fitted.x, *np.nextafter(fitted.x, 0), *np.nextafter(fitted.x, 1), 0.0, 1.0])
    one = compile_calibration(fitted)
    many = calibrate(fitted, values)
    assert many.tobytes() == np.array([one(value) for value in values.tolist()]).tobytes()
    assert (np.diff(calibrate(fitted, np.sort(values))) >= -1e-15).all()
    assert ((many >= 0) & (many <= 1)).all()


def test_nan_stays_nan_both_ways() -> None:
    fitted = fit_calibration("isotonic", *sample(0)[:2])
    assert np.isnan(compile_calibration(fitted)(float("nan")))
    assert np.isnan(calibrate(fitted, np.array([np.nan]))).all()


def test_a_single_knot_is_a_constant() -> None:
    flat = Calibration(method="isotonic", x=(0.5,), y=(0.25,))
    assert calibrate(flat, np.array([0.0, 0.5, 1.0])).tolist() == [0.25] * 3
    assert [compile_calibration(flat)(score) for score in (0.0, 0.5, 1.0)] == [0.25] * 3


def test_sigmoid_is_platts_fit_tabulated() -> None:
    scores, labels, _ = sample(3, rows=4_000)
    fitted = fit_calibration("sigmoid", scores, labels)
    z = np.log(scores / (1 - scores)).reshape(-1, 1)
    positives, negatives = labels.sum(), len(labels) - labels.sum()
    high, low = (positives + 1) / (positives + 2), 1 / (negatives + 2)
    # Platt's smoothed targets as weighted rows of both classes, so that scikit-learn can fit them.
    target = np.where(labels == 1, high, low)
    reference = LogisticRegression(C=np.inf, tol=1e-12, max_iter=1_000).fit(
        np.vstack([z, z]), np.r_[np.ones(len(z)), np.zeros(len(z))], np.r_[target, 1 - target]
    )
    slope, intercept = float(reference.coef_[0, 0]), float(reference.intercept_[0])
    asked = np.linspace(0.001, 0.999, 1_001)
    curve = [sigmoid_at(slope, intercept, score) for score in asked.tolist()]
    assert np.abs(calibrate(fitted, asked) - curve).max() < 1e-5


@pytest.mark.parametrize("method", ["isotonic", "sigmoid"])
def test_too_few_rows_or_positives_are_refused(method: str) -> None:
    scores, labels, _ = sample(0)
    with pytest.raises(TrainingFailed, match=r"raise split\.calibration"):
        fit_calibration(method, scores[:49], labels[:49])
    with pytest.raises(TrainingFailed, match="0 positive"):
        fit_calibration(method, scores, np.zeros(len(scores)))


def test_scores_that_rank_the_wrong_way_round_are_refused() -> None:
    scores, labels, _ = sample(0)
    with pytest.raises(TrainingFailed, match="higher scores mean fewer positives"):
        fit_calibration("sigmoid", 1 - scores, labels)
