"""A run in which everything is good: what the gates see of it. Mutations change one thing of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from gauntlet.core.gates import smoke
from gauntlet.core.gates.evidence import ChampionFacts, Evidence, Frame
from gauntlet.core.label_facts import label_facts
from gauntlet.core.outcome import Outcome
from gauntlet.core.records.data import (
    ContractReport,
    DatasetRef,
    LeakageFinding,
    LeakageReport,
    SplitManifest,
    SplitPart,
)
from gauntlet.core.records.evaluation import EvaluationRef, LatencyProfile, ProbeReport, SmokeCheck
from gauntlet.core.records.gates import Approval
from gauntlet.core.records.model import Calibration, Feature, FeatureKind, ModelSidecar, ReleaseRef, Task, TrainedModel
from gauntlet.core.records.observation import Observation
from gauntlet.core.records.run import RunContext, TriggerKind
from gauntlet.core.spec import ModelSpec

CANDIDATE, CHAMPION, SNAPSHOT, HOLDOUT = "c" * 64, "d" * 64, "a" * 64, "b" * 64
NOW = datetime(2026, 3, 1, 3, tzinfo=UTC)
CUT = NOW - timedelta(days=12)
VERSION = "v_20260301T030000Z_0123abcd"
ROWS = 6000

BINARY_GATES: dict[str, Any] = {
    "data_contract": {},
    "label_quality": {"positive_rate": [0.1, 0.4]},
    "leakage": {},
    "absolute_performance": {
        "metrics": {"roc_auc": {"minimum": 0.75, "maximum": 0.99}, "f1": {"minimum": 0.4}, "log_loss": {"maximum": 0.5}}
    },
    "beats_naive": {},
    "versus_champion": {
        "margin": 0.02,
        "profit": {"act": "below", "good": 0, "gain": "profit_if_repaid", "loss": 300.0},
    },
    "calibration": {"ece": 0.05, "intercept": [-0.3, 0.3]},
    "slices": {"by": {"region": {}, "new_customer": {}}, "bounds": {"minimum": 0.7}, "margin": 0.1},
    "fairness": {"attributes": ["gender"], "favourable": "below", "tpr_gap": 0.1, "fpr_gap": 0.15},
    "overfit": {"gap": 0.06, "per_iteration": 0.1},
    "robustness": {"noise_loss": 0.02, "missing_loss": 0.1},
    "batch_invariance": {},
    "determinism": {"retrain": True},
    "prediction_sanity": {},
    "feature_health": {},
    "smoke": {},
    "latency": {},
    "size_memory": {},
    "golden": {},
    "infra_validation": {},
    "deployment_checklist": {},
    "freeze_window": {},
    "approval": {"approvers": ["ann", "bob"]},
}
REGRESSION_GATES: dict[str, Any] = BINARY_GATES | {
    "label_quality": {"label_mean": [-5, 5]},
    "absolute_performance": {"metrics": {"rmse": {"maximum": 1.0}, "r2": {"minimum": 0.5}}},
    "versus_champion": {"margin": 0.05},
    "calibration": {"intercept": [-0.1, 0.1]},
    "slices": {"by": {"region": {}}, "bounds": {"maximum": 1.2}, "margin": 0.2},
    "fairness": "off: no decisions are taken",
    "overfit": {"gap": 0.3},
    "prediction_sanity": {"range": {"minimum": -20, "maximum": 20}},
}


def spec(task: str = "binary", **gates: Any) -> ModelSpec:
    """The spec of the good run, with some gates said otherwise."""
    known = BINARY_GATES if task == "binary" else REGRESSION_GATES
    return ModelSpec.model_validate({
        "model": "loans",
        "task": task,
        "owner": {"team": "lending", "email": "lending@example.com"},
        "schedule": {},
        "source": {
            "kind": "files",
            "uri": "x.parquet",
            "columns": {
                "label": "y",
                "key": "id",
                "event_time": "at",
                "protected": ["gender"],
                "extra": ["profit_if_repaid", "new_customer"],
            },
            "features": {"numeric": ["amount", "income"], "categorical": ["region"]},
        },
        "contract": {"rows": [1, None], "columns": {}},
        "split": {"kind": "time"},
        "training": {"monotone": {"income": -1}, "threshold": 0.3 if task == "binary" else None},
        "drift": {"window": "1d"},
        "gates": known | gates,
        "rollout": {"steps": [{"weight": 5, "hold": "1m", "requests": 1}]},
    })


def frame(task: str = "binary", n: int = ROWS, seed: int = 0, *, champion: bool = True) -> Frame:
    """A holdout on which the candidate is calibrated and a little better than the champion."""
    random = np.random.default_rng(seed)
    signal = 1.6 * random.standard_normal(n)
    if task == "binary":
        truth = 1 / (1 + np.exp(1.8 - signal))
        label = (random.random(n) < truth).astype(np.float64)
        candidate = 1 / (1 + np.exp(1.8 - signal - 0.15 * random.standard_normal(n)))
        other = 1 / (1 + np.exp(1.8 - signal - 0.45 * random.standard_normal(n)))
    else:
        label = signal + 0.6 * random.standard_normal(n)
        candidate, other = signal + 0.1 * random.standard_normal(n), signal + 0.3 * random.standard_normal(n)
    start = round((CUT + timedelta(days=1)).timestamp() * 1e6)
    return Frame(
        row_key=np.arange(n, dtype=np.uint64),
        label=label,
        candidate=candidate,
        champion=other if champion else None,
        naive=np.full(n, label.mean()),
        event_us=start + np.arange(n, dtype=np.int64) * 1_000_000,
        seen=np.zeros(n, dtype=bool) if champion else None,
        columns={
            "region": np.array(["north", "south", "east"], dtype=object)[random.integers(0, 3, n)],
            "new_customer": np.array([True, False], dtype=object)[random.integers(0, 2, n)],
            "gender": np.array(["female", "male"], dtype=object)[random.integers(0, 2, n)],
            "profit_if_repaid": random.uniform(50, 150, n),
        },
    )


def observations(task: str = "binary") -> dict[str, tuple[Observation, ...]]:
    """What was measured for each gate, all good."""

    def seen(kind: str, value: float, subject: str | None = None, rows: int = 500) -> Observation:
        return Observation(kind=kind, subject=subject, rows=rows, value=value)

    random = np.random.default_rng(1)
    label = frame(task).label
    numeric = [("amount", "noise"), ("income", "noise")]
    every = ["amount", "income", "region"]
    return {
        "label_quality": tuple(label_facts(Task(task), label, [random.random(len(label))])),
        "robustness": (
            *(seen(kind, 0.001, name) for name, kind in numeric),
            *(seen("missing", 0.02, name) for name in every),
            seen("unseen_category", 0.01, "region"),
            seen("extra_column", 0.0),
            seen("reordered_columns", 0.0),
        ),
        "batch_invariance": tuple(seen(kind, 0.0) for kind in ("alone", "in_halves", "shuffled")),
        "determinism": tuple(seen(kind, 0.0) for kind in ("repeated", "reloaded", "retrained")),
        "feature_health": (
            *(seen("importance", share, name) for name, share in zip(every, (0.5, 0.3, 0.2), strict=True)),
            *(seen("constant", 0.0, name) for name in every),
            seen("against_monotone", 0.0, "income"),
        ),
        "golden": (seen("golden", 0.0, rows=40),),
        "infra_validation": (
            seen("served", 1.0, rows=40),
            seen("load_seconds", 1.5, rows=1),
            seen("unanswered", 0.0, rows=300),
            seen("score_change", 0.0, rows=40),
            seen("http_p50_ms", 1.0, rows=300),
            seen("http_p99_ms", 4.0, rows=300),
            seen("server_rss_mb", 250.0, rows=1),
        ),
        "deployment_checklist": (seen("rollback_target", 1.0, rows=1),),
    }


def sidecar(task: str, through: datetime) -> ModelSidecar:
    """What travels with the trees."""
    return ModelSidecar(
        model="loans",
        version_id=VERSION,
        task=Task(task),
        objective=task,
        features=(
            Feature(name="amount", kind=FeatureKind.NUMERIC, nullable=False, minimum=0, maximum=9),
            Feature(name="income", kind=FeatureKind.NUMERIC, nullable=True, minimum=0, maximum=9),
            Feature(name="region", kind=FeatureKind.CATEGORICAL, nullable=False, categories=("east", "north", "south")),
        ),
        classes=None,
        threshold=0.3 if task == "binary" else None,
        calibration=Calibration(method="isotonic", x=(0.0, 1.0), y=(0.0, 1.0)) if task == "binary" else None,
        best_iteration=120,
        tree_digest="t" * 64,
        model_sha256="m" * 64,
        trained_through=through,
    )


def good(
    gate: str,
    task: str = "binary",
    *,
    champion: bool = True,
    n: int = ROWS,
    seed: int = 0,
    gates: dict[str, Any] | None = None,
) -> Evidence:
    """Evidence for one gate with which it passes."""
    chosen = spec(task, **(gates or {}))
    rows = frame(task, n, seed, champion=champion)
    run = RunContext(
        model="loans",
        run="night-1",
        as_of=NOW,
        kind=TriggerKind.SCHEDULE,
        reason="on schedule",
        requested_by="carol",
        force_retrain=False,
        spec_digest=chosen.digest,
        opened_at=NOW,
    )
    release = ReleaseRef(uri="file:///r", digest=CANDIDATE, version_id=VERSION, tree_digest="t" * 64, size_bytes=90_000)
    fast = LatencyProfile(n=1000, p50_us=40, p95_us=60, p99_us=90, max_us=200)
    return Evidence(
        spec=chosen,
        run=run,
        judged_at=NOW,
        candidate=CANDIDATE,
        champion=CHAMPION if champion else None,
        trained=TrainedModel(
            release=release,
            mlflow_run_id="1",
            dataset=SNAPSHOT,
            split=HOLDOUT,
            profile_digest="p" * 64,
            metrics={"train.roc_auc": 0.87, "train.rmse": 0.55},
            train_rows=20_000,
            best_iteration=120,
            iterations_cap=400,
            seconds=3,
            peak_rss_mb=300,
            trained_at=NOW,
        ),
        sidecar=sidecar(task, CUT),
        dataset=DatasetRef(
            uri="file:///s",
            sha256=SNAPSHOT,
            rows=30_000,
            columns=("y",),
            size_bytes=1,
            first_event=None,
            last_event=None,
            as_of=NOW,
            window_start=None,
            window_end=None,
            query="",
        ),
        contract=ContractReport(
            outcome=Outcome.PASSED,
            reason="all hold",
            dataset=SNAPSHOT,
            evaluated=12,
            failed=(),
            suite_digest="s",
            page_uri=None,
            seconds=1,
        ),
        split=SplitManifest(
            dataset=SNAPSHOT,
            uri="file:///p",
            sha256=HOLDOUT,
            strategy="time",
            parts=tuple(
                SplitPart(name=name, rows=6000, positives=None, first_event=None, last_event=None, keys_digest="k")
                for name in ("train", "validation", "calibration", "holdout")
            ),
            dropped=0,
            dropped_reason="",
        ),
        leakage=LeakageReport(
            outcome=Outcome.PASSED,
            reason="nothing leaks",
            dataset=SNAPSHOT,
            findings=(LeakageFinding(check="overlap", outcome=Outcome.PASSED, sentence="0 rows in two parts"),),
        ),
        evaluation=EvaluationRef(
            uri="file:///e",
            sha256="e" * 64,
            rows=len(rows),
            positives=int(rows.label.sum()) if task == "binary" else None,
            candidate=CANDIDATE,
            champion=CHAMPION if champion else None,
            holdout=HOLDOUT,
            spec_digest=chosen.digest,
            first_event=None,
            last_event=None,
            candidate_threshold=0.3 if task == "binary" else None,
            champion_threshold=0.3 if task == "binary" else None,
        ),
        frame=rows,
        probe=ProbeReport(
            candidate=CANDIDATE,
            champion=CHAMPION if champion else None,
            checks=tuple(
                SmokeCheck(name=name, passed=True, detail="as it must") for name in smoke.TESTS + smoke.SCENARIOS
            ),
            candidate_latency=fast,
            champion_latency=fast if champion else None,
            model_bytes=90_000,
            load_seconds=0.1,
            rss_mb=150,
        ),
        observations=observations(task).get(gate),
        champion_facts=ChampionFacts(
            digest=CHAMPION,
            version_id="v_20260228T030000Z_89abcdef",
            trained_through=CUT - timedelta(days=1),
            trained_at=NOW - timedelta(days=1),
            size_bytes=80_000,
        )
        if champion
        else None,
        approvals=(
            Approval(model="loans", run="night-1", approver="ann", approved=True, reason="looks right", at=NOW),
        ),
        holdout_reads=1,
    )


def with_scores(evidence: Evidence, scores: np.ndarray) -> Evidence:
    """The same run with other scores of the candidate."""
    assert evidence.frame is not None
    return replace(evidence, frame=replace(evidence.frame, candidate=scores))
