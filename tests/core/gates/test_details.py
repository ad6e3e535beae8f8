"""What single gates do beyond what holds of all of them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from tests.mutations.world import CUT, ROWS, good, spec, with_scores

from gauntlet.core.feature_gain import gain_shares
from gauntlet.core.gates.calibration import linear_curve, logistic_curve
from gauntlet.core.gates.evidence import Frame
from gauntlet.core.gates.freeze_window import Weekly
from gauntlet.core.gates.judge import judge_gate
from gauntlet.core.gates.prediction_sanity import score_shift
from gauntlet.core.gates.robustness import plan
from gauntlet.core.gates.slices import declared, name_of
from gauntlet.core.metrics import Sample
from gauntlet.core.perturbations import perturbed


def frame_of(evidence) -> Frame:
    assert evidence.frame is not None
    return evidence.frame


def same_as_champion(evidence):
    """A candidate that scores like the champion, plus a whisper."""
    champion = frame_of(evidence).champion
    assert champion is not None
    return with_scores(
        evidence, np.clip(champion + 1e-4 * np.random.default_rng(2).standard_normal(ROWS), 0.001, 0.999)
    )


# ---- versus champion -------------------------------------------------------------------------------


def versus(evidence, **config):
    gates = {"versus_champion": {"margin": 0.02} | config}
    return judge_gate("versus_champion", replace(evidence, spec=spec(**gates)))


def test_equal_and_no_fresher_is_not_worth_promoting():
    evidence = same_as_champion(good("versus_champion"))
    evidence = replace(evidence, champion_facts=evidence.champion_facts.model_copy(update={"trained_through": CUT}))
    verdict = versus(evidence)
    assert verdict.outcome == "failed"
    assert "superior on 0 < 1 of 3 declared axes" in verdict.reason
    assert versus(evidence, superior_on=[]).outcome == "passed"


def test_with_few_rows_a_gain_of_the_margin_may_be_there_unseen():
    """No worse, no fresher: with enough rows that is no gain; with few the rows that would tell are named."""

    def verdict(n, margin):
        evidence = good("versus_champion", n=n)
        frame = frame_of(evidence)
        whisper = 0.02 * np.random.default_rng(2).standard_normal(n)
        scores = np.clip(frame.champion + whisper, 0.001, 0.999)
        evidence = replace(evidence, frame=replace(frame, candidate=scores))
        return versus(evidence, margin=margin, superior_on=["primary"])

    margins = (verdict(2000, margin) for margin in np.arange(0.0005, 0.02, 0.0005).tolist())
    # The smallest margin within which these rows just show that it is no worse.
    few = next(found for found in margins if found.measurements[0].outcome == "passed")
    many = verdict(30_000, 0.02)
    assert (few.outcome, many.outcome) == ("inconclusive", "failed")
    axes = few.measurements[-1]
    assert axes.metric == "superior_axes"
    assert axes.required_n is not None
    assert axes.required_n > 2000
    assert many.measurements[-1].required_n is None


def test_equal_but_fresher_is():
    verdict = versus(same_as_champion(good("versus_champion")), superior_on=["freshness"])
    assert verdict.outcome == "passed"
    assert "trained on data 1.0 days newer ≥ 1d" in verdict.reason
    later = versus(same_as_champion(good("versus_champion")), superior_on=["freshness"], freshness="2d")
    assert later.outcome == "failed"


def test_better_calibration_is_an_axis():
    evidence = good("versus_champion")
    champion = frame_of(evidence).champion
    assert champion is not None
    odds = np.log(champion / (1 - champion))
    biased = replace(frame_of(evidence), champion=1 / (1 + np.exp(-(odds + 1))), candidate=champion)
    verdict = versus(replace(evidence, frame=biased), superior_on=["calibration"])
    assert verdict.outcome == "passed"
    assert "ece" in verdict.reason


def test_profit_is_an_axis():
    evidence = good("versus_champion")
    profit = {"act": "below", "good": 0, "gain": 100.0, "loss": 2000.0}
    random = np.random.default_rng(1).permutation(ROWS)
    frame = frame_of(evidence)
    noisy = replace(frame, champion=np.where(np.arange(ROWS) % 3 == 0, frame.candidate[random], frame.candidate))
    verdict = versus(replace(evidence, frame=noisy), superior_on=["profit"], profit=profit)
    assert verdict.outcome == "passed"
    assert "profit" in verdict.reason


def test_modes():
    evidence = same_as_champion(good("versus_champion"))
    assert versus(evidence, mode="equivalence", superior_on=[]).mode == "equivalence"
    assert versus(evidence, mode="equivalence", superior_on=[]).outcome == "passed"
    assert versus(evidence, mode="superiority", superior_on=[]).outcome == "failed"
    assert versus(good("versus_champion"), mode="superiority", margin=0.001, superior_on=[]).outcome == "passed"
    assert versus(good("versus_champion"), mode="equivalence", margin=0.001, superior_on=[]).outcome == "failed"


def test_too_wide_an_interval_asks_for_rows():
    verdict = versus(good("versus_champion", n=1500), margin=0.001)
    needed = verdict.measurements[0].required_n
    assert verdict.outcome == "inconclusive" or verdict.measurements[0].delta > 0.001
    tight = versus(same_as_champion_noisy(n=1500), margin=0.001)
    assert tight.outcome == "inconclusive"
    assert tight.measurements[0].required_n > 1500
    assert f"about {tight.measurements[0].required_n:,}".replace(",", " ") in tight.reason
    assert needed is None or needed > 0


def same_as_champion_noisy(n):
    """As good as the champion, with errors of its own."""
    evidence = good("versus_champion", n=n)
    frame = frame_of(evidence)
    random = np.random.default_rng(3)
    odds = [np.log(frame.candidate / (1 - frame.candidate)) + 0.4 * random.standard_normal(n) for _ in range(2)]
    scores = [1 / (1 + np.exp(-values)) for values in odds]
    return replace(evidence, frame=replace(frame, candidate=scores[0], champion=scores[1]))


def test_rows_in_sample_for_the_champion_are_left_out_of_the_comparison():
    evidence = good("versus_champion", gates={"leakage": {"champion_overlap": "exclude"}})
    seen = np.arange(ROWS) < 1000
    dirty = replace(evidence, frame=replace(frame_of(evidence), seen=seen))
    verdict = judge_gate("versus_champion", dirty)
    assert verdict.measurements[0].n == ROWS - 1000
    leakage = judge_gate("leakage", replace(dirty, spec=evidence.spec, observations=None))
    assert leakage.outcome == "passed"
    assert any("1 000 holdout rows in-sample" in item.sentence for item in leakage.measurements)


def test_rows_known_by_their_content_may_be_alike_a_little():
    document = spec().model_dump(mode="json")
    document["source"]["columns"]["key"] = None
    unkeyed = type(spec()).model_validate(document)
    evidence = good("leakage")
    keys = frame_of(evidence).row_key.copy()
    keys[:50] = keys[50:100]
    few = replace(evidence, frame=replace(frame_of(evidence), row_key=keys))
    assert judge_gate("leakage", few).outcome == "failed"
    assert judge_gate("leakage", replace(few, spec=unkeyed)).outcome == "passed"
    keys = keys.copy()
    keys[: ROWS // 2] = keys[ROWS // 2 :]
    many = replace(evidence, spec=unkeyed, frame=replace(frame_of(evidence), row_key=keys))
    assert judge_gate("leakage", many).outcome == "failed"


def test_a_first_model_is_judged_by_what_is_left_or_not_at_all():
    verdict = judge_gate("versus_champion", good("versus_champion", champion=False))
    assert verdict.mode == "bootstrap"
    assert "absolute_performance and beats_naive" in verdict.reason
    off = good("versus_champion", champion=False, gates={"beats_naive": "off: there is no naive model"})
    assert judge_gate("versus_champion", off).outcome == "failed"
    assert "beats_naive is off" in judge_gate("versus_champion", off).reason


# ---- slices and fairness ---------------------------------------------------------------------------


def sliced(evidence, **config):
    gates = {"slices": {"by": {"region": {}}, "bounds": {"minimum": 0.7}} | config}
    return judge_gate("slices", replace(evidence, spec=spec(**gates)))


def with_column(evidence, name, values):
    frame = frame_of(evidence)
    return replace(evidence, frame=replace(frame, columns={**frame.columns, name: values}))


def rare(share_rows: int):
    evidence = good("slices")
    region = frame_of(evidence).columns["region"].copy()
    region[:share_rows] = "islands"
    return with_column(evidence, "region", region)


def test_a_small_slice_is_inconclusive_or_merged_but_never_dropped():
    evidence = rare(50)
    assert sliced(evidence).outcome == "inconclusive"
    assert "region=islands: 50 rows < 200" in sliced(evidence).reason
    merged = sliced(evidence, small="merge")
    assert merged.outcome == "passed"
    names = [item.slice for item in merged.measurements]
    assert any(str(name).startswith("region=islands+") for name in names)
    assert {"region=east", "region=north", "region=south"} <= set(names)


def test_the_list_of_values_is_closed():
    evidence = rare(600)
    listed = {"region": {"values": ["north", "south", "east"]}}
    assert "region=islands is not among the 3 declared values" in sliced(evidence, by=listed).reason
    absent = {"region": {"values": ["north", "south", "east", "islands", "west"]}}
    assert "region=west is declared but has 0 of" in sliced(evidence, by=absent).reason
    assert sliced(evidence, by=absent).outcome == "error"


def test_missing_values_are_a_slice_of_their_own():
    evidence = rare(600)
    region = frame_of(evidence).columns["region"].copy()
    region[:600] = None
    found, problems = declared(frame_of(with_column(evidence, "region", region)), spec().gates.config("slices"))
    assert problems == []
    assert "region=(missing)" in [part.name for part in found]


def test_a_column_with_too_many_values_is_no_slice():
    evidence = with_column(good("slices"), "region", np.array([f"r{i}" for i in range(ROWS)], dtype=object))
    verdict = sliced(evidence, most=50)
    assert "6 000 values > 50" in verdict.reason.replace("6000", "6 000")
    assert not verdict.outcome.satisfied


def test_below_the_floor_by_chance_is_inconclusive_and_surely_below_is_failed():
    floor = judge_gate("slices", good("slices")).measurements[0].observed
    assert floor is not None
    near = sliced(good("slices"), bounds={"minimum": floor + 0.001})
    assert near.measurements[0].outcome == "inconclusive"
    assert "reaches the bound" in near.measurements[0].sentence
    assert sliced(good("slices"), bounds={"minimum": 0.97}).outcome == "failed"


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (None, "(missing)"),
        (float("nan"), "(missing)"),
        (True, "true"),
        (np.float64(3.0), "3"),
        (0.5, "0.5"),
        ("x", "x"),
    ],
)
def test_names_of_slice_values(value, name):
    assert name_of(value) == name


def test_disparate_impact_is_the_ratio_of_favourable_rates():
    evidence = good("fairness")
    frame = frame_of(evidence)
    women = frame.columns["gender"] == "female"
    odd = np.arange(ROWS) % 2 == 0
    scores = np.where(women & odd, 0.9, 0.1)
    verdict = judge_gate("fairness", with_scores(evidence, scores))
    impact = next(item for item in verdict.measurements if item.metric == "disparate_impact")
    assert impact.observed == pytest.approx(1 - np.mean(odd[women]))
    assert impact.slice == "gender: female to male"
    assert verdict.outcome == "failed"


def test_fairness_without_support_is_inconclusive():
    evidence = good("fairness")
    gender = frame_of(evidence).columns["gender"].copy()
    gender[:20] = "other"
    verdict = judge_gate("fairness", with_column(evidence, "gender", gender))
    assert verdict.outcome == "inconclusive"
    assert "gender=other: 20 rows < 200" in verdict.reason


def test_one_group_alone_cannot_be_compared():
    evidence = with_column(good("fairness"), "gender", np.full(ROWS, "female", dtype=object))
    assert judge_gate("fairness", evidence).outcome == "error"


# ---- calibration, sanity, health -------------------------------------------------------------------


def test_the_calibration_slope_is_that_of_a_logistic_regression():
    frame = frame_of(good("calibration"))
    odds = np.log(frame.candidate / (1 - frame.candidate))
    reference = LogisticRegression(C=np.inf, tol=1e-10).fit(odds[:, None], frame.label)
    slope, _ = logistic_curve(Sample(frame.label, frame.candidate))
    assert slope == pytest.approx(reference.coef_[0, 0], rel=1e-5)
    shifted = 1 / (1 + np.exp(-(odds + 0.7)))
    _, before = logistic_curve(Sample(frame.label, frame.candidate))
    _, after = logistic_curve(Sample(frame.label, shifted))
    assert after == pytest.approx(before - 0.7, abs=1e-6)


def test_a_separated_or_constant_score_has_no_slope():
    label = np.repeat([0.0, 1.0], 50)
    assert np.isnan(logistic_curve(Sample(label, np.where(label == 1, 0.9, 0.1)))[0])
    assert np.isnan(logistic_curve(Sample(label, np.full(100, 0.5)))[0])
    assert np.isnan(linear_curve(Sample(label, np.full(100, 0.5)))[0])


def test_the_regression_slope_is_least_squares():
    random = np.random.default_rng(1)
    score = random.normal(3, 2, 500)
    label = 1 + 0.8 * score + random.normal(0, 0.1, 500)
    slope, intercept = linear_curve(Sample(label, score))
    assert slope == pytest.approx(np.polyfit(score, label, 1)[0])
    assert intercept == pytest.approx((label - score).mean() / label.std())


def test_a_calibration_that_had_no_rows_of_its_own_is_no_calibration():
    evidence = good("calibration")
    parts = tuple(
        part.model_copy(update={"rows": 0}) if part.name == "calibration" else part for part in evidence.split.parts
    )
    verdict = judge_gate("calibration", replace(evidence, split=evidence.split.model_copy(update={"parts": parts})))
    assert verdict.outcome == "failed"
    assert "calibration_rows 0 ≤ 0" in verdict.reason


def test_score_shift_is_in_standard_deviations():
    random = np.random.default_rng(1)
    scores = random.normal(0, 2, 5000)
    assert score_shift(scores, random.permutation(scores)) == pytest.approx(0)
    assert score_shift(scores, scores + 1) == pytest.approx(1 / scores.std())
    assert np.isnan(score_shift(np.ones(5), np.ones(5)))
    steps = np.round(scores, 1)
    assert score_shift(scores, steps) < 0.05


def multiclass(scores):
    evidence = good("prediction_sanity")
    frame = replace(frame_of(evidence), candidate=scores, champion=scores[::-1])
    document = spec().model_dump(mode="json")
    document["task"] = "multiclass"
    document["training"] |= {"threshold": None, "monotone": {}}
    document["gates"] |= {
        "label_quality": {},
        "absolute_performance": {"metrics": {"macro_f1": {"minimum": 0.3}, "log_loss": {"maximum": 1.5}}},
        "versus_champion": {"margin": 0.1},
        "calibration": "off: three classes",
        "slices": "off: three classes",
        "fairness": "off: three classes",
        "overfit": {"gap": 1.0},
    }
    return replace(evidence, frame=frame, spec=type(evidence.spec).model_validate(document))


def test_multiclass_scores_are_shares_of_one():
    random = np.random.default_rng(1)
    raw = random.random((ROWS, 3))
    good_scores = raw / raw.sum(axis=1, keepdims=True)
    assert judge_gate("prediction_sanity", multiclass(good_scores)).outcome == "passed"
    verdict = judge_gate("prediction_sanity", multiclass(good_scores * 0.9))
    assert verdict.outcome == "failed"
    assert "class_scores_sum_off_1" in verdict.reason
    flat = good_scores.copy()
    flat[:, 1] = 0.2
    assert "distinct_scores of class 1" in judge_gate("prediction_sanity", multiclass(flat)).reason


def test_multiclass_models_are_measured_and_compared():
    random = np.random.default_rng(2)
    label = random.integers(0, 3, ROWS).astype(float)

    def scores(strength):
        raw = random.random((ROWS, 3)) + strength * np.eye(3)[label.astype(int)]
        return raw / raw.sum(axis=1, keepdims=True)

    evidence = multiclass(scores(1.0))
    better = replace(evidence, frame=replace(frame_of(evidence), label=label, champion=scores(0.5)))
    assert judge_gate("absolute_performance", better).outcome == "passed"
    verdict = judge_gate("versus_champion", better)
    assert verdict.outcome == "passed"
    assert "log_loss" in verdict.reason
    worse = replace(better, frame=replace(frame_of(better), candidate=scores(0.1)))
    assert judge_gate("versus_champion", worse).outcome == "failed"


def test_gain_shares_are_those_of_lightgbm():
    import lightgbm as lgb

    random = np.random.default_rng(1)
    features = random.standard_normal((2000, 4))
    label = (features[:, 0] + 0.5 * features[:, 1] > 0).astype(int)
    booster = lgb.train({"objective": "binary", "verbose": -1, "num_leaves": 7}, lgb.Dataset(features, label), 20)
    shares = gain_shares(booster.model_to_string().encode(), ["a", "b", "c", "d"])
    gain = booster.feature_importance("gain")
    assert list(shares.values()) == pytest.approx(gain / gain.sum(), rel=1e-4)
    assert gain_shares(b"tree\nversion=v4\n", ["a"]) == {"a": 0.0}


# ---- perturbations ---------------------------------------------------------------------------------


def test_the_plan_covers_every_feature_and_each_perturbation_changes_one_thing():
    import pyarrow as pa

    features = good("robustness").sidecar.features
    table = pa.table({
        "amount": pa.array([1, 2, 3, None]),
        "income": pa.array([1.5, None, 2.5, 9.0]),
        "region": pa.array(["north", None, "east", "east"]).dictionary_encode(),
    })
    random = np.random.default_rng(1)
    steps = list(plan(features))
    assert len(steps) == 2 + 3 + 1 + 2
    for kind, feature in steps:
        changed = perturbed(table, kind, feature, 0.1, random)
        assert changed.num_rows == 4
        untouched = [name for name in table.column_names if name != feature]
        assert all(changed.column(name).equals(table.column(name)) for name in untouched)
        if kind == "noise":
            before, after = table.column(feature), changed.column(feature)
            assert before.null_count == after.null_count
        if kind == "missing":
            assert changed.column(feature).null_count == 4
    assert perturbed(table, "reordered_columns", None, 0.1, random).column_names == ["region", "income", "amount"]
    assert perturbed(table, "extra_column", None, 0.1, random).num_columns == 4
    with pytest.raises(ValueError, match="no perturbation"):
        perturbed(table, "earthquake", "amount", 0.1, random)


# ---- freeze windows --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("window", "moment", "inside"),
    [
        (Weekly(days=("fri",), since="16:00"), datetime(2026, 3, 6, 17), True),
        (Weekly(days=("fri",), since="16:00"), datetime(2026, 3, 6, 15, 59), False),
        (Weekly(days=("fri",), since="16:00"), datetime(2026, 3, 7, 0), False),
        (Weekly(since="09:00", until="17:00"), datetime(2026, 3, 4, 17), False),
        (Weekly(since="09:00", until="17:00"), datetime(2026, 3, 4, 9), True),
        (Weekly(), datetime(2026, 3, 4, 23, 59, 59), True),
    ],
)
def test_weekly_windows(window, moment, inside):
    assert window.holds(moment) is inside


def test_windows_are_in_the_schedules_time_zone():
    """22:30 UTC on a Friday in winter is 23:30 in Berlin; in summer it is Saturday there."""
    document = spec(freeze_window={"frozen": [{"days": ["sat"]}]}).model_dump(mode="json")
    document["schedule"]["timezone"] = "Europe/Berlin"
    local = type(spec()).model_validate(document)
    evidence = replace(good("freeze_window"), spec=local)
    winter, summer = datetime(2026, 3, 6, 22, 30, tzinfo=UTC), datetime(2026, 7, 3, 22, 30, tzinfo=UTC)
    assert judge_gate("freeze_window", replace(evidence, judged_at=winter)).outcome == "passed"
    assert judge_gate("freeze_window", replace(evidence, judged_at=summer)).outcome == "failed"


def test_dates_and_deployment_windows():
    dates = [{"first": "2026-12-20", "last": "2027-01-02", "reason": "year-end close"}]
    evidence = good("freeze_window", gates={"freeze_window": {"dates": dates}})
    inside = replace(evidence, judged_at=datetime(2026, 12, 24, 12, tzinfo=UTC))
    assert "year-end close" in judge_gate("freeze_window", inside).reason
    assert judge_gate("freeze_window", replace(inside, judged_at=datetime(2027, 1, 3, tzinfo=UTC))).outcome == "passed"
    allowed = {"freeze_window": {"allowed": [{"days": ["tue"], "since": "09:00", "until": "12:00"}]}}
    assert judge_gate("freeze_window", good("freeze_window", gates=allowed)).outcome == "failed"


def test_the_newest_word_of_an_approver_counts():
    evidence = good("approval")
    yes = evidence.approvals[0]
    no = yes.model_copy(update={"approved": False, "reason": "found a bug", "at": yes.at - timedelta(hours=1)})
    assert judge_gate("approval", replace(evidence, approvals=(yes, no))).outcome == "passed"
    later = no.model_copy(update={"at": yes.at})
    earlier = yes.model_copy(update={"at": yes.at - timedelta(hours=2)})
    assert judge_gate("approval", replace(evidence, approvals=(earlier, later))).outcome == "failed"
