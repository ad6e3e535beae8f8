"""The slice audit: what is planted is found, chance is not, and few labels are no verdict."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from gauntlet.core.alerts import fold
from gauntlet.core.layers.finding import Found, merged
from gauntlet.core.layers.finding import found as no_symptoms
from gauntlet.core.outcome import Outcome
from gauntlet.core.performance import Quality
from gauntlet.core.records.feedback import AuditedSlice, SliceAudit
from gauntlet.core.records.model import Task
from gauntlet.core.records.monitoring import Alert, Layer, LayerReport
from gauntlet.core.slice_audit import (
    Served,
    audit_declared,
    audit_found,
    declared_slices,
    gap_of,
    usual_gaps,
    weak_slices,
)
from gauntlet.core.slice_symptoms import OVERDUE, slice_symptoms
from gauntlet.core.specs.monitoring import AlertsSection, SliceAuditSection
from gauntlet.core.weak_slices import bins_of, proposed

SECTION = SliceAuditSection()
NOW = datetime(2026, 3, 20, tzinfo=UTC)
ALPHA = 0.001
N = 12_000


def people(seed: int = 0, n: int = N) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {
        "income": rng.lognormal(7.5, 0.5, n),
        "region": rng.choice(["north", "south", "east"], n, p=[0.5, 0.3, 0.2]),
        "owner": rng.random(n) < 0.4,
        "age": rng.integers(18, 80, n).astype(float),
        "score": rng.beta(2, 8, n),
        "draw": rng.random(n),
    }


def served(has: dict[str, Any], off: Any = 0.0, **changes: Any) -> Served:
    """Labels drawn from the scores, ``off`` by so much."""
    score = has["score"]
    whole = Served(
        score=score,
        label=(has["draw"] < np.clip(score + off, 0, 1)).astype(float),
        due=np.ones(score.size, dtype=bool),
        decision=(score >= 0.25).astype(float),
        unit=np.arange(score.size),
    )
    return replace(whole, **changes)


def columns(has: dict[str, Any]) -> dict[str, pa.ChunkedArray]:
    return {name: pa.chunked_array([has[name]]) for name in ("income", "region", "owner", "age")}


def found(has: dict[str, Any], given: Served, limit: float = 0.05) -> list[AuditedSlice]:
    chosen = weak_slices(given, bins_of(columns(has)), SECTION, limit)
    return [audit_found(given, one, SECTION, ALPHA / max(1, len(chosen)), limit) for one in chosen]


# ---- searching -------------------------------------------------------------------------------------


def test_a_region_that_pays_worse_than_it_is_scored_is_found_by_its_name() -> None:
    has = people()
    (one, *_) = found(has, served(has, 0.15 * (has["region"] == "east")))
    assert one.name == "region=east"
    assert (one.outcome, one.found, one.features) == (Outcome.FAILED, True, ("region",))
    assert one.interval is not None
    assert 0.05 < one.interval[0] < 0.15 < one.interval[1]


def test_a_pair_of_features_is_found_where_neither_alone_is_weak_enough() -> None:
    has = people()
    low = has["income"] < np.quantile(has["income"], 0.2)
    failing = [one for one in found(has, served(has, 0.3 * (low & has["owner"]))) if one.outcome is Outcome.FAILED]
    assert failing[0].features == ("income", "owner")
    assert "owner=true" in failing[0].name


def test_what_is_missing_is_a_slice() -> None:
    has = people()
    gone = np.random.default_rng(9).random(N) < 0.2
    has["income"] = pa.array(has["income"], mask=gone)
    (one, *_) = found(has, served(has, 0.2 * gone))
    assert one.name == "income missing"


@pytest.mark.parametrize("seed", range(12))
def test_chance_finds_nothing(seed: int) -> None:
    """Twelve sound models, some thousand slices each: none is called weak."""
    has = people(seed, 4000)
    assert [one.sentence for one in found(has, served(has)) if one.outcome is Outcome.FAILED] == []


def test_harder_is_not_weaker() -> None:
    """In one region nobody can be told apart and many default; the model knows, so its labels are as scored."""
    has = people()
    east = has["region"] == "east"
    has["score"] = np.where(east, 0.45, has["score"])
    assert [one for one in found(has, served(has)) if one.outcome is Outcome.FAILED] == []


def test_a_model_that_is_off_for_all_is_no_slice() -> None:
    has = people()
    assert [one for one in found(has, served(has, 0.2)) if one.outcome is Outcome.FAILED] == []


def test_the_half_that_proposes_does_not_decide() -> None:
    """Labels that are off in one half of the people only: proposed, and refuted by the other half."""
    has = people()
    half = served(has).proposing
    given = served(has, 0.2 * ((has["region"] == "east") & half))
    (one, *_) = found(has, given)
    assert one.name == "region=east"
    assert one.outcome is not Outcome.FAILED


@pytest.mark.parametrize("every", [2, 3, 4])
def test_a_slice_that_is_every_other_row_is_in_both_halves(every: int) -> None:
    """As of requests with an applicant and a guarantor each."""
    has = people()
    has["region"] = np.where(np.arange(N) % every == 1, "guarantor", "applicant")
    (one, *_) = found(has, served(has, 0.15 * (has["region"] == "guarantor")))
    assert one.features == ("region",)
    assert one.outcome is Outcome.FAILED


def test_nearly_the_same_slice_is_told_once() -> None:
    has = people()
    has["again"] = np.where(has["region"] == "east", "yes", "no")
    bins = bins_of({**columns(has), "again": pa.chunked_array([has["again"]])})
    given = served(has, 0.2 * (has["region"] == "east"))
    chosen = proposed(bins, given.label - given.score, given.evidence, least=200, effect=0.05, most=5)
    east = has["region"] == "east"
    assert sum(int((one.mask & east).sum()) > 0.5 * int((one.mask | east).sum()) for one in chosen) == 1


def test_bins_of_a_column_part_its_rows() -> None:
    has = people(n=500)
    has["few"] = np.repeat([1.0, 2.0], 250)
    has["same"] = np.ones(500)
    for name, column in {**columns(has), "few": pa.chunked_array([has["few"]])}.items():
        masks = np.array([one.mask for one in bins_of({name: column})])
        assert (masks.sum(axis=0) == 1).all(), name
    assert bins_of({"same": pa.chunked_array([has["same"]])}) == []


# ---- declared slices -------------------------------------------------------------------------------


def regions(has: dict[str, Any]) -> Any:
    return declared_slices({"region": pa.chunked_array([has["region"]])})


def shuffled_in(has: dict[str, Any], given: Served, region: str) -> Served:
    """In one region labels have nothing to do with the scores any more."""
    inside = np.flatnonzero(has["region"] == region)
    label = given.label.copy()
    label[inside] = np.random.default_rng(3).permutation(label[inside])
    return replace(given, label=label)


def audited(has: dict[str, Any], given: Served, usual: dict[str, Quality], limit: float = 0.08) -> dict[str, Any]:
    return {
        one.name: audit_declared(Task.BINARY, given, one, usual.get(one.name), SECTION, ALPHA, limit)
        for one in regions(has)
    }


def usual_of(has: dict[str, Any], given: Served) -> dict[str, Quality]:
    return usual_gaps(Task.BINARY, given.score, given.label, regions(has), 200)


def test_a_slice_that_has_become_hard_to_rank_fails_and_the_others_do_not() -> None:
    has = people()
    then = served(people(1))
    now = shuffled_in(has, served(has), "east")
    seen = audited(has, now, usual_of(people(1), then))
    assert {name: one.outcome for name, one in seen.items()} == {
        "region=north": Outcome.PASSED,
        "region=south": Outcome.PASSED,
        "region=east": Outcome.FAILED,
    }
    east = seen["region=east"]
    assert east.metric == "roc_auc"
    assert east.value == pytest.approx(0.5, abs=0.05)
    assert east.gap == pytest.approx(east.rest - east.value)
    assert 0 < east.interval[0] < east.gap < east.interval[1]


def test_a_slice_that_always_was_hard_is_no_news() -> None:
    has, before = people(), people(1)
    then = shuffled_in(before, served(before), "east")
    seen = audited(has, shuffled_in(has, served(has), "east"), usual_of(before, then))
    assert seen["region=east"].outcome is not Outcome.FAILED
    assert seen["region=east"].usual > 0.08


def test_without_an_evaluation_or_labels_there_is_no_verdict() -> None:
    has = people()
    given = served(has)
    assert {one.outcome for one in audited(has, given, {}).values()} == {Outcome.INCONCLUSIVE}
    few = replace(given, label=np.where(np.arange(N) < 150, given.label, np.nan))
    usual = usual_of(has, given)
    seen = audited(has, few, usual)
    assert {one.outcome for one in seen.values()} == {Outcome.INCONCLUSIVE}
    assert {one.value for one in seen.values()} == {None}
    assert seen["region=north"].coverage == pytest.approx(seen["region=north"].labelled / seen["region=north"].rows)


def test_labels_that_are_not_due_are_no_gap_in_coverage() -> None:
    has = people()
    due = np.arange(N) < N // 2
    given = served(has, due=due)
    one = audited(has, replace(given, label=np.where(due, given.label, np.nan)), {})["region=north"]
    assert one.coverage == pytest.approx(1)
    assert one.due < one.rows


def test_one_entity_is_one_piece_of_evidence() -> None:
    has = people()
    given = served(has, unit=np.arange(N) % 100)
    assert {one.outcome for one in audited(has, given, usual_of(has, served(has))).values()} == {Outcome.INCONCLUSIVE}
    assert found(has, replace(given, label=1 - given.label)) == []


def test_decisions_of_the_reserve_are_in_no_rate() -> None:
    has = people()
    given = served(has)
    drawn = np.random.default_rng(2).random(N) < 0.05
    one = audited(has, replace(given, decision=np.where(drawn, np.nan, given.decision)), {})["region=east"]
    east = (has["region"] == "east") & ~drawn
    assert one.decision_rate == given.decision[east].mean()
    assert one.decision_interval[0] < one.decision_rate < one.decision_interval[1]
    assert one.rest_decision_rate == given.decision[~(has["region"] == "east") & ~drawn].mean()


def test_a_regression_is_compared_by_its_relative_error() -> None:
    rng = np.random.default_rng(0)
    score, inside = rng.normal(100, 20, N), np.arange(N) % 4 == 0
    label = score + rng.normal(0, 1, N) * np.where(inside, 2.0, 1.0)
    gap = gap_of(Task.REGRESSION, score, label, inside, 200)
    assert gap.metric == "mean_absolute_error"
    assert gap.worse.value == pytest.approx(1.0, abs=0.1)
    assert abs(gap.worse.value - 1) < 4 * gap.worse.error < 0.3


# ---- what it means for the alerts ------------------------------------------------------------------


def an_audit(*slices: AuditedSlice, at: datetime = NOW, searched: bool = True) -> SliceAudit:
    return SliceAudit(
        model="m",
        outcome=Outcome.PASSED,
        reason="",
        since=at - timedelta(days=28),
        until=at,
        at=at,
        rows=1,
        labelled=1,
        explored=0,
        versions=("v",),
        slices=slices,
        searched=searched,
    )


def a_slice(name: str, outcome: Outcome, *features: str, found: bool = False) -> AuditedSlice:
    return AuditedSlice(
        name=name,
        features=features,
        found=found,
        outcome=outcome,
        sentence=f"{name}: ...",
        rows=9,
        due=9,
        labelled=9,
        metric="roc_auc",
        gap=0.3,
        usual=0.1,
        limit=0.05,
    )


def test_each_weak_slice_is_one_warning_and_a_found_one_goes_by_its_features() -> None:
    audit = an_audit(
        a_slice("region=east", Outcome.FAILED, "region"),
        a_slice("region=north", Outcome.PASSED, "region"),
        a_slice("age < 31 and owner=true", Outcome.FAILED, "age", "owner", found=True),
        a_slice("31 ≤ age < 40 and owner=true", Outcome.FAILED, "age", "owner", found=True),
    )
    look = slice_symptoms(audit, SECTION, NOW + timedelta(days=3))
    assert [one.key for one in look.symptoms] == ["model.slice.found.age+owner", "model.slice.region=east"]
    assert look.symptoms[0].sentence.startswith("age < 31")
    assert look.symptoms[1].beyond == pytest.approx(4)


def test_what_is_open_or_was_not_searched_for_clears_nothing() -> None:
    audit = an_audit(a_slice("region=east", Outcome.INCONCLUSIVE, "region"), searched=False)
    assert slice_symptoms(audit, SECTION, NOW).unjudged == ("model.slice.region=east", "model.slice.found")
    assert slice_symptoms(an_audit(), SECTION, NOW).outcome is Outcome.INCONCLUSIVE


def test_before_the_first_audit_nothing_is_known() -> None:
    look = slice_symptoms(None, SECTION, NOW)
    assert (look.outcome, look.symptoms, look.unjudged) == (Outcome.INCONCLUSIVE, (), ("model.slice",))


def test_an_audit_that_is_overdue_is_a_symptom_and_vouches_for_nothing() -> None:
    audit = an_audit(a_slice("region=east", Outcome.PASSED, "region"))
    assert slice_symptoms(audit, SECTION, NOW + timedelta(days=14)).symptoms == ()
    look = slice_symptoms(audit, SECTION, NOW + timedelta(days=16))
    assert [one.key for one in look.symptoms] == [OVERDUE]
    assert look.unjudged == ("model.slice",)


def test_a_weak_slice_is_told_once_stands_until_the_next_audit_and_is_then_resolved() -> None:
    weak, well = (an_audit(a_slice("region=east", outcome, "region")) for outcome in (Outcome.FAILED, Outcome.PASSED))
    unsure = an_audit(a_slice("region=east", Outcome.INCONCLUSIVE, "region"))
    alerts: dict[str, Alert] = {}
    told: list[str] = []
    for hour, audit in enumerate([None, weak, weak, weak, unsure, unsure, unsure, well, well]):
        look = slice_symptoms(audit, SECTION, NOW + timedelta(hours=hour))
        report = LayerReport(
            model="m",
            run=f"look-{hour}",
            layer=Layer.MODEL,
            outcome=merged([found_nothing(), look]).outcome,
            reason="",
            symptoms=look.symptoms,
            unjudged=look.unjudged,
            since=None,
            until=NOW,
            at=NOW,
        )
        folded = fold("m", alerts.values(), [report], AlertsSection(), NOW + timedelta(hours=hour))
        alerts |= {alert.key: alert for alert in folded.alerts}
        told += [f"{hour} {message.kind}" for message in folded.messages]
    assert told == ["1 raised", "8 resolved"]


def found_nothing() -> Found:
    """What the rest of the layer found."""
    return no_symptoms((), {})
