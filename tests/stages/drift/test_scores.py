"""Scores, labels and performance of the champion, kept apart from its inputs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.stages.drift.conftest import DAY, START, Bench, portfolio

from gauntlet.core.digest import sha256_file
from gauntlet.core.errors import IntegrityError
from gauntlet.core.outcome import Outcome
from gauntlet.core.records.drift import DriftAction
from gauntlet.core.records.evaluation import EvaluationRef
from gauntlet.core.records.rollout import ServedVersion
from gauntlet.stages.check_drift import check_drift

STEEP = 1.2


def risk(income: np.ndarray) -> np.ndarray:
    """The champion's score: those who earn less default more."""
    return 1 / (1 + np.exp(1.5 + STEEP * np.log(np.nan_to_num(income, nan=2000.0) / 2000)))


@dataclass
class ToldScorer:
    """Scores by income alone; loads nothing when there is a fault."""

    fault: Exception | None = None

    def load(self, folder: Path) -> ToldScorer:
        if self.fault:
            raise self.fault
        return self

    def score_table(self, table: pa.Table | Path) -> np.ndarray:
        return risk(pq.read_table(table)["income"].to_numpy())


def with_labels(table: pa.Table, seed: int, meaning: float = 1.0) -> pa.Table:
    """Labels that follow the champion's scores; with ``meaning`` 0 they are drawn at the mean rate."""
    true = risk(table["income"].to_numpy())
    true = meaning * true + (1 - meaning) * true.mean()
    labels = (np.random.default_rng(seed).random(len(true)) < true).astype(np.int64)
    return table.set_column(table.column_names.index("defaulted"), "defaulted", pa.array(labels))


@pytest.fixture
def scored(bench: Bench, champion: ServedVersion, tmp_path: Path) -> Bench:
    """A bench whose champion has an evaluation, and a scorer."""
    bench.set_drift(scores=True, performance={"drop": 0.05})
    held_out = with_labels(portfolio(9000, 11), 12)
    path = tmp_path / "evaluation.parquet"
    scores = risk(held_out["income"].to_numpy())
    pq.write_table(pa.table({"label": held_out["defaulted"], "candidate_score": scores}), path)
    ref = EvaluationRef(
        uri=bench.services.blobs.put_file(path, "evaluations/e.parquet"),
        sha256=sha256_file(path),
        rows=9000,
        positives=None,
        candidate=champion.version_id,
        champion=None,
        holdout="h",
        spec_digest="s",
        first_event=None,
        last_event=None,
        candidate_threshold=None,
        champion_threshold=None,
    )
    bench.services.records.put("loans/train", ref)
    bench.services = replace(bench.services, scorers=cast(Any, ToldScorer()))
    return bench


def test_calm_scores_labels_and_performance_pass(scored: Bench) -> None:
    scored.source.table = portfolio(4000, 2)
    scored.source.labelled = with_labels(portfolio(8000, 4, days=8), 5)
    report = check_drift(scored.services, scored.run(START))
    assert report.prediction is not None
    assert report.label is not None
    assert report.performance is not None
    assert report.estimate is not None
    assert report.label.outcome is Outcome.PASSED
    decided = {one.statistic: one for one in report.prediction.statistics if one.outcome is not None}
    small = decided.pop("weighted_change")
    assert {one.outcome for one in decided.values()} == {Outcome.PASSED}
    assert (small.outcome, small.judged) == (Outcome.INCONCLUSIVE, False)
    assert "rows in both windows" in small.sentence
    assert small.sentence in report.prediction.sentence
    assert report.performance.outcome is not Outcome.FAILED
    assert not report.performance.estimate
    assert report.estimate.estimate
    assert report.action is DriftAction.NONE
    assert (START - 8 * DAY, START, True) in scored.source.pulls


def test_a_change_of_meaning_with_calm_inputs_is_found_by_labels_only(scored: Bench) -> None:
    scored.source.table = portfolio(4000, 2)
    scored.source.labelled = with_labels(portfolio(8000, 4, days=8), 5, meaning=0.0)
    report = check_drift(scored.services, scored.run(START))
    assert report.action is DriftAction.RETRAIN
    assert report.reason.startswith("performance: roc_auc")
    assert report.performance is not None
    assert (report.performance.shortfall or 0.0) > 0.05
    assert not report.carried_by
    assert report.estimate is not None
    assert report.estimate.outcome is not Outcome.FAILED


def test_a_later_check_tells_what_its_estimate_was_worth(scored: Bench) -> None:
    scored.source.table = portfolio(4000, 2)
    scored.source.labelled = with_labels(portfolio(8000, 4, days=8), 5)
    check_drift(scored.services, scored.run(START))
    later = START + 8 * DAY
    scored.source.table = portfolio(4000, 7, later)
    scored.source.labelled = with_labels(portfolio(8000, 8, later, days=8), 9)
    report = check_drift(scored.services, scored.run(later))
    assert report.estimate is not None
    assert "where labels say" in report.estimate.sentence


def test_no_mature_label_is_inconclusive(scored: Bench) -> None:
    scored.source.table = portfolio(4000, 2)
    scored.source.labelled = with_labels(portfolio(10, 4, days=8), 5)
    report = check_drift(scored.services, scored.run(START))
    assert report.performance is not None
    assert report.performance.outcome is Outcome.INCONCLUSIVE
    assert "200 are needed" in report.performance.sentence


def test_a_champion_that_cannot_be_loaded_is_an_error_and_the_inputs_are_checked_anyway(scored: Bench) -> None:
    scored.services = replace(scored.services, scorers=cast(Any, ToldScorer(IntegrityError("model.txt differs"))))
    scored.source.table = portfolio(4000, 2, income=0.7)
    report = check_drift(scored.services, scored.run(START))
    assert report.prediction is not None
    assert report.prediction.outcome is Outcome.ERROR
    assert "model.txt differs" in report.prediction.sentence
    assert report.carried_by == ("income",)


@pytest.mark.parametrize(("income", "moved"), [(1.0, False), (0.4, True)])
def test_the_profiles_own_scores_need_no_evaluation(bench: Bench, income: float, moved: bool) -> None:
    bench.set_drift(scores=True)
    before = risk(portfolio(9000, 11)["income"].to_numpy())
    bench.train(START - DAY, portfolio(9000, 1, START - DAY), scores=before)
    bench.services = replace(bench.services, scorers=cast(Any, ToldScorer()))
    bench.source.table = portfolio(4000, 2, income=income)
    report = check_drift(bench.services, bench.run(START))
    assert report.prediction is not None
    assert (report.prediction.outcome is Outcome.FAILED) is moved, report.prediction.sentence
    assert report.prediction.outcome is not Outcome.ERROR
    assert (report.prediction.reference_rows, report.prediction.current_rows) == (9000, 4000)


def test_without_an_evaluation_scores_are_not_called_calm(bench: Bench, champion: ServedVersion) -> None:
    bench.set_drift(scores=True)
    bench.services = replace(bench.services, scorers=cast(Any, ToldScorer()))
    bench.source.table = portfolio(4000, 2)
    report = check_drift(bench.services, bench.run(START))
    assert report.outcome is Outcome.ERROR
    assert report.action is DriftAction.NONE
    assert report.prediction is not None
    assert "no evaluation of champion" in report.prediction.sentence
