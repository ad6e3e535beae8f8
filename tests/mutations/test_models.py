"""Models and data that are really bad: LightGBM trained or served on something broken, judged by the real gates."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import lightgbm as lgb
import numpy as np
import pytest
from tests.mutations.world import good

from gauntlet.core.gates.evidence import Evidence
from gauntlet.core.gates.judge import judge_gate
from gauntlet.core.label_facts import conflicting, label_facts
from gauntlet.core.leakage import check as check_leakage
from gauntlet.core.leakage_evidence import Column, Limits
from gauntlet.core.leakage_evidence import Evidence as LeakageEvidence
from gauntlet.core.records.model import Task
from gauntlet.core.splits import PARTS

TRAIN, HOLD = 5000, 4000
AMOUNT, INCOME, RATE, REGION = range(4)
PARAMS = {"objective": "binary", "num_leaves": 15, "verbose": -1, "seed": 3, "deterministic": True, "num_threads": 1}


@dataclass(frozen=True)
class Portfolio:
    """Features (n, 4): amount, income, rate, region code; labels (n,)."""

    features: np.ndarray
    label: np.ndarray


def portfolio(n: int, seed: int) -> Portfolio:
    random = np.random.default_rng(seed)
    amount, income = random.lognormal(8, 0.6, n), random.lognormal(7.6, 0.5, n)
    rate, region = random.uniform(0.03, 0.2, n), random.integers(0, 3, n).astype(float)
    odds = 1.5 * np.log(amount / income) + 8 * (rate - 0.1) + np.array([-1.0, 0.0, 1.0])[region.astype(int)] - 2.2
    label = (random.random(n) < 1 / (1 + np.exp(-odds))).astype(float)
    return Portfolio(np.column_stack([amount, income, rate, region]), label)


def fit(rows: Portfolio, label: np.ndarray | None = None, rounds: int = 60) -> lgb.Booster:
    target = rows.label if label is None else label
    data = lgb.Dataset(rows.features, target, categorical_feature=[REGION])
    return lgb.train({**PARAMS, "learning_rate": 0.08, "min_data_in_leaf": 60}, data, rounds)


@cache
def world() -> tuple[Portfolio, Portfolio, lgb.Booster]:
    train = portfolio(TRAIN, 1)
    return train, portfolio(HOLD, 2), fit(train)


def judged(scores: np.ndarray, gate: str, **changes) -> Evidence:
    """The good run's evidence with a really scored holdout; the honest model is champion."""
    _, holdout, honest = world()
    base = good(gate, n=HOLD, gates=LIMITS)
    assert base.frame is not None
    region = np.array(["east", "north", "south"], dtype=object)[holdout.features[:, REGION].astype(int)]
    columns = {**base.frame.columns, "region": region, **changes.pop("columns", {})}
    frame = replace(
        base.frame,
        label=holdout.label,
        candidate=scores,
        champion=honest.predict(holdout.features),
        naive=np.full(HOLD, world()[0].label.mean()),
        columns=columns,
    )
    return replace(base, frame=frame, **changes)


LIMITS = {
    "absolute_performance": {
        "metrics": {
            "roc_auc": {"minimum": 0.75, "maximum": 0.95},
            "f1": {"minimum": 0.35},
            "log_loss": {"maximum": 0.5},
        }
    },
    "calibration": {"ece": 0.04, "slope": [0.7, 1.4]},
    "slices": {"by": {"region": {}}, "bounds": {"minimum": 0.65}, "margin": 0.05},
}


def retrained(kind: str) -> lgb.Booster | None:
    """A model that learnt something wrong; ``None`` when the kind is not of that sort."""
    train, _, _ = world()
    random = np.random.default_rng(5)
    keep = (train.label == 1) | (random.random(TRAIN) < 0.15)
    greedy = {**PARAMS, "num_leaves": 255, "min_data_in_leaf": 2}
    learn = {
        "shuffled label": lambda: fit(train, random.permutation(train.label)),
        "labels turned round": lambda: fit(train, 1 - train.label),
        "trained on one row": lambda: fit(train, rounds=1),
        "labels of one region turned round": lambda: fit(
            train, np.where(train.features[:, REGION] == 1, 1 - train.label, train.label)
        ),
        "overfitted": lambda: lgb.train(greedy, lgb.Dataset(train.features, train.label), 150),
        "resampled without recalibration": lambda: fit(Portfolio(train.features[keep], train.label[keep])),
    }
    return learn[kind]() if kind in learn else None


