"""Known-bad records of earlier tasks, made of good ones."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from gauntlet.core.gates.evidence import Evidence, need
from gauntlet.core.gates.mutate import OTHER, Change, with_frame, with_record
from gauntlet.core.metrics import METRICS, PRIMARY
from gauntlet.core.outcome import Outcome
from gauntlet.core.records.data import LeakageFinding
from gauntlet.core.records.evaluation import LatencyProfile, ProbeReport, SmokeCheck
from gauntlet.core.records.gates import Approval


def champion_trained_later(evidence: Evidence) -> Evidence:
    """The champion's training ends after the holdout."""
    run = evidence.run.as_of
    return with_record("champion_facts", trained_through=run + timedelta(days=1))(evidence)


def champion_of_unknown_origin(evidence: Evidence) -> Evidence:
    """Nobody knows what the champion was trained on."""
    return with_frame(with_record("champion_facts", trained_through=None)(evidence), seen=None)


def leak_found(evidence: Evidence) -> Evidence:
    """The leakage task found a feature that gives the label away."""
    return _found("single_feature", "one feature alone ranks the label: AUC 0.999 > 0.980")(evidence)


def future_rows(evidence: Evidence) -> Evidence:
    """Rows that were not known yet when the data was read."""
    return _found("future.known_at", "12 of 20000 rows have known_at after the as-of time")(evidence)


def _found(check: str, sentence: str) -> Change:
    finding = LeakageFinding(check=check, outcome=Outcome.FAILED, sentence=sentence)
    return with_record("leakage", outcome=Outcome.FAILED, reason=sentence, findings=(finding,))


def green_with_a_red_finding(evidence: Evidence) -> Evidence:
    """A report that calls itself passed although a finding in it did not."""
    return with_record("leakage", findings=leak_found(evidence).leakage.findings)(evidence)  # type: ignore[union-attr]


def called_derived(evidence: Evidence) -> Evidence:
    """Rows learnt by heart, in trees that are not the champion's but are said to be."""
    facts = need(evidence.champion_facts, "facts about the champion").model_copy(update={"tree_digest": OTHER})
    said = with_record("trained", derived_from=evidence.champion)(memorised(evidence))
    return replace(said, champion_facts=facts)


def memorised(evidence: Evidence) -> Evidence:
    """Ten times the tolerated gap between training rows and holdout."""
    metric = getattr(evidence.spec.gates.config("overfit"), "metric", None) or PRIMARY[evidence.spec.task]
    gap = evidence.spec.gates.config("overfit").gap  # type: ignore[attr-defined]
    trained = need(evidence.trained, "training record")
    known = trained.metrics[f"train.{metric}"]
    metrics = {**trained.metrics, f"train.{metric}": known + METRICS[metric].sign * 10 * gap}
    return with_record("trained", metrics=metrics)(evidence)


def cut_off(evidence: Evidence) -> Evidence:
    """The best iteration is the last one allowed."""
    return with_record("trained", best_iteration=need(evidence.trained, "training record").iterations_cap)(evidence)


def smoke(name: str, passed: bool | None) -> Change:
    """One smoke check failed, or (None) not made."""

    def change(evidence: Evidence) -> Evidence:
        probe = need(evidence.probe, "probe report")
        checks = [check for check in probe.checks if check.name != name]
        if passed is not None:
            checks.append(SmokeCheck(name=name, passed=passed, detail="mutated"))
        return with_record("probe", checks=tuple(checks))(evidence)

    return change


def slower(factor: float) -> Change:
    """Every latency quantile this many times its limit."""

    def change(evidence: Evidence) -> Evidence:
        config = evidence.spec.gates.config("latency")
        n = getattr(config, "minimum_calls", 1000)
        slow = {name: factor * getattr(config, name) for name in ("p50_us", "p95_us", "p99_us")}
        profile = LatencyProfile(n=n, max_us=slow["p99_us"], **slow)
        return with_record("probe", candidate_latency=profile)(evidence)

    return change


def slower_than_champion(evidence: Evidence) -> Evidence:
    """Within every absolute limit, yet ten times the champion."""
    probe, config = need(evidence.probe, "probe report"), evidence.spec.gates.config("latency")
    n, p50 = getattr(config, "minimum_calls", 1000), getattr(config, "p50_us", 0.0) * 0.99
    ours = LatencyProfile(n=n, p50_us=p50, p95_us=p50, p99_us=p50, max_us=p50)
    theirs = LatencyProfile(n=n, p50_us=p50 / 10, p95_us=p50, p99_us=p50, max_us=p50)
    return replace(evidence, probe=probe.model_copy(update={"candidate_latency": ours, "champion_latency": theirs}))


def other_probe(evidence: Evidence) -> Evidence:
    """The probe was of another release."""
    probe: ProbeReport = need(evidence.probe, "probe report")
    return replace(evidence, probe=probe.model_copy(update={"candidate": OTHER}))


def release(**changes: Any) -> Change:
    """Fields of the release reference replaced."""

    def change(evidence: Evidence) -> Evidence:
        release = need(evidence.trained, "training record").release.model_copy(update=changes)
        return with_record("trained", release=release)(evidence)

    return change


def word(**changes: Any) -> Change:
    """One approval, good but for what is changed."""

    def change(evidence: Evidence) -> Evidence:
        config = evidence.spec.gates.config("approval")
        word = Approval(
            model=evidence.run.model,
            run=evidence.run.run,
            approver=config.approvers[0],  # type: ignore[attr-defined]
            approved=True,
            reason="looks good to me",
            at=evidence.judged_at,
        )
        given = {key: value(evidence) if callable(value) else value for key, value in changes.items()}
        return replace(evidence, approvals=(word.model_copy(update=given),))

    return change


def overused(evidence: Evidence) -> Evidence:
    """One reading more than the budget."""
    return replace(evidence, holdout_reads=evidence.spec.gates.holdout_reads + 1)
