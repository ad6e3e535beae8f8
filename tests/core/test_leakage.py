"""Leakage checks: each finds what it is for, and stays silent otherwise."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gauntlet.core import leakage
from gauntlet.core.leakage_evidence import NEVER, Column, Evidence, Limits
from gauntlet.core.outcome import Outcome
from gauntlet.core.records.model import Task
from gauntlet.core.splits import by_time, shares_of

ROWS = 2_000
LIMITS = Limits(auc=0.98, r2=0.9, duplicates=0.01, sample=50_000)
DAY = 86_400_000_000


def clean(task: Task = Task.BINARY, rows: int = ROWS, seed: int = 0) -> Evidence:
    """A snapshot with two honest features, an entity of two rows, and a clean split by time."""
    rng = np.random.default_rng(seed)
    signal, noise = rng.normal(size=rows), rng.normal(size=rows)
    at = np.arange(rows, dtype=np.int64) * 60_000_000
    entities = np.arange(rows) // 2
    codes = by_time(at, shares_of(0.2, 0.1, 0.2), embargo=timedelta(minutes=5), entities=entities).codes
    margin = signal + rng.normal(size=rows)
    label = {
        Task.BINARY: (margin > 1).astype(float),
        Task.REGRESSION: margin,
        Task.MULTICLASS: np.digitize(margin, [-0.5, 0.5]).astype(float),
    }[task]
    return Evidence(
        task=task,
        keys=np.arange(rows, dtype=np.uint64),
        parts=codes,
        label=label,
        features={
            "signal": Column(signal, categorical=False),
            "noise": Column(noise, categorical=False),
            "colour": Column(rng.integers(0, 4, rows).astype(float), categorical=True),
        },
        as_of=int(at[-1]),
        times={"at": at},
        event_time="at",
        by_time=True,
        embargo=5 * 60_000_000,
        entities=entities,
    )


def ask(evidence: Evidence, limits: Limits = LIMITS) -> dict[str, Any]:
    report = leakage.check("d", evidence, limits)
    return {finding.check: finding for finding in report.findings} | {"report": report}


def with_feature(evidence: Evidence, values: Any, categorical: bool = False) -> Evidence:
    return replace(evidence, features={**evidence.features, "leak": Column(np.asarray(values, float), categorical)})


@pytest.mark.parametrize("task", list(Task))
def test_a_clean_snapshot_passes_every_check(task: Task) -> None:
    answers = ask(clean(task))
    assert answers["report"].outcome is Outcome.PASSED
    expected = {"parts", "overlap", "duplicates", "entities", "windows", "future.at", "single_feature"}
    assert set(answers) - {"report"} == expected | ({"linear_combination"} if task is Task.REGRESSION else set())


def test_no_rows_are_never_a_pass() -> None:
    evidence = clean()
    answers = ask(replace(evidence, parts=np.zeros(ROWS, dtype=np.int8)))
    assert answers["parts"].outcome is Outcome.ERROR
    assert answers["parts"].sentence == "no rows in validation and holdout"
    assert answers["duplicates"].outcome is Outcome.ERROR
    nothing = ask(replace(evidence, parts=np.full(ROWS, 4, dtype=np.int8)))
    assert nothing["single_feature"].outcome is Outcome.ERROR
    assert nothing["report"].outcome is not Outcome.PASSED


def test_a_key_in_two_parts_is_found() -> None:
    evidence = clean()
    keys = evidence.keys.copy()
    keys[-1] = keys[0]
    answer = ask(replace(evidence, keys=keys))["overlap"]
    assert (answer.outcome, answer.sentence) == (Outcome.FAILED, "1 row keys are in more than one part")


@pytest.mark.parametrize("nudge", [0.0, 1e-6])
def test_duplicate_and_nearly_duplicate_rows_are_found(nudge: float) -> None:
    evidence = clean()
    features = {}
    for name, column in evidence.features.items():
        values = column.values.copy()
        values[-100:] = values[:100] * (1 + (nudge if not column.categorical else 0))
        features[name] = Column(values, column.categorical)
    answer = ask(replace(evidence, features=features))["duplicates"]
    assert answer.outcome is Outcome.FAILED
    assert "limit 1.00%" in answer.sentence


def test_fingerprints_take_missing_values_and_zeros_as_one() -> None:
    column = Column(np.array([np.nan, np.nan, 0.0, -0.0, 1.0, 1.0000001, 1.1]), categorical=False)
    prints = leakage.fingerprints([column], 7)
    assert prints[0] == prints[1]
    assert prints[2] == prints[3]
    assert prints[4] == prints[5] != prints[6]
    assert len(set(prints)) == 4


@given(seed=st.integers(0, 1000))
def test_fingerprints_tell_different_rows_apart(seed: int) -> None:
    rng = np.random.default_rng(seed)
    codes = [Column(rng.integers(0, 3, 500).astype(float), categorical=True) for _ in range(6)]
    rows = np.column_stack([column.values for column in codes])
    assert len(set(leakage.fingerprints(codes, 500))) == len(np.unique(rows, axis=0))


def test_a_straddling_entity_is_found_or_waived() -> None:
    evidence = clean()
    assert evidence.entities is not None
    entities = evidence.entities.copy()
    entities[-1] = entities[0]
    straddling = replace(evidence, entities=entities)
    assert ask(straddling)["entities"].outcome is Outcome.FAILED
    allowed = ask(replace(straddling, straddle="allow"))
    assert allowed["entities"].outcome is Outcome.WAIVED
    assert "split.entities: allow" in allowed["entities"].sentence
    assert allowed["report"].outcome is Outcome.WAIVED


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"embargo": DAY}, "starts inside the embargo"),
        ({"label_delay": DAY}, "label windows of train reach into validation"),
    ],
)
def test_windows_that_touch_are_found(change: dict[str, int], words: str) -> None:
    answer = ask(replace(clean(), **change))["windows"]  # type: ignore[arg-type]
    assert answer.outcome is Outcome.FAILED
    assert words in answer.sentence


def test_parts_that_overlap_in_time_are_found() -> None:
    evidence = clean()
    parts = evidence.parts.copy()
    parts[0] = 3
    assert ask(replace(evidence, parts=parts, entities=None))["windows"].outcome is Outcome.FAILED


@pytest.mark.parametrize("moment", [1, NEVER])
def test_times_after_the_as_of_time_or_none_are_found(moment: int) -> None:
    evidence = clean()
    known = evidence.times["at"].copy()
    known[5] = evidence.as_of + 1 if moment == 1 else NEVER
    answers = ask(replace(evidence, times={**evidence.times, "known": known}))
    assert answers["future.known"].outcome is Outcome.FAILED
    assert answers["future.at"].outcome is Outcome.PASSED


def test_labels_that_are_not_mature_are_found() -> None:
    answer = ask(replace(clean(), label_delay=60_000_000))["future.at"]
    assert answer.outcome is Outcome.FAILED
    assert answer.sentence == "1 of 2000 rows have at plus the label delay after the as-of time"


@pytest.mark.parametrize("task", list(Task))
@pytest.mark.parametrize("disguise", ["copy", "scaled", "folded", "category"])
def test_a_feature_that_is_the_label_is_named(task: Task, disguise: str) -> None:
    evidence = clean(task)
    label = evidence.label
    values = {
        "copy": label,
        "scaled": 3 - 7 * label,
        "folded": (label - label.min()) ** 2,
        "category": np.unique(np.round(label), return_inverse=True)[1].astype(float),
    }[disguise]
    answer = ask(with_feature(evidence, values, disguise == "category"))["single_feature"]
    assert answer.outcome is Outcome.FAILED
    assert "leak (" in answer.sentence
    assert "signal" not in answer.sentence


def test_a_value_that_is_missing_when_the_label_is_set_is_found() -> None:
    evidence = clean()
    answer = ask(with_feature(evidence, np.where(evidence.label == 1, np.nan, 1.0)))["single_feature"]
    assert answer.outcome is Outcome.FAILED


def test_the_limit_is_the_specs() -> None:
    evidence = clean()
    assert ask(evidence, replace(LIMITS, auc=0.6))["single_feature"].outcome is Outcome.FAILED
    assert ask(clean(Task.REGRESSION), replace(LIMITS, r2=0.2))["single_feature"].outcome is Outcome.FAILED


def test_an_identifier_does_not_look_like_a_leak() -> None:
    answers = ask(with_feature(clean(), np.arange(ROWS), categorical=True))
    assert answers["single_feature"].outcome is Outcome.PASSED


def test_empty_and_infinite_features_do_no_harm() -> None:
    for task in Task:
        for values in (np.full(ROWS, np.nan), np.full(ROWS, np.inf), np.r_[np.full(ROWS - 1, -np.inf), 1.0]):
            assert ask(with_feature(clean(task), values))["report"].outcome is Outcome.PASSED


def test_parts_that_add_up_to_the_label_are_named() -> None:
    evidence = clean(Task.REGRESSION)
    half = np.random.default_rng(3).normal(size=ROWS) * 3
    features = {**evidence.features, "one": Column(half, False), "other": Column(evidence.label - half, False)}
    answers = ask(replace(evidence, features=features))
    assert answers["single_feature"].outcome is Outcome.PASSED
    assert answers["linear_combination"].outcome is Outcome.FAILED
    assert "one" in answers["linear_combination"].sentence
    assert "other" in answers["linear_combination"].sentence
    assert "noise" not in answers["linear_combination"].sentence


def test_a_constant_label_cannot_be_checked() -> None:
    for task in (Task.BINARY, Task.REGRESSION):
        answer = ask(replace(clean(task), label=np.ones(ROWS)))["single_feature"]
        assert answer.outcome is Outcome.ERROR
    assert ask(replace(clean(), parts=np.r_[np.zeros(10), np.full(ROWS - 10, 3)].astype(np.int8)))[
        "single_feature"
    ].sentence.startswith("10 train rows with a label are too few")


def test_the_same_evidence_gives_the_same_report() -> None:
    assert leakage.check("d", clean(), LIMITS, 7) == leakage.check("d", clean(), LIMITS, 7)
