"""Every rule of the monitor: evidence just beyond its limit raises its symptom, evidence within it raises none."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from tests.core.test_drift import label_columns, number_columns, rng, vars_of

from gauntlet.core.confidence import confidence_health
from gauntlet.core.diversity import decision_diversity
from gauntlet.core.drift import compare
from gauntlet.core.layers.data import data_health, skew
from gauntlet.core.layers.finding import Found, unseen
from gauntlet.core.layers.model import model_health, performance_symptoms
from gauntlet.core.layers.outcomes import unseen_metric, watched
from gauntlet.core.layers.service import agreement, service_health
from gauntlet.core.outcome import Outcome
from gauntlet.core.profile import Column, Profile
from gauntlet.core.records.drift import DriftAction, DriftPattern, DriftReport, FeatureDrift, PerformanceDrift
from gauntlet.core.records.monitoring import Layer, Severity
from gauntlet.core.runbook import KINDS, heading, kind_of, section
from gauntlet.core.specs.drift import DriftSection
from gauntlet.core.specs.monitoring import DataLayerSection, ServiceLayerSection, WatchedMetric

NOW = datetime(2026, 3, 9, 12, tzinfo=UTC)
DRIFT = DriftSection(window="1d")
DATA, SERVICE = DataLayerSection(), ServiceLayerSection()
ROOT = Path(__file__).parents[2]


def features(columns: tuple[Column, Column], importance: float = 0.2) -> tuple[FeatureDrift, ...]:
    """What the real drift check says of one feature, ``x``."""
    reference, current = (Profile({"x": column}, column.rows, {}, {}, {}) for column in columns)
    return tuple(each.model_copy(update={"importance": importance}) for each in compare(reference, current, DRIFT))


def as_text(columns: tuple[Column, Column]) -> tuple[Column, Column]:
    """The second window's numbers have come as text."""
    reference, current = columns
    return reference, current.__class__(**{**vars_of(current), "dtype": "string"})


def report(**changes: object) -> DriftReport:
    plain = {
        "model": "m",
        "run": "r",
        "as_of": NOW,
        "spec_digest": "d",
        "champion": "c",
        "profile": "p",
        "profile_as_of": NOW,
        "mode": "profile",
        "window_start": NOW - timedelta(days=1),
        "window_end": NOW,
        "last_event": NOW - timedelta(minutes=5),
        "rows": 5000,
        "reference_rows": 20_000,
        "outcome": Outcome.PASSED,
        "action": DriftAction.NONE,
        "pattern": DriftPattern.NONE,
        "reason": "as it was",
        "score": 0.0,
        "carried_by": (),
        "blocked": False,
        "violated": False,
        "features": (),
        "prediction": None,
        "performance": None,
        **dict.fromkeys(("page_uri", "page_sha256", "data_uri", "data_sha256")),
    }
    return DriftReport.model_validate(plain | changes)


def data(columns: tuple[Column, Column], **changes: object) -> Found:
    return data_health(report(features=features(columns), **changes), [], DATA, timedelta(hours=36))


def volume(rows: int) -> Found:
    earlier = [report(as_of=NOW - timedelta(days=day), rows=5000) for day in range(1, 8)]
    return data_health(report(rows=rows), earlier, DATA, None)


def performance(outcome: Outcome, *, metric: str = "roc_auc", estimate: bool = False) -> PerformanceDrift:
    return PerformanceDrift(
        metric=metric,
        outcome=outcome,
        estimate=estimate,
        baseline=0.75,
        current=0.70,
        interval=(0.68, 0.72),
        limit=0.02,
        rows=900,
        sentence="0.70 against 0.75",
    )


def scores(outcome: Outcome) -> FeatureDrift:
    (found,) = features(number_columns(rng(1).normal(size=9000), rng(2).normal(size=900)))
    return found.model_copy(update={"outcome": outcome, "feature": "score"})


def model(**parts: object) -> Found:
    return model_health(report(**parts))


def requests(count: int, failed: int = 0, latency_us: float = 900.0, past: int = 1000, incomplete: str = "") -> Found:
    status = pa.array(["error"] * failed + ["ok"] * (count - failed), pa.string())
    table = pa.table({"status": status, "latency_us": np.full(count, latency_us)})
    return service_health(table, SERVICE, [past] * 5, incomplete)


def usual(value: float) -> Found:
    past = [100 + float(each) for each in rng(5).normal(size=20)]
    return watched(Layer.PRODUCT, "approvals", WatchedMetric(function="a:b"), value, past)


