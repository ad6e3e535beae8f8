"""Probabilities and feature values as Prometheus reads them, counted from what the journal writes."""

from __future__ import annotations

import shutil
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gauntlet.core.journal import COLUMNS
from gauntlet.core.records.model import Feature, FeatureKind, ModelSidecar, Task
from gauntlet.serving.metrics import page
from gauntlet.serving.observed import EDGES, Observed
from gauntlet.serving.shared import Counters

NAMES = [name for name, _ in COLUMNS]
FEATURES = (
    Feature(name="income", kind=FeatureKind.NUMERIC, nullable=True),
    Feature(name="region", kind=FeatureKind.CATEGORICAL, nullable=True, categories=("n", "s")),
    Feature(name="employed", kind=FeatureKind.BOOLEAN, nullable=True),
)


def sidecar(task: Task = Task.BINARY) -> ModelSidecar:
    return ModelSidecar(
        model="m",
        version_id="v",
        task=task,
        objective="binary",
        features=FEATURES,
        classes=None,
        threshold=0.5,
        calibration=None,
        best_iteration=1,
        tree_digest="t",
        model_sha256="s",
        trained_through=None,
    )


def row(score: float, values: Sequence[float] | bytes | None, status: str = "ok") -> tuple[object, ...]:
    kept = values if values is None or isinstance(values, bytes) else struct.pack(f"<{len(values)}d", *values)
    given = {"version_id": "v", "arm": "stable", "score": score, "status": status, "features": kept}
    return tuple(given.get(name) for name in NAMES)


def observed(folder: Path, known: ModelSidecar | None) -> tuple[Observed, Counters]:
    counters = Counters(folder / "worker-0.counters")
    return Observed(counters, "m", NAMES, lambda _version: known), counters


def families(folder: Path) -> dict[str, dict[tuple[str, str], float]]:
    return {
        family.name: {
            (sample.name, sample.labels.get("le") or sample.labels.get("feature", "")): sample.value
            for sample in family.samples
        }
        for family in text_string_to_metric_families(page(folder))
    }


def test_probabilities_are_a_histogram_by_version_and_arm(tmp_path: Path) -> None:
    counting, counters = observed(tmp_path, sidecar())
    counting.take([row(score, None) for score in (0.01, 0.02, 0.3, 0.99, 1.0)])
    found = families(tmp_path)["ml_prediction_probability"]
    assert found["ml_prediction_probability_bucket", "0.05"] == 2
    assert found["ml_prediction_probability_bucket", "+Inf"] == 5
    assert found["ml_prediction_probability_count", ""] == 5
    buckets = [value for (name, _), value in found.items() if name.endswith("_bucket")]
    assert buckets == sorted(buckets)
    assert len(buckets) == EDGES + 1
    counters.close()


def test_what_is_no_answered_probability_is_not_counted(tmp_path: Path) -> None:
    counting, counters = observed(tmp_path, sidecar())
    counting.take([row(float("nan"), None), row(1.5, None), row(0.5, None, status="error")])
    assert "ml_prediction_probability" not in families(tmp_path)
    counters.close()
    other, more = observed(tmp_path, sidecar(Task.REGRESSION))
    other.take([row(0.5, None)])
    assert "ml_prediction_probability" not in families(tmp_path)
    more.close()


def test_values_have_a_mean_and_missing_ones_are_counted(tmp_path: Path) -> None:
    counting, counters = observed(tmp_path, sidecar())
    counting.take([row(0.5, (1500.5, 1.0, 1.0)), row(0.5, (-500.25, 0.0, 0.0)), row(0.5, (float("nan"), 0.0, 1.0))])
    found = families(tmp_path)
    values = found["ml_feature_value"]
    assert values["ml_feature_value_sum", "income"] == pytest.approx(1000.25)
    assert values["ml_feature_value_count", "income"] == 2
    assert values["ml_feature_value_count", "employed"] == 3
    assert ("ml_feature_value_count", "region") not in values, "a category has no mean"
    assert found["ml_feature_missing"]["ml_feature_missing_total", "income"] == 1
    counters.close()


@pytest.mark.parametrize("kept", [None, b"12345678", b"123", struct.pack("<1d", 1.0)])
def test_features_that_are_hashed_or_dropped_are_shown_by_no_metric(tmp_path: Path, kept: bytes | None) -> None:
    counting, counters = observed(tmp_path, sidecar())
    counting.take([row(0.5, kept)])
    assert all(value == 0 for value in families(tmp_path).get("ml_feature_value", {}).values())
    counters.close()


def test_a_version_that_is_gone_is_passed_over(tmp_path: Path) -> None:
    counting, counters = observed(tmp_path, None)
    counting.take([row(0.5, (1.0, 1.0, 1.0))])
    assert families(tmp_path) == {}
    counters.close()


def test_many_rows_cost_features_of_a_sample_only(tmp_path: Path) -> None:
    counting, counters = observed(tmp_path, sidecar())
    counting.take([row(0.5, (1.0, 1.0, 1.0))] * 500)
    found = families(tmp_path)
    assert found["ml_prediction_probability"]["ml_prediction_probability_count", ""] == 500
    assert 30 <= found["ml_feature_value"]["ml_feature_value_count", "income"] <= 40
    counters.close()


def test_promtool_accepts_the_page(tmp_path: Path) -> None:
    tool = shutil.which("promtool")
    if tool is None:
        pytest.skip("promtool is not installed (Debian package prometheus)")
    counting, counters = observed(tmp_path, sidecar())
    counting.take([row(0.5, (1.0, 1.0, 1.0))])
    done = subprocess.run([tool, "check", "metrics"], input=page(tmp_path), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    counters.close()