def spoilt(kind: str, inputs: np.ndarray) -> np.ndarray:
    """The holdout's features as a broken feed would deliver them."""
    random = np.random.default_rng(5)
    if kind == "amount and income swapped":
        inputs[:, [AMOUNT, INCOME]] = inputs[:, [INCOME, AMOUNT]]
    if kind == "income in cents":
        inputs[:, INCOME] *= 100
    if kind == "column permuted":
        for column in (AMOUNT, INCOME):
            inputs[:, column] = random.permutation(inputs[:, column])
    if kind == "categories swapped":
        inputs[:, REGION] = 2 - inputs[:, REGION]
    return inputs


@cache
def broken(kind: str) -> np.ndarray:
    """Scores of the holdout by a model, or on inputs, broken in one way."""
    _, holdout, honest = world()
    return (retrained(kind) or honest).predict(spoilt(kind, holdout.features.copy()))


REJECTED = {
    "shuffled label": ("absolute_performance", "beats_naive", "versus_champion", "slices"),
    "labels turned round": ("absolute_performance", "beats_naive", "versus_champion", "calibration"),
    "trained on one row": ("absolute_performance", "calibration"),
    "labels of one region turned round": ("slices", "versus_champion"),
    "overfitted": ("versus_champion", "calibration"),
    "resampled without recalibration": ("calibration", "prediction_sanity"),
    "amount and income swapped": ("absolute_performance", "versus_champion"),
    "income in cents": ("absolute_performance", "versus_champion", "prediction_sanity"),
    "column permuted": ("versus_champion",),
    "categories swapped": ("versus_champion", "calibration"),
}


def test_the_honest_model_passes_everywhere():
    for gate in (
        "absolute_performance",
        "beats_naive",
        "versus_champion",
        "calibration",
        "slices",
        "prediction_sanity",
    ):
        verdict = judge_gate(gate, judged(broken("nothing"), gate))
        assert verdict.outcome == "passed", f"{gate}: {verdict.reason}"


@pytest.mark.parametrize(
    ("kind", "gate"), [(kind, gate) for kind, gates in REJECTED.items() for gate in gates], ids=lambda text: text
)
def test_a_broken_model_is_rejected(kind, gate):
    verdict = judge_gate(gate, judged(broken(kind), gate))
    assert not verdict.outcome.satisfied
    assert verdict.outcome != "error", verdict.reason


def test_a_good_average_hides_the_bad_region_but_not_from_the_slices():
    scores = broken("labels of one region turned round")
    relaxed = {"absolute_performance": {"metrics": {"roc_auc": {"minimum": 0.55}, "recall": {"minimum": 0.1}}}}
    evidence = judged(scores, "absolute_performance")
    evidence = replace(evidence, spec=good("absolute_performance", gates=relaxed).spec)
    assert judge_gate("absolute_performance", evidence).outcome == "passed"
    verdict = judge_gate("slices", judged(scores, "slices"))
    assert "region=north" in verdict.reason


# ---- data ------------------------------------------------------------------------------------------


