"""Known-bad evidence: what earlier tasks would have recorded had the model, the data or the run been bad.

Each mutation names the gate that must not be satisfied by it. They are changes of good evidence, so they run on a
user's own spec and data as well as on the tests' world: a gate that lets one through guards nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta

from gauntlet.core.gates import (
    batch_invariance,
    deployment_checklist,
    determinism,
    feature_health,
    golden,
    infra_validation,
    label_quality,
    robustness,
)
from gauntlet.core.gates import mutate as m
from gauntlet.core.gates import mutate_holdout as h
from gauntlet.core.gates import mutate_records as r
from gauntlet.core.gates.evidence import Evidence
from gauntlet.core.outcome import Outcome
from gauntlet.core.records.account import Account


@dataclass(frozen=True)
class Mutation:
    """One way to be bad, and the gate that must see it. ``applies``: whether this evidence can be bad in this way."""

    name: str
    gate: str
    change: m.Change
    applies: Callable[[Evidence], bool] = m.always


MUTATIONS: tuple[Mutation, ...] = (
    Mutation("contract failed", "data_contract", m.with_record("contract", outcome=Outcome.FAILED, reason="in cents")),
    Mutation("contract of another snapshot", "data_contract", m.with_record("contract", dataset=m.OTHER)),
    Mutation("contract without expectations", "data_contract", m.with_record("contract", evaluated=0)),
    Mutation("contract never checked", "data_contract", m.without("contract")),
    Mutation("one class only", "label_quality", m.observed(label_quality.CLASS_SHARE, 0.0, "1"), m.binary),
    Mutation("labels in conflict", "label_quality", m.observed(label_quality.CONFLICTING, 0.9), m.binary),
    Mutation("labels all NaN", "label_quality", m.observed(label_quality.CLASS_SHARE, None), m.binary),
    Mutation(
        "labels made by a machine",
        "label_quality",
        m.observed(label_quality.GENERATED, 1.0),
        m.has(label_quality.GENERATED),
    ),
    Mutation("labels never looked at", "label_quality", lambda e: replace(e, observations=())),
    Mutation("leaked feature", "leakage", r.leak_found),
    Mutation("future rows", "leakage", r.future_rows),
    Mutation("green report with a red finding", "leakage", r.green_with_a_red_finding),
    Mutation("leakage report without checks", "leakage", m.with_record("leakage", findings=())),
    Mutation("leakage never checked", "leakage", m.without("leakage")),
    Mutation("holdout rows from the training period", "leakage", h.rows_from_training, m.timed),
    Mutation("duplicate holdout", "leakage", h.repeated_rows),
    Mutation("champion has seen the holdout", "leakage", h.seen_by_champion, m.championed),
    Mutation("champion trained later than the holdout", "leakage", r.champion_trained_later, m.timed_championed),
    Mutation("champion of unknown origin", "leakage", r.champion_of_unknown_origin, m.championed),
    Mutation("shuffled label", "absolute_performance", m.rescored(h.shuffled)),
    Mutation("constant predictor", "absolute_performance", m.rescored(h.constant)),
    Mutation("permuted column", "absolute_performance", m.rescored(h.mostly_shuffled)),
    Mutation("NaN scores", "absolute_performance", m.rescored(h.some_nan)),
    Mutation("empty holdout", "absolute_performance", m.only_rows(h.first_rows(0))),
    Mutation("a handful of rows", "absolute_performance", m.only_rows(h.first_rows(20))),
    Mutation("one class in the holdout", "absolute_performance", m.only_rows(h.one_class), m.binary),
    Mutation("rows lost after the evaluation", "absolute_performance", m.with_record("evaluation", rows=7)),
    Mutation("evaluation of another candidate", "absolute_performance", m.with_record("evaluation", candidate=m.OTHER)),
    Mutation("holdout read too often", "absolute_performance", r.overused),
    Mutation("the naive model itself", "beats_naive", h.naive_scores),
    Mutation("shuffled label", "beats_naive", m.rescored(h.shuffled)),
    Mutation("no naive scores", "beats_naive", lambda e: m.with_frame(e, naive=None)),
    Mutation("worse than the champion", "versus_champion", h.worse_than_champion, m.championed),
    Mutation("the champion again", "versus_champion", h.the_champion_again, m.championed),
    Mutation(
        "NaN champion scores",
        "versus_champion",
        h.nan_champion,
        m.championed,
    ),
    Mutation("champion not scored", "versus_champion", lambda e: m.with_frame(e, champion=None), m.championed),
    Mutation(
        "compared with another champion", "versus_champion", m.with_record("evaluation", champion=m.OTHER), m.championed
    ),
    Mutation("champion saw all rows", "versus_champion", r.champion_trained_later, m.timed_championed),
    Mutation("too sure of itself", "calibration", m.rescored(h.steep)),
    Mutation("constant predictor", "calibration", m.rescored(h.constant)),
    Mutation(
        "scores shifted, ranks kept",
        "calibration",
        m.rescored(lambda scores, _: h.chance(h.odds(scores) + 1.5)),
        m.binary,
    ),
    Mutation("one bad slice behind a good average", "slices", h.one_bad_slice),
    Mutation("slice column gone", "slices", h.no_column("slices")),
    Mutation("slices too small", "slices", m.only_rows(h.first_rows(60))),
    Mutation("one group turned away", "fairness", h.disfavoured),
    Mutation("protected attribute gone", "fairness", h.no_column("fairness")),
    Mutation("protected attribute empty", "fairness", h.null_column("fairness")),
    Mutation("no threshold", "fairness", m.with_record("evaluation", candidate_threshold=None)),
    Mutation("training rows learnt by heart", "overfit", r.memorised, m.trained_here),
    Mutation("training cut off at its cap", "overfit", r.cut_off, m.trained_here),
    Mutation("training metrics not recorded", "overfit", m.with_record("trained", metrics={}), m.trained_here),
    Mutation("other trees said to be the champion's", "overfit", r.called_derived, m.comparable_trees),
    Mutation("falls over with a little noise", "robustness", m.observed(robustness.NOISE, 1e6)),
    Mutation("no score when a feature is missing", "robustness", m.observed(robustness.MISSING, None)),
    Mutation("an extra column changes scores", "robustness", m.observed(robustness.EXTRA, 0.3)),
    Mutation("column order changes scores", "robustness", m.observed(robustness.REORDERED, 1e-3)),
    Mutation("nothing was perturbed", "robustness", lambda e: replace(e, observations=())),
    Mutation("scaled by the batch", "batch_invariance", m.observed(batch_invariance.ALONE, 0.05)),
    Mutation("order of rows matters", "batch_invariance", m.observed(batch_invariance.SHUFFLED, 1e-3)),
    Mutation("never scored alone", "batch_invariance", m.unobserved(batch_invariance.ALONE)),
    Mutation("another answer the second time", "determinism", m.observed(determinism.REPEATED, 1e-6)),
    Mutation("another answer after loading again", "determinism", m.observed(determinism.RELOADED, None)),
    Mutation(
        "other trees from the same data",
        "determinism",
        m.observed(determinism.RETRAINED, 1.0),
        m.has(determinism.RETRAINED),
    ),
    Mutation("scores beyond a probability", "prediction_sanity", m.rescored(h.noisy), m.sure),
    Mutation("constant predictor", "prediction_sanity", m.rescored(h.constant)),
    Mutation("infinite score", "prediction_sanity", m.rescored(h.infinite)),
    Mutation("NaN scores", "prediction_sanity", m.rescored(h.some_nan)),
    Mutation(
        "in other units than the champion",
        "prediction_sanity",
        m.rescored(lambda scores, _: h.chance(h.odds(scores) + 3)),
        m.binary_championed,
    ),
    Mutation("a model of one feature", "feature_health", m.observed(feature_health.IMPORTANCE, 1.0)),
    Mutation("importance never measured", "feature_health", m.unobserved(feature_health.IMPORTANCE)),
    Mutation("a constant feature", "feature_health", m.observed(feature_health.CONSTANT, 1.0)),
    Mutation(
        "a monotone constraint broken", "feature_health", m.observed(feature_health.MONOTONE, 0.01), m.monotone_feature
    ),
    Mutation("does not load", "smoke", r.smoke("load", False)),
    Mutation("accepts wrong feature names", "smoke", r.smoke("wrong_feature_names", False)),
    Mutation("a scenario was not tried", "smoke", r.smoke("nan_inputs", None)),
    Mutation("probe of another candidate", "smoke", r.other_probe),
    Mutation("smoke never tried", "smoke", m.without("probe")),
    Mutation("ten times too slow", "latency", r.slower(10)),
    Mutation("ten times slower than the champion", "latency", r.slower_than_champion, m.championed),
    Mutation("latency not measured", "latency", m.with_record("probe", candidate_latency=None)),
    Mutation("huge", "size_memory", m.with_record("probe", model_bytes=10**13)),
    Mutation("memory not measured", "size_memory", m.with_record("probe", rss_mb=None)),
    Mutation("probe of another candidate", "size_memory", r.other_probe),
    Mutation("golden scores changed", "golden", m.observed(golden.ROW, 0.01)),
    Mutation("golden rows gone", "golden", lambda e: replace(e, observations=())),
    Mutation("the server refuses it", "infra_validation", m.observed(infra_validation.SERVED, 0.0)),
    Mutation("other scores over HTTP", "infra_validation", m.observed(infra_validation.CHANGE, 0.01)),
    Mutation("requests without an answer", "infra_validation", m.observed(infra_validation.UNANSWERED, 3.0)),
    Mutation("seconds for one request", "infra_validation", m.observed(infra_validation.P99, 5e6)),
    Mutation("takes all memory", "infra_validation", m.observed(infra_validation.MEMORY, 1e9)),
    Mutation("memory of the server not measured", "infra_validation", m.unobserved(infra_validation.MEMORY)),
    Mutation("never tried on a server", "infra_validation", lambda e: replace(e, observations=())),
    Mutation("no version id", "deployment_checklist", r.release(version_id="latest")),
    Mutation("other trees than trained", "deployment_checklist", r.release(tree_digest=m.OTHER)),
    Mutation("no way back", "deployment_checklist", m.observed(deployment_checklist.ROLLBACK, 0.0), m.championed),
    Mutation("smoke not passed", "deployment_checklist", r.smoke("infer", False)),
    Mutation("frozen by hand", "freeze_window", lambda e: replace(e, frozen="ann: year-end close")),
    Mutation("silence", "approval", lambda e: replace(e, approvals=())),
    Mutation("approved by who asked", "approval", r.word(approver=lambda e: e.run.requested_by)),
    Mutation("rejected", "approval", r.word(approved=False, reason="not on a Friday")),
    Mutation("approved by a stranger", "approval", r.word(approver="mallory")),
    Mutation("a name that was only typed", "approval", r.word(account=Account(name="mallory"))),
    Mutation("approval of last year", "approval", r.word(at=lambda e: e.judged_at - timedelta(days=365))),
    Mutation("approval of another run", "approval", r.word(run="another-night")),
)
"""Every mutation. Their names are unique within a gate."""

BY_GATE: Mapping[str, tuple[Mutation, ...]] = {
    gate: tuple(item for item in MUTATIONS if item.gate == gate) for gate in dict.fromkeys(m.gate for m in MUTATIONS)
}
