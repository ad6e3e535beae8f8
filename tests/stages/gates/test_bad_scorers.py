"""Models that misbehave while they are measured: a real night, its real measurements, a scorer that is really bad."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.stages.gates.conftest import Nights

from gauntlet.core.errors import GateFailed
from gauntlet.core.records.gates import GateReceipt
from gauntlet.stages.run_gate import run_gate


@dataclass
class Bad:
    """The real scorers, spoilt in one way."""

    inner: Any
    kind: str
    loads: int = 0

    def load(self, folder: Path) -> BadScorer:
        self.loads += 1
        return BadScorer(self.inner.load(folder), self.kind, self.loads)


@dataclass
class BadScorer:
    inner: Any
    kind: str
    load: int
    calls: int = 0

    @property
    def sidecar(self) -> Any:
        return self.inner.sidecar

    def score_table(self, table: Any) -> np.ndarray:
        self.calls += 1
        scores = self.inner.score_table(table)
        return SPOILT.get(self.kind, lambda *_: scores)(self, table, scores)

    def score_rows(self, rows: Sequence[Mapping[str, Any]]) -> np.ndarray:
        scores = self.inner.score_rows(rows)
        return scores + 0.01 if self.kind == "alone otherwise than in training" else scores


def first_feature(scorer: BadScorer) -> str:
    return str(scorer.sidecar.features[0].name)


def dies(_: BadScorer, table: Any, scores: np.ndarray) -> np.ndarray:
    if "(never seen in training)" in table.column("region").to_pylist():
        raise KeyError("(never seen in training)")
    return scores


def rises(_: BadScorer, table: Any, scores: np.ndarray) -> np.ndarray:
    worth = table.column("bureau_score").to_numpy(zero_copy_only=False).astype(float)
    return scores + 1e-4 * np.nan_to_num(worth)


SPOILT: dict[str, Callable[[BadScorer, Any, np.ndarray], np.ndarray]] = {
    "scaled by its batch": lambda _, table, scores: scores - scores.mean() + 0.1,
    "order of rows": lambda _, table, scores: scores + 1e-6 * np.arange(len(scores)),
    "another answer every time": lambda scorer, table, scores: scores + 1e-9 * scorer.calls,
    "another answer after loading": lambda scorer, table, scores: scores + 1e-9 * scorer.load,
    "counts its columns": lambda scorer, table, scores: scores + 1e-3 * table.num_columns,
    "takes columns by their place": lambda scorer, table, scores: (
        scores + 1e-3 * (table.column_names[0] != first_feature(scorer))
    ),
    "no score without a feature": lambda _, table, scores: np.where(
        table.column("amount").null_count > 0, np.nan, scores
    ),
    "dies of a new category": dies,
    "against its constraint": rises,
}
KINDS = {
    "scaled by its batch": ("batch_invariance", "failed", "score_change_in_halves"),
    "order of rows": ("batch_invariance", "failed", "score_change_shuffled"),
    "another answer every time": ("determinism", "failed", "score_change_repeated"),
    "another answer after loading": ("determinism", "failed", "score_change_reloaded"),
    "counts its columns": ("robustness", "failed", "score_change_with_extra_column"),
    "takes columns by their place": ("robustness", "failed", "score_change_with_reordered_columns"),
    "no score without a feature": ("robustness", "error", "metric_loss_with_missing of amount is nothing"),
    "dies of a new category": ("robustness", "error", "it could not be measured: KeyError"),
    "against its constraint": ("feature_health", "failed", "step_against_constraint of bureau_score"),
    "alone otherwise than in training": ("golden", "failed", "golden_score_change"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_is_refused_by_the_gate_that_should_see_it(nights: Nights, kind: str) -> None:
    gate, outcome, words = KINDS[kind]
    services = nights.lending.services
    spoilt = replace(services, scorers=Bad(services.scorers, kind))
    with pytest.raises(GateFailed, match=gate):
        run_gate(spoilt, nights.second, gate)
    receipt = services.records.get(nights.second.key, GateReceipt, gate)
    assert receipt.verdict.outcome == outcome
    assert words in " ".join([receipt.verdict.reason, *(item.sentence for item in receipt.verdict.measurements)])


def test_a_damaged_release_is_an_answer_and_a_full_disk_is_none(nights: Nights) -> None:
    from gauntlet.core.errors import IntegrityError

    services = nights.lending.services

    class Broken:
        def __init__(self, error: Exception) -> None:
            self.error = error

        def load(self, folder: Path) -> Any:
            raise self.error

    with pytest.raises(GateFailed, match="could not be measured: IntegrityError: one bit differs"):
        run_gate(replace(services, scorers=Broken(IntegrityError("one bit differs"))), nights.second, "golden")
    with pytest.raises(OSError, match="no space left"):
        run_gate(replace(services, scorers=Broken(OSError("no space left"))), nights.second, "determinism")
    assert services.records.find(nights.second.key, GateReceipt, "determinism") is None