def leakage_of(features: dict[str, np.ndarray], label: np.ndarray, **changes):
    """The real leakage task's checks on a snapshot with these features, otherwise in order but for ``changes``."""
    n = len(label)
    names = ("train", "validation", "calibration", "holdout")
    parts = np.repeat([PARTS.index(name) for name in names], [n - 3 * (n // 5), *[n // 5] * 3]).astype(np.int8)
    evidence = LeakageEvidence(
        task=Task.BINARY,
        keys=np.arange(n, dtype=np.uint64),
        parts=parts,
        label=label,
        features={name: Column(values, categorical=False) for name, values in features.items()},
        as_of=10**18,
        times={},
        event_time=None,
        by_time=False,
        embargo=0,
        label_delay=0,
        entities=None,
        straddle="allow",
    )
    evidence = replace(evidence, **changes)
    return check_leakage("a" * 64, evidence, Limits(auc=0.98, r2=0.9, duplicates=0.01, sample=5000), 1)


def test_a_leaked_feature_is_seen_by_the_leakage_gate():
    train, _, _ = world()
    honest = {name: train.features[:, place] for place, name in enumerate(("amount", "income", "rate", "region"))}
    assert leakage_of(honest, train.label).outcome.satisfied
    noise = np.random.default_rng(1).normal(0, 0.05, TRAIN)
    report = leakage_of(honest | {"days_overdue": train.label + noise}, train.label)
    verdict = judge_gate("leakage", replace(good("leakage"), leakage=report))
    assert verdict.outcome == "failed"
    assert "days_overdue" in verdict.reason


DAY_US = 86_400_000_000


def bad_snapshot(kind: str) -> dict:
    """What is wrong with a snapshot of the portfolio whose rows are an hour apart."""
    hours = np.arange(TRAIN, dtype=np.int64) * (DAY_US // 24)
    in_order = {"times": {"at": hours}, "event_time": "at", "as_of": int(hours[-1]) + DAY_US}
    late = hours.copy()
    late[17] = hours[-1] + 2 * DAY_US
    people = np.arange(TRAIN)
    people[-1] = people[0]
    return {
        "in order": in_order,
        "future rows": in_order | {"times": {"at": hours, "known": late}},
        "an entity on both sides": in_order | {"entities": people, "straddle": "keep_latest"},
        "no embargo between the parts": in_order | {"by_time": True, "embargo": DAY_US},
        "label windows across the parts": in_order | {"by_time": True, "label_delay": DAY_US},
        "the same key twice": in_order | {"keys": np.r_[np.arange(TRAIN - 1), 0].astype(np.uint64)},
    }[kind]


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("future rows", "1 of 5000 rows have known after the as-of time"),
        ("an entity on both sides", "1 entities are in more than one part"),
        ("no embargo between the parts", "inside the embargo"),
        ("label windows across the parts", "label windows of train reach into validation"),
        ("the same key twice", "1 row keys are in more than one part"),
        ("rows of train again, a hair apart", "have the features of a train row"),
    ],
)
def test_bad_snapshots_are_refused_by_the_leakage_gate(kind, words):
    train, _, _ = world()
    columns = {name: train.features[:, place].copy() for place, name in enumerate(("amount", "income", "rate"))}
    assert leakage_of(columns, train.label, **bad_snapshot("in order")).outcome.satisfied
    if kind == "rows of train again, a hair apart":
        for values in columns.values():
            values[-200:] = values[:200] * (1 + 1e-6)
        report = leakage_of(columns, train.label, **bad_snapshot("in order"))
    else:
        report = leakage_of(columns, train.label, **bad_snapshot(kind))
    verdict = judge_gate("leakage", replace(good("leakage"), leakage=report))
    assert verdict.outcome == "failed"
    assert words in verdict.reason


def test_a_leaked_model_is_too_good_to_be_true():
    _, holdout, _ = world()
    verdict = judge_gate("absolute_performance", judged(0.02 + 0.96 * holdout.label, "absolute_performance"))
    assert verdict.outcome == "failed"
    assert "roc_auc 1.000 > 0.950" in verdict.reason.replace("roc_auc 1 >", "roc_auc 1.000 >")


def test_conflicting_labels_are_seen():
    train, _, _ = world()
    columns = [train.features[:, place] for place in range(4)]
    assert conflicting(columns, train.label) == pytest.approx(0.0)
    twice = [np.concatenate([column, column[:500]]) for column in columns]
    label = np.concatenate([train.label, 1 - train.label[:500]])
    assert conflicting(twice, label) == pytest.approx(1000 / 5500)
    facts = tuple(label_facts(Task.BINARY, label, twice))
    verdict = judge_gate("label_quality", replace(good("label_quality"), observations=facts))
    assert verdict.outcome == "failed"
    assert "conflicting 0.182 > 0.020" in verdict.reason


def test_conflicts_are_found_with_missing_values_and_both_zeros():
    one = np.array([np.nan, np.nan, 0.0, -0.0, 5.0])
    assert conflicting([one], np.array([0.0, 1.0, 0.0, 1.0, 1.0])) == pytest.approx(4 / 5)


def test_labels_made_by_a_machine_are_counted():
    origin = np.array(["person"] * 60 + ["rule"] * 40, dtype=object)
    label = np.tile([0.0, 1.0], 50)
    facts = tuple(label_facts(Task.BINARY, label, [np.arange(100.0)], origin=origin, generated=["rule"]))
    gates = {"label_quality": {"generated": {"column": "new_customer", "values": ["rule"]}, "minimum_rows": 50}}
    evidence = replace(good("label_quality", gates=gates), observations=facts)
    verdict = judge_gate("label_quality", evidence)
    assert verdict.outcome == "failed"
    assert "generated 0.400 > 0.200" in verdict.reason