def limited(value: float) -> Found:
    metric = WatchedMetric(function="a:b", minimum=10, maximum=20, severity="page")
    return watched(Layer.BUSINESS, "revenue", metric, value, [])


N, M = rng(1).normal(10, 1, 20_000), rng(2).normal(10, 1, 5000)
LABELS = list(rng(3).choice(["a", "b", "c"], 20_000)), list(rng(4).choice(["a", "b", "c"], 5000))
NEW = [*LABELS[1][:4750], *["zzz"] * 250]
SURE, UNSURE = np.full(2000, 0.95), np.full(2000, 0.7)
PAST = [0.99] * 20

RULES: dict[str, tuple[Callable[[], Found], Callable[[], Found]]] = {
    # Missing values: the baseline and five points.
    "data.missing_rate": (
        lambda: data(number_columns(N, M[:4500], (1000, 500 + 250))),
        lambda: data(number_columns(N, M[:4700], (1000, 300 + 100))),
    ),
    # The mean, three standard deviations away.
    "data.mean_shift": (lambda: data(number_columns(N, M + 3.3)), lambda: data(number_columns(N, M + 2.7))),
    # Twice the standard deviation.
    "data.sigma_ratio": (
        lambda: data(number_columns(N, 10 + (M - 10) * 2.4)),
        lambda: data(number_columns(N, 10 + (M - 10) * 1.7)),
    ),
    "data.categories": (lambda: data(label_columns(LABELS[0], NEW)), lambda: data(label_columns(*LABELS))),
    "data.dtype": (
        lambda: data(as_text(number_columns(N, [], (0, 500)))),
        lambda: data(number_columns(N, M)),
    ),
    "data.range": (
        lambda: data(number_columns(N, np.where(np.arange(5000) % 20 == 0, 99.0, M))),
        lambda: data(number_columns(N, M)),
    ),
    "data.quality": (
        lambda: data_health(report(blocked=True, reason="x is empty"), [], DATA, None),
        lambda: data_health(report(), [], DATA, None),
    ),
    "data.drift": (
        lambda: data_health(report(violated=True, action=DriftAction.RETRAIN, reason="moved"), [], DATA, None),
        lambda: data_health(report(violated=True, action=DriftAction.INVESTIGATE, reason="moved"), [], DATA, None),
    ),
    "data.volume": (lambda: volume(2000), lambda: volume(3000)),
    "data.freshness": (
        lambda: data(number_columns(N, M), last_event=NOW - timedelta(hours=37)),
        lambda: data(number_columns(N, M), last_event=NOW - timedelta(hours=35)),
    ),
    "data.skew": (
        lambda: skew(features(number_columns(N, M * 100)), DATA, 5000),
        lambda: skew(features(number_columns(N, M)), DATA, 5000),
    ),
    "model.performance": (
        lambda: model(performance=performance(Outcome.FAILED)),
        lambda: model(performance=performance(Outcome.INCONCLUSIVE)),
    ),
    "model.calibration": (
        lambda: model(performance=performance(Outcome.FAILED, metric="calibration")),
        lambda: model(performance=performance(Outcome.PASSED, metric="calibration")),
    ),
    "model.estimate": (
        lambda: model(estimate=performance(Outcome.FAILED, estimate=True)),
        lambda: model(estimate=performance(Outcome.PASSED, estimate=True)),
    ),
    "model.prediction": (
        lambda: model(prediction=scores(Outcome.FAILED)),
        lambda: model(prediction=scores(Outcome.PASSED)),
    ),
    "model.prediction.unseen": (
        lambda: model(prediction=scores(Outcome.ERROR)),
        lambda: model(prediction=scores(Outcome.PASSED)),
    ),
    "model.confidence": (
        lambda: confidence_health(UNSURE, SURE, 0.1),
        lambda: confidence_health(SURE - 0.08, SURE, 0.1),
    ),
    "model.label": (lambda: model(label=scores(Outcome.FAILED)), lambda: model(label=scores(Outcome.PASSED))),
    "model.diversity": (
        lambda: decision_diversity([1] * 990 + [0] * 10, PAST, 0.5),
        lambda: decision_diversity([1] * 700 + [0] * 300, PAST, 0.5),
    ),
    "product": (lambda: usual(120), lambda: usual(103)),
    "product.unseen": (lambda: unseen_metric(Layer.PRODUCT, "approvals", "no table", "page"), lambda: usual(100)),
    "business": (lambda: limited(9), lambda: limited(20)),
    "business.unseen": (lambda: limited(float("nan")), lambda: limited(10)),
    # One per cent of errors, by more than chance.
    "service.errors": (lambda: requests(5000, 110), lambda: requests(5000, 55)),
    "service.latency": (lambda: requests(1000, latency_us=110_000), lambda: requests(1000, latency_us=90_000)),
    "service.throughput": (lambda: requests(150, past=1000), lambda: requests(250, past=1000)),
    "service.journal": (lambda: requests(1000, incomplete="a frame is gone"), lambda: requests(1000)),
    "service.agreement": (lambda: agreement(["w1"], 3), lambda: agreement([], 3)),
    "unseen": (lambda: unseen(Layer.DATA, "no drift check"), lambda: data(number_columns(N, M))),
}


