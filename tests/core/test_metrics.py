"""Metrics against scikit-learn, and everything that is not a number refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics as sk

from gauntlet.core.kernels import KERNELS, value_of
from gauntlet.core.metrics import METRICS, PRIMARY, MetricError, Sample, measure, metric_of
from gauntlet.core.records.model import Task
from gauntlet.core.specs.profit import ProfitSection

THRESHOLD = 0.4


def binary(seed: int, n: int = 400, *, ties: bool, weighted: bool) -> Sample:
    random = np.random.default_rng(seed)
    label = (random.random(n) < 0.3).astype(float)
    score = np.clip(0.25 * label + 0.6 * random.random(n), 0.001, 0.999)
    score = np.round(score, 1 if ties else 12)
    weight = random.random(n) + 0.1 if weighted else None
    return Sample(label, np.clip(score, 0.001, 0.999), weight, THRESHOLD)


def of_class(name: str):
    function = {"f1": sk.f1_score, "precision": sk.precision_score, "recall": sk.recall_score}[name.split("_")[0]]
    positive = 0 if name.endswith("negative") else 1

    def expected(s: Sample) -> float:
        return function(s.label, s.score >= THRESHOLD, pos_label=positive, sample_weight=s.weight)

    return expected


BINARY = {
    "roc_auc": lambda s: sk.roc_auc_score(s.label, s.score, sample_weight=s.weight),
    "pr_auc": lambda s: sk.average_precision_score(s.label, s.score, sample_weight=s.weight),
    "log_loss": lambda s: sk.log_loss(s.label, s.score, sample_weight=s.weight),
    "brier": lambda s: sk.brier_score_loss(s.label, s.score, sample_weight=s.weight),
    "accuracy": lambda s: sk.accuracy_score(s.label, s.score >= THRESHOLD, sample_weight=s.weight),
    "macro_f1": lambda s: sk.f1_score(s.label, s.score >= THRESHOLD, average="macro", sample_weight=s.weight),
    **{name: of_class(name) for name in METRICS if name.split("_")[0] in ("f1", "precision", "recall")},
}
REGRESSION = {
    "rmse": lambda s: sk.root_mean_squared_error(s.label, s.score, sample_weight=s.weight),
    "mae": lambda s: sk.mean_absolute_error(s.label, s.score, sample_weight=s.weight),
    "r2": lambda s: sk.r2_score(s.label, s.score, sample_weight=s.weight),
    "pinball_10": lambda s: sk.mean_pinball_loss(s.label, s.score, alpha=0.1, sample_weight=s.weight),
    "pinball_50": lambda s: sk.mean_pinball_loss(s.label, s.score, alpha=0.5, sample_weight=s.weight),
    "pinball_90": lambda s: sk.mean_pinball_loss(s.label, s.score, alpha=0.9, sample_weight=s.weight),
    "wape": lambda s: (
        np.average(np.abs(s.label - s.score), weights=s.weight) / np.average(abs(s.label), weights=s.weight)
    ),
}


def test_every_metric_has_a_kernel():
    assert set(METRICS) == set(KERNELS)
    assert all(metric.tasks for metric in METRICS.values())
    assert all(task in METRICS[name].tasks for task, name in PRIMARY.items())


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("ties", [True, False])
@pytest.mark.parametrize("name", BINARY)
def test_binary_metrics_are_those_of_scikit_learn(name, ties, weighted):
    for seed in range(5):
        sample = binary(seed, ties=ties, weighted=weighted)
        assert measure(name, sample) == pytest.approx(BINARY[name](sample), rel=1e-9)


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("name", REGRESSION)
def test_regression_metrics_are_those_of_scikit_learn(name, weighted):
    random = np.random.default_rng(3)
    label = random.normal(5, 2, 300)
    weight = random.random(300) + 0.1 if weighted else None
    sample = Sample(label, label + random.normal(0, 1, 300), weight)
    assert measure(name, sample) == pytest.approx(REGRESSION[name](sample), rel=1e-9)


def test_multiclass_metrics_are_those_of_scikit_learn():
    random = np.random.default_rng(4)
    label = random.integers(0, 3, 500).astype(float)
    score = random.random((500, 3)) + np.eye(3)[label.astype(int)]
    score /= score.sum(axis=1, keepdims=True)
    sample = Sample(label, score)
    chosen = score.argmax(axis=1)
    assert measure("log_loss", sample) == pytest.approx(sk.log_loss(label, score))
    assert measure("accuracy", sample) == pytest.approx(sk.accuracy_score(label, chosen))
    assert measure("macro_f1", sample) == pytest.approx(sk.f1_score(label, chosen, average="macro"))
    with pytest.raises(MetricError, match="no row of class 2"):
        measure("macro_f1", Sample(np.zeros(500) + (label == 1), score))


def test_ks_is_the_largest_gap_of_the_roc_curve():
    sample = binary(7, ties=True, weighted=True)
    false, true, _ = sk.roc_curve(sample.label, sample.score, sample_weight=sample.weight)
    assert measure("ks", sample) == pytest.approx(np.abs(true - false).max())


def test_lift_is_the_rate_of_the_best_tenth_over_the_rate_of_all():
    label = np.r_[np.ones(80), np.zeros(20), np.ones(20), np.zeros(880)]
    assert measure("lift", Sample(label, np.linspace(1, 0, 1000))) == pytest.approx(0.8 / 0.1)
    assert measure("lift", Sample(label, np.full(1000, 0.5))) == pytest.approx(1.0)


def test_ece_of_scores_off_by_a_constant_is_that_constant():
    random = np.random.default_rng(5)
    score = random.uniform(0.3, 0.6, 200_000)
    label = (random.random(200_000) < score).astype(float)
    assert measure("ece", Sample(label, score)) < 0.01
    assert measure("ece", Sample(label, score + 0.2)) == pytest.approx(0.2, abs=0.01)


def test_mape_is_defined_where_labels_are_zero():
    sample = Sample(np.array([0.0, 10.0, 20.0]), np.array([1.0, 10.0, 20.0]))
    assert measure("mape", sample) == pytest.approx((1 / 10) / 3)


CREDIT = ProfitSection(act="below", good=0, gain="gain", loss="loss")


def test_profit_counts_only_rows_acted_on():
    sample = Sample(
        label=np.array([0.0, 1.0, 0.0, 1.0]),
        score=np.array([0.1, 0.1, 0.9, 0.9]),
        threshold=0.5,
        columns={"gain": np.array([10.0, 10.0, 10.0, 10.0]), "loss": np.array([30.0, 30.0, 30.0, 30.0])},
        profit=CREDIT,
    )
    assert measure("profit", sample) == pytest.approx((10 - 30) / 4)


def doubled(label, score, threshold, columns):
    return 2 * label + columns["gain"]


def infinite(label, score, threshold, columns):
    return label / 0.0 if threshold is None else label * np.inf


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_users_function_is_called_and_not_trusted():
    here = __name__
    columns = {"gain": np.array([1.0, 3.0])}
    sample = Sample(np.array([0.0, 1.0]), np.array([0.1, 0.9]), threshold=0.5, columns=columns)

    def with_profit(**kind) -> Sample:
        return Sample(sample.label, sample.score, None, 0.5, columns, ProfitSection(**kind))

    import sys

    sys.modules.setdefault(here, sys.modules[test_profit_counts_only_rows_acted_on.__module__])
    assert measure("profit", with_profit(function=f"{here}:doubled", columns=("gain",))) == pytest.approx(3.0)
    sharpe = measure("profit", with_profit(function=f"{here}:doubled", columns=("gain",), aggregate="sharpe"))
    assert sharpe == pytest.approx(3.0 / 2.0)
    with pytest.raises(MetricError, match="NaN or infinite"):
        measure("profit", with_profit(function=f"{here}:infinite"))
    with pytest.raises(MetricError, match="cannot be loaded"):
        measure("profit", with_profit(function="no.such:thing"))
    with pytest.raises(MetricError, match="no column 'elsewhere'"):
        measure("profit", with_profit(function=f"{here}:doubled", columns=("elsewhere",)))
    with pytest.raises(MetricError, match="does not say what a decision is worth"):
        measure("profit", sample)


@pytest.mark.parametrize("name", METRICS)
def test_no_rows_nan_and_bad_weights_are_refused(name):
    good = binary(0, ties=False, weighted=False)
    empty = Sample(np.empty(0), np.empty(0), threshold=0.5, profit=CREDIT)
    nan = Sample(good.label, np.where(good.label == 1, np.nan, good.score), None, 0.5, profit=CREDIT)
    inf = Sample(np.where(good.label == 1, np.inf, 0), good.score, None, 0.5, profit=CREDIT)
    negative = Sample(good.label, good.score, -np.ones(len(good)), 0.5, profit=CREDIT)
    short = Sample(good.label, good.score[:-1], None, 0.5, profit=CREDIT)
    for sample in (empty, nan, inf, negative, short):
        with pytest.raises(MetricError):
            measure(name, sample)


@pytest.mark.parametrize("name", [name for name, metric in METRICS.items() if Task.BINARY in metric.tasks])
@pytest.mark.parametrize("label", [0.0, 1.0])
def test_one_class_is_refused(name, label):
    if name in ("accuracy", "profit"):
        return
    with pytest.raises(MetricError):
        measure(name, Sample(np.full(50, label), np.linspace(0, 1, 50), None, 0.5))


def test_a_decision_metric_needs_a_threshold():
    sample = Sample(np.array([0.0, 1.0]), np.array([0.1, 0.9]))
    with pytest.raises(MetricError, match="no decision threshold"):
        measure("f1", sample)


def test_a_metric_that_does_not_fit_is_named_with_those_that_do():
    with pytest.raises(ValueError, match="did you mean 'roc_auc'"):
        metric_of("roc_auk", Task.BINARY)
    with pytest.raises(ValueError, match="not a metric of a regression model"):
        metric_of("roc_auc", Task.REGRESSION)


@given(
    hnp.arrays(np.float64, 60, elements=st.floats(0, 1, width=16)),
    hnp.arrays(np.bool_, 60),
    hnp.arrays(np.int64, 60, elements=st.integers(0, 4)),
)
@settings(max_examples=60, deadline=None)
def test_integer_weights_are_repeated_rows(score, label, weight):
    """What the bootstrap rests on: a row drawn twice is a row of weight two."""
    rows = np.repeat(np.arange(60), weight)
    for name in ("roc_auc", "pr_auc", "ks", "log_loss", "f1", "brier"):
        try:
            repeated = value_of(name, Sample(label[rows].astype(float), score[rows], None, 0.5))
            weighted = value_of(name, Sample(label.astype(float), score, weight.astype(float), 0.5))
        except MetricError:
            continue
        assert weighted == pytest.approx(repeated, rel=1e-9, abs=1e-12)


@given(hnp.arrays(np.float64, 40, elements=st.floats(0.01, 0.99)), hnp.arrays(np.bool_, 40))
@settings(max_examples=60, deadline=None)
def test_ranks_do_not_feel_a_monotone_change_of_scores(score, label):
    try:
        plain = value_of("roc_auc", Sample(label.astype(float), score))
    except MetricError:
        return
    assert value_of("roc_auc", Sample(label.astype(float), 8 * score)) == pytest.approx(plain)
    assert value_of("roc_auc", Sample(label.astype(float), -score)) == pytest.approx(1 - plain)
