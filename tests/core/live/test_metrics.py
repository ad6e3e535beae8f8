"""Each live metric: passes the same, fails what is worse, and never passes without data."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from gauntlet.core.live.case import Case
from gauntlet.core.live.catalogue import LABEL_METRICS, METRICS, SHADOW_METRICS
from gauntlet.core.live.latency import latency, slowest_of_unit
from gauntlet.core.live.scores import (
    blurred_psi,
    decision_rate,
    noncentral_chi2_quantile,
    score_psi,
    score_shift,
    score_spread,
)
from gauntlet.core.live.traffic import error_rate, fallback_rate, invalid_outputs, sample_ratio, shadow_errors
from gauntlet.core.outcome import Outcome
from gauntlet.core.records.rollout import ExpectedShift

PASSED, FAILED, INCONCLUSIVE = Outcome.PASSED, Outcome.FAILED, Outcome.INCONCLUSIVE
EVERY = {**METRICS, **LABEL_METRICS}


def thresholds(case: Any, **rest: Any) -> Case:
    return case(stable_threshold=0.25, canary_threshold=0.25, **rest)


def labelled(values: dict[str, Any], rng: np.random.Generator) -> np.ndarray:
    return (rng.random(values["stable"].size) < values["stable"]).astype(float)


@pytest.mark.parametrize("name", EVERY)
def test_the_same_model_passes(name: str, window: Any, case: Any) -> None:
    for verdict in EVERY[name](window(label=labelled), thresholds(case)):
        assert verdict.outcome is PASSED, verdict.sentence


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("share", [0.2, 1.0])
def test_no_rows_are_never_a_pass(name: str, share: float, window: Any, case: Any) -> None:
    verdicts = EVERY[name](window(0, share), thresholds(case))
    assert verdicts
    assert {verdict.outcome for verdict in verdicts} == {INCONCLUSIVE}


@pytest.mark.parametrize(
    "name", sorted(set(METRICS) - {"sample_ratio", "score_psi", "score_shift", "score_spread", "decision_rate"})
)
def test_no_canary_rows_are_never_a_pass(name: str, window: Any, case: Any) -> None:
    verdicts = METRICS[name](window(50, arm=lambda values, _: np.zeros(50, dtype=bool)), thresholds(case))
    assert {verdict.outcome for verdict in verdicts} == {INCONCLUSIVE}


def test_lost_canary_requests_are_a_mismatch(window: Any, case: Any) -> None:
    found = sample_ratio(window(4000, 0.1, said=0.2), case())[0]
    assert found.outcome is FAILED
    assert found.critical
    assert "misassigned" in found.sentence


def test_champion_answers_at_full_weight_are_a_mismatch(window: Any, case: Any) -> None:
    assert sample_ratio(window(100, 0.9, said=1.0), case())[0].outcome is FAILED


def test_a_talkative_entity_is_one_unit(window: Any, case: Any) -> None:
    """One canary entity sends half of all requests: no mismatch, it was drawn once."""
    told = window(
        400, arm=lambda values, _: np.arange(400) < 240, unit=np.where(np.arange(400) < 200, 0, np.arange(400))
    )
    assert sample_ratio(told, case())[0].outcome is PASSED


def test_failing_canary_is_found_fast(window: Any, case: Any) -> None:
    told = window(120, 0.1, failed=lambda values, _: values["arm"], fell_back=lambda values, _: values["arm"])
    assert told.arm.sum() < 20
    assert error_rate(told, case())[0].outcome is FAILED
    assert fallback_rate(told, case())[0].outcome is FAILED


def test_an_outage_of_both_arms_is_not_the_canarys_fault(window: Any, case: Any) -> None:
    told = window(3000, failed=lambda values, rng: rng.random(3000) < 0.4)
    assert error_rate(told, case(checks={"error_rate_increase": 0.1}))[0].outcome is PASSED


def test_a_tolerated_error_rate_is_not_failed_by_noise(window: Any, case: Any) -> None:
    """A true increase of half the limit, over many draws and looks."""
    for seed in range(20):
        told = window(8000, 0.5, seed, failed=lambda values, rng: rng.random(8000) < 0.01 * values["arm"])
        assert error_rate(told, case(checks={"error_rate_increase": 0.02}))[0].outcome is PASSED


def test_errors_beyond_the_limit_without_proof_are_inconclusive(window: Any, case: Any) -> None:
    told = window(40, 0.5, failed=lambda values, _: values["arm"] & (np.cumsum(values["arm"]) == 1))
    assert error_rate(told, case())[0].outcome is INCONCLUSIVE


def test_after_twice_the_hold_bad_luck_passes_and_a_lean_does_not(window: Any, case: Any) -> None:
    def failures(count: int) -> Any:
        return lambda values, _: values["arm"] & (np.cumsum(values["arm"]) <= count)

    for count, late in ((1, PASSED), (4, INCONCLUSIVE)):
        told = window(120, 0.5, failed=failures(count))
        limit = {"error_rate_increase": 0.01}
        assert error_rate(told, case(checks=limit))[0].outcome is INCONCLUSIVE
        assert error_rate(told, case(checks=limit, patient=False))[0].outcome is late


def test_at_full_weight_only_what_the_champion_answered_counts(window: Any, case: Any) -> None:
    both = window(3000, 1.0, failed=lambda values, rng: rng.random(3000) < 0.05)
    assert error_rate(both, case())[0].outcome is PASSED
    alone = window(3000, 1.0, fell_back=lambda values, rng: rng.random(3000) < 0.05)
    assert error_rate(alone, case())[0].outcome is FAILED


def test_one_invalid_score_is_too_many(window: Any, case: Any) -> None:
    told = window(1000, invalid=lambda values, _: np.arange(1000) == np.flatnonzero(values["arm"])[3])
    assert invalid_outputs(told, case())[0].outcome is FAILED
    assert invalid_outputs(told, case(checks={"invalid_outputs": 1}))[0].outcome is PASSED


def slow(factor: float) -> Any:
    return lambda values, _: values["latency_ms"] * np.where(values["arm"], factor, 1)


def test_latency_beyond_twice_fails(window: Any, case: Any) -> None:
    told = window(4000, latency_ms=slow(6))
    assert {verdict.outcome for verdict in latency(told, case())} == {FAILED}


def test_tolerated_latency_is_not_failed_however_much_data_proves_it(window: Any, case: Any) -> None:
    for seed in range(5):
        told = window(20_000, 0.5, seed, latency_ms=slow(1.8))
        assert {verdict.outcome for verdict in latency(told, case(checks={"latency_floor_ms": 0}))} == {PASSED}


def test_differences_below_the_floor_never_count(window: Any, case: Any) -> None:
    told = window(5000, 0.5, latency_ms=lambda values, _: np.where(values["arm"], 1.9, 0.1))
    assert {verdict.outcome for verdict in latency(told, case())} == {PASSED}


def test_a_slow_host_is_not_the_canarys_fault(window: Any, case: Any) -> None:
    told = window(5000, latency_ms=lambda values, rng: rng.lognormal(4.5, 0.5, 5000))
    assert {verdict.outcome for verdict in latency(told, case())} == {PASSED}


def test_absolute_latency_limit_at_full_weight(window: Any, case: Any) -> None:
    told = window(2000, 1.0, latency_ms=lambda values, rng: np.where(rng.random(2000) < 0.1, 80.0, 2.0))
    assert [verdict.outcome for verdict in latency(told, case())] == [PASSED, PASSED, FAILED]


def test_slowest_request_of_a_unit_counts() -> None:
    from gauntlet.core.live.window import Window

    n = 4
    told = Window(
        share=0.5,
        arm=np.array([True, False, True, False]),
        unit=np.array([7, 3, 7, 5]),
        stable=np.zeros(n),
        canary=np.zeros(n),
        failed=np.zeros(n, dtype=bool),
        fell_back=np.zeros(n, dtype=bool),
        invalid=np.zeros(n, dtype=bool),
        latency_ms=np.array([1.0, 2.0, 9.0, 4.0]),
        settled=np.ones(n, dtype=bool),
        label=np.zeros(n),
        complete=True,
    )
    slowest, arm = slowest_of_unit(told)
    assert slowest.tolist() == [2.0, 4.0, 9.0]
    assert arm.tolist() == [False, False, True]


def test_collapse_to_one_score(window: Any, case: Any) -> None:
    told = window(60, canary=np.full(60, 0.2))
    found = score_spread(told, case())[0]
    assert found.outcome is FAILED
    assert found.critical


def test_collapse_to_two_scores(window: Any, case: Any) -> None:
    told = window(200, canary=lambda values, _: np.where(values["stable"] > 0.2, 0.5, 0.0))
    assert score_spread(told, case())[0].outcome is FAILED


def test_a_constant_champion_is_no_collapse_of_the_challenger(window: Any, case: Any) -> None:
    told = window(60, stable=np.full(60, 0.2), canary=np.full(60, 0.2))
    assert score_spread(told, case())[0].outcome is PASSED


def moved(by: float) -> Any:
    return lambda values, _: np.clip(values["stable"] + by, 0, 1)


def test_shifted_scores_fail_all_three_ways(window: Any, case: Any) -> None:
    told = window(400, canary=moved(0.2))
    judged = thresholds(case)
    assert [metric(told, judged)[0].outcome for metric in (score_psi, score_shift, decision_rate)] == [FAILED] * 3


def test_a_shift_seen_on_the_holdout_is_no_news(window: Any, case: Any) -> None:
    told = window(400, canary=moved(0.2))
    change = float((told.canary >= 0.25).mean() - (told.stable >= 0.25).mean())
    shift = float((told.canary - told.stable).mean() / told.stable.std(ddof=1))
    psi = blurred_psi(told.stable, told.canary)[0]
    expected = ExpectedShift(rows=5000, score_psi=psi, score_shift=shift, decision_rate_change=change)
    judged = thresholds(case, expected=expected)
    assert [metric(told, judged)[0].outcome for metric in (score_psi, score_shift, decision_rate)] == [PASSED] * 3
    # The other way round the same expectation makes no difference a big one.
    same = window(400)
    assert [metric(same, judged)[0].outcome for metric in (score_shift, decision_rate)] == [FAILED] * 2


def test_without_pairs_the_arms_are_compared(window: Any, case: Any) -> None:
    def unpaired(wanted: str) -> Any:
        def blank(values: dict[str, Any], _: Any) -> np.ndarray:
            scores = values["stable"] + (0.3 if wanted == "canary" else 0)
            return np.where(values["arm"] == (wanted == "canary"), scores, np.nan)

        return blank

    # "canary" is replaced first, while "stable" still has every score.
    told = window(4000, canary=unpaired("canary"), stable=unpaired("stable"))
    assert not told.paired.any()
    judged = thresholds(case)
    verdicts = [metric(told, judged)[0] for metric in (score_psi, score_shift, decision_rate)]
    assert [verdict.outcome for verdict in verdicts] == [FAILED] * 3
    assert "canary and" in verdicts[0].sentence


def test_no_threshold_no_decisions(window: Any, case: Any) -> None:
    assert decision_rate(window(), case()) == ()


def test_plateaus_a_hair_apart_are_no_shift() -> None:
    rng = np.random.default_rng(2)
    levels = rng.integers(0, 8, 3000)
    stable, canary = levels / 10, levels / 10 - 0.004
    assert blurred_psi(stable, canary)[0] < 0.02
    assert blurred_psi(stable, canary, blur=0.0)[0] > 0.5


def test_unblurred_psi_by_hand() -> None:
    """Two bins, 50/50 against 25/75 of 100 with half a count more each."""
    stable = np.repeat([0.0, 1.0], 50)
    canary = np.repeat([0.0, 1.0], [25, 75])
    first, second = np.array([50.5, 50.5]) / 101, np.array([25.5, 75.5]) / 101
    psi, bins = blurred_psi(stable, canary, bins=2, blur=0.0)
    assert bins == 2
    assert psi == pytest.approx(float(((second - first) * np.log(second / first)).sum()))


@pytest.mark.parametrize("freedom", [3, 9])
@pytest.mark.parametrize("noncentrality", [3.75, 12.5, 500.0])
def test_noncentral_chi2_quantile_against_scipy(freedom: int, noncentrality: float) -> None:
    for level in (0.95, 0.999, 1 - 1e-6):
        exact = stats.ncx2.ppf(level, freedom, noncentrality)
        assert 0.99 * exact <= noncentral_chi2_quantile(level, freedom, noncentrality) <= 1.04 * exact


def test_labels_find_a_model_that_only_got_worse(window: Any, case: Any) -> None:
    told = window(3000, label=labelled, canary=lambda values, rng: rng.permutation(values["stable"]))
    assert score_shift(told, case())[0].outcome is PASSED
    assert EVERY["log_loss"](told, case())[0].outcome is FAILED


def test_labels_find_a_miscalibrated_model(window: Any, case: Any) -> None:
    told = window(3000, label=labelled, canary=moved(0.3))
    assert EVERY["calibration"](told, case())[0].outcome is FAILED


def test_labels_of_one_arm_only_are_a_mismatch(window: Any, case: Any) -> None:
    told = window(3000, label=lambda values, rng: np.where(values["arm"], np.nan, 0.0))
    assert EVERY["label_ratio"](told, case())[0].outcome is FAILED


def test_sentences_can_be_read(window: Any, case: Any) -> None:
    for metric in EVERY.values():
        for verdict in metric(window(label=labelled), thresholds(case)):
            assert verdict.sentence.startswith(f"{verdict.metric}: ")
            assert "nan" not in verdict.sentence


# ---- the shadow


def shadow(window: Any, n: int = 600, failed: float = 0.0, **changes: Any) -> Any:
    """Nobody is in the canary arm; both versions score what stable answers, but for what the challenger cannot."""
    rng = np.random.default_rng(9)
    broken = rng.random(n) < failed
    made = window(n, 0.2, arm=lambda values, _: np.zeros(n, dtype=bool), shadow_failed=broken, said=1e-9, **changes)
    return replace(made, share=0.0, canary=np.where(broken, np.nan, made.canary))


@pytest.mark.parametrize("name", SHADOW_METRICS)
def test_in_the_shadow_the_same_model_passes_and_nothing_is_no_pass(name: str, window: Any, case: Any) -> None:
    for verdict in SHADOW_METRICS[name](shadow(window), thresholds(case)):
        assert verdict.outcome is PASSED, verdict.sentence
    for verdict in SHADOW_METRICS[name](shadow(window, 0), thresholds(case)):
        assert verdict.outcome is INCONCLUSIVE, verdict.sentence


def test_a_challenger_that_cannot_score_is_found_in_the_shadow(window: Any, case: Any) -> None:
    verdict = shadow_errors(shadow(window, failed=0.1), case())[0]
    assert (verdict.outcome, verdict.critical) == (FAILED, True)
    assert shadow_errors(shadow(window, failed=0.004), case())[0].outcome is PASSED


def test_a_challenger_that_scores_otherwise_is_found_in_the_shadow(window: Any, case: Any) -> None:
    told = shadow(window, canary=lambda values, _: np.clip(values["stable"] + 0.3, 0, 1))
    assert score_shift(told, thresholds(case))[0].outcome is FAILED


def test_what_counts_in_the_shadow_is_what_both_have_scored(window: Any) -> None:
    told = shadow(window, failed=0.5)
    assert told.requests == told.entities == int(np.isfinite(told.canary).sum())