def kinds(found: Found) -> set[str]:
    return {kind_of(symptom.key) for symptom in found.symptoms if symptom.outcome is Outcome.FAILED}


@pytest.mark.parametrize("kind", RULES)
def test_beyond_its_limit_and_within(kind: str) -> None:
    wrong, fine = RULES[kind]
    assert kind in kinds(wrong())
    assert kind not in kinds(fine())
    for symptom in wrong().symptoms:
        assert symptom.sentence
        assert symptom.key.startswith(f"{symptom.layer}.")


ELSEWHERE = {"model.slice", "model.slice_audit"}
"""Tried with the audits that they come from, in ``test_slice_audit.py``."""


def test_every_kind_of_alert_has_a_rule_that_was_tried() -> None:
    assert set(RULES) | ELSEWHERE == set(KINDS)


def test_every_kind_that_the_code_names_is_known() -> None:
    texts = [path.read_text() for path in (ROOT / "include/gauntlet/core").rglob("*.py")]
    named = [found for text in texts for found in re.findall(r'\{?Layer\.([A-Z]+)(?:, f?"|\}\.)(\w+)', text)]
    assert len(named) > 15
    assert {kind_of(f"{layer.lower()}.{name}") for layer, name in named} <= set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_alert_has_a_section_of_its_own_in_the_runbook(kind: str) -> None:
    text = (ROOT / "docs" / "runbook.md").read_text()
    sections = [part.split("\n", 1) for part in text.split("\n## ")[1:]]
    (words,) = [body.split("\n# ")[0].strip() for title, body in sections if title == heading(kind)]
    assert len(words) > 10, "a heading is no help"


def test_a_section_is_found_from_a_key() -> None:
    assert (
        section("docs/runbook.md", "model.performance.served.region=north") == "docs/runbook.md#alert-modelperformance"
    )
    assert section("https://wiki.example/m#top", "business.revenue") == "https://wiki.example/m#alert-business"
    assert kind_of("data.skew.unseen") == "data.skew", "a feature may be called so"


def test_what_matters_pages_and_the_rest_warns() -> None:
    def severity(importance: float) -> Severity:
        found = features(number_columns(N, M * 100), importance)
        return skew(found, DATA, 5000).symptoms[0].severity

    assert severity(0.06) is Severity.PAGE
    assert severity(0.04) is Severity.WARNING
    assert performance_symptoms(performance(Outcome.FAILED), "served")[0].severity is Severity.PAGE
    (slice_,) = performance_symptoms(performance(Outcome.FAILED), "served", "region=north")
    assert (slice_.severity, slice_.key) == (Severity.WARNING, "model.performance.served.region=north")


def test_an_estimate_is_always_marked_as_one() -> None:
    (estimated,) = model(estimate=performance(Outcome.FAILED, estimate=True)).symptoms
    assert (estimated.estimate, estimated.severity) == (True, Severity.WARNING)
    (measured,) = model(performance=performance(Outcome.FAILED)).symptoms
    assert not measured.estimate
    values = model(performance=performance(Outcome.PASSED), estimate=performance(Outcome.PASSED, estimate=True)).values
    assert set(values) == {"roc_auc", "estimated_roc_auc"}


@pytest.mark.parametrize("rows", [0, 499])
def test_few_answers_are_no_verdict_on_confidence(rows: int) -> None:
    few = confidence_health(UNSURE[:rows], SURE, 0.1)
    assert (few.outcome, few.unjudged) == (Outcome.INCONCLUSIVE, ("model.confidence",))


def test_a_confidence_that_chance_explains_is_none() -> None:
    spread = rng(9).uniform(0.5, 1.0, 600)
    assert kinds(confidence_health(spread, spread + 0.0, 0.001)) == set()
