"""From profiles to verdicts: quiet when nothing changed, certain when it did, honest when it cannot know."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gauntlet.core.drift import adjusted, compare
from gauntlet.core.outcome import Outcome
from gauntlet.core.profile import Column, Labels, Profile, blank, numbers
from gauntlet.core.records.drift import FeatureDrift
from gauntlet.core.registry import did_you_mean
from gauntlet.core.specs.drift import DriftSection, Limits, StatisticName
from gauntlet.core.statistics.base import Pair
from gauntlet.core.statistics.registry import STATISTICS

SECTION = DriftSection(window="1d", minimum_rows=30)


def number_columns(before: Any, after: Any, missing: tuple[int, int] = (0, 0)) -> tuple[Column, Column]:
    before, after = np.asarray(before, float), np.asarray(after, float)
    reference = numbers(before, "float").counted(before, missing[0])
    return reference, blank(reference).counted(after, missing[1])  # type: ignore[call-arg, union-attr]


def label_columns(before: Sequence[str | None], after: Sequence[str | None]) -> tuple[Column, Column]:
    columns = []
    for values in (before, after):
        names = sorted({value for value in values if value is not None})
        codes = np.array([-1 if value is None else names.index(value) for value in values], int)
        columns.append(Labels.blank("string").counted(codes, names))
    return columns[0], columns[1]


def verdict(columns: tuple[Column, Column], section: DriftSection = SECTION) -> FeatureDrift:
    reference, current = (Profile({"x": column}, column.rows, {}, {}, {}) for column in columns)
    (found,) = compare(reference, current, section)
    return found


def result(found: FeatureDrift, name: str) -> Any:
    return next(one for one in found.statistics if one.statistic == name)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_every_statistic_has_a_name_in_the_spec_and_a_limit() -> None:
    names = set(StatisticName.__args__)  # type: ignore[attr-defined]
    assert names == set(STATISTICS), did_you_mean("x", names ^ set(STATISTICS))
    assert all(statistic.name == name for name, statistic in STATISTICS.items())
    assert set(STATISTICS) - {"dtype"} <= set(Limits.model_fields)


def test_overrides_name_only_what_differs() -> None:
    section = DriftSection(
        window="1d", psi=0.2, limits=Limits(ks=0.3), features={"x": Limits(ks="off"), "y": Limits(psi=0.5)}
    )
    assert (section.limits_of("x").ks, section.limits_of("x").psi) == ("off", 0.2)
    assert (section.limits_of("y").ks, section.limits_of("y").psi) == (0.3, 0.5)


# ---- columns of every shape: each has a defined answer ---------------------------------------------


def normal(n: int, seed: int, mean: float = 0.0) -> np.ndarray:
    return rng(seed).normal(mean, 1, n)


SHAPES: dict[str, tuple[tuple[Column, Column], Outcome, str]] = {
    "same": (number_columns(normal(20_000, 1), normal(5000, 2)), Outcome.PASSED, ""),
    "shifted": (number_columns(normal(20_000, 1), normal(5000, 2, 0.6)), Outcome.FAILED, ""),
    "constant_same": (number_columns([3.0] * 900, [3.0] * 500), Outcome.PASSED, ""),
    "constant_moved": (number_columns([3.0] * 900, [4.0] * 500), Outcome.FAILED, ""),
    "constant_became_spread": (number_columns([3.0] * 900, normal(500, 1)), Outcome.FAILED, ""),
    "integers": (number_columns(rng(1).integers(0, 9, 9000), rng(2).integers(0, 9, 3000)), Outcome.PASSED, ""),
    "integers_clipped": (
        number_columns(rng(1).integers(0, 9, 9000), rng(2).integers(0, 9, 3000).clip(0, 5)),
        Outcome.FAILED,
        "",
    ),
    "zero_inflated": (
        number_columns(
            np.where(rng(1).random(20_000) < 0.9, 0, rng(2).lognormal(size=20_000)),
            np.where(rng(3).random(9000) < 0.9, 0, rng(4).lognormal(size=9000)),
        ),
        Outcome.PASSED,
        "",
    ),
    "zeros_vanished": (
        number_columns(
            np.where(rng(1).random(9000) < 0.9, 0, rng(2).lognormal(size=9000)), rng(4).lognormal(size=2000)
        ),
        Outcome.FAILED,
        "",
    ),
    "one_outlier": (number_columns(normal(20_000, 1), np.append(normal(5000, 2), 1e9)), Outcome.INCONCLUSIVE, "σ"),
    "all_null_now": (number_columns(normal(900, 1), [], (0, 500)), Outcome.FAILED, "all 500 rows are missing"),
    "all_null_before": (number_columns([], normal(500, 1), (900, 0)), Outcome.FAILED, ""),
    "all_null_always": (number_columns([], [], (900, 500)), Outcome.INCONCLUSIVE, "no values"),
    "missing_grew": (number_columns(normal(9000, 1), normal(1800, 2), (0, 900)), Outcome.FAILED, ""),
    "empty_window": (number_columns(normal(900, 1), []), Outcome.INCONCLUSIVE, "0 rows"),
    "one_row": (number_columns(normal(900, 1), [0.1]), Outcome.INCONCLUSIVE, "1 rows"),
    "few_rows": (number_columns(normal(900, 1), normal(40, 2)), Outcome.INCONCLUSIVE, "too few rows to tell"),
    "infinities": (number_columns(normal(900, 1), [*normal(500, 2), math.inf]), Outcome.FAILED, "infinite"),
    "labels_same": (
        label_columns([*rng(1).choice(list("abc"), 9000)], [*rng(2).choice(list("abc"), 3000)]),
        Outcome.PASSED,
        "",
    ),
    "labels_moved": (
        label_columns([*rng(1).choice(list("abc"), 9000)], [*rng(2).choice(list("abc"), 3000, p=[0.7, 0.2, 0.1])]),
        Outcome.FAILED,
        "",
    ),
    "label_unseen": (label_columns([*"ab"] * 4500, [*"abababababc"] * 300), Outcome.FAILED, ""),
    "label_missing": (label_columns([*"ab"] * 4500, [*"abababab", None] * 300), Outcome.FAILED, ""),
    "identifiers": (
        label_columns([f"id{i}" for i in range(3000)], [f"id{i}" for i in range(3000, 5000)]),
        Outcome.INCONCLUSIVE,
        "",
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_has_a_defined_answer(shape: str) -> None:
    columns, outcome, words = SHAPES[shape]
    found = verdict(columns)
    assert found.outcome is outcome, found.sentence
    assert words in found.sentence
    assert found.feature in found.sentence
    for one in found.statistics:
        assert one.value is None or math.isfinite(one.value)


def test_one_broken_column_does_not_lose_the_others() -> None:
    good, bad = SHAPES["same"][0], SHAPES["all_null_now"][0]
    reference = Profile({"a": good[0], "b": bad[0], "c": good[0]}, 20_000, {}, {}, {})
    current = Profile({"a": good[1], "b": bad[1]}, 5000, {}, {}, {})
    found = {one.feature: one for one in compare(reference, current, SECTION)}
    assert found["a"].outcome is Outcome.PASSED
    assert (found["b"].outcome, found["b"].quality) == (Outcome.FAILED, True)
    assert (found["c"].outcome, found["c"].quality) == (Outcome.FAILED, True)
    assert "not there" in found["c"].sentence


def test_a_change_of_type_is_a_finding_of_data_quality() -> None:
    reference, current = number_columns(normal(900, 1), [], (0, 500))
    changed = current.__class__(**{**vars_of(current), "dtype": "string"})
    found = verdict((reference, changed))
    assert found.quality
    assert "float became string" in found.sentence


def vars_of(column: Any) -> dict[str, Any]:
    return {name: getattr(column, name) for name in column.__dataclass_fields__ if name != "kind"}


# ---- how sure -----------------------------------------------------------------------------------------


def test_inconclusive_says_how_many_rows_would_do_and_they_do() -> None:
    before = normal(50_000, 1)
    few = verdict(number_columns(before, normal(100, 2)))
    assert few.outcome is Outcome.INCONCLUSIVE
    assert few.required_rows is not None
    assert 100 < few.required_rows < 20_000
    settled = [verdict(number_columns(before, normal(few.required_rows, seed))).outcome for seed in range(10, 30)]
    assert settled.count(Outcome.PASSED) >= 15


@pytest.mark.parametrize("n", [50, 300, 3000, 100_000])
def test_unchanged_columns_of_any_size_do_not_alarm(n: int) -> None:
    reference, current = {}, {}
    for i in range(40):
        reference[f"x{i}"], current[f"x{i}"] = number_columns(normal(4000, i), normal(n, 1000 + i))
    found = compare(
        Profile(reference, 4000, {}, {}, {}), Profile(current, n, {}, {}, {}), DriftSection(window="1d", minimum_rows=1)
    )
    assert not [one.sentence for one in found if one.outcome is Outcome.FAILED]


def test_a_tiny_shift_of_a_huge_window_does_not_matter() -> None:
    found = verdict(number_columns(normal(400_000, 1), normal(400_000, 2, 0.02)))
    assert found.outcome is Outcome.PASSED
    plain = DriftSection(window="1d", limits=Limits(mean_shift_se=3.0))
    assert verdict(number_columns(normal(400_000, 1), normal(400_000, 2, 0.02)), plain).outcome is Outcome.FAILED


def test_new_categories_are_judged_by_what_rare_ones_announce() -> None:
    draws = rng(3).zipf(1.6, 12_000)
    names = [f"c{min(draw, 10**6)}" for draw in draws]
    calm = verdict(label_columns(names[:9000], names[9000:]))
    assert result(calm, "categories").value > 0.01
    assert result(calm, "categories").outcome is not Outcome.FAILED
    surprising = verdict(label_columns(["a", "b"] * 4500, ["a", "b", "new"] * 1000))
    assert result(surprising, "categories").outcome is Outcome.FAILED
    assert "new" in result(surprising, "categories").sentence


def test_segments_are_compared_each_and_corrected_together() -> None:
    whole = number_columns(normal(8000, 1), normal(4000, 2))
    calm, moved = number_columns(normal(4000, 3), normal(2000, 4)), number_columns(normal(4000, 5), normal(2000, 6, 1))

    def profile(side: int) -> Profile:
        parts = {
            value: Profile({"x": pair[side]}, pair[side].rows, {}, {}, {})
            for value, pair in (("north", calm), ("south", moved))
        }
        return Profile({"x": whole[side]}, whole[side].rows, {}, {"region": parts}, {})

    found = {one.segment: one for one in compare(profile(0), profile(1), SECTION)}
    assert found[None].outcome is Outcome.PASSED
    assert found["region=north"].outcome is Outcome.PASSED
    assert found["region=south"].outcome is Outcome.FAILED
    assert found["region=south"].importance == pytest.approx(0.5)
    assert found["region=south"].adjusted_p >= found["region=south"].p_value


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40))
def test_adjusted_p_values_are_never_smaller_and_keep_the_order(p: list[float]) -> None:
    ours = adjusted(p)
    assert (ours >= np.array(p) - 1e-12).all()
    assert (ours <= 1).all()
    assert (np.diff(ours[np.argsort(p, kind="stable")]) >= -1e-12).all()


def test_exact_columns_replace_the_interval() -> None:
    before, after = normal(3000, 1), normal(2000, 2)
    reference, current = (Profile({"x": one}, one.rows, {}, {}, {}) for one in number_columns(before, after))
    (approximate,) = compare(reference, current, SECTION)
    (exact,) = compare(reference, current, SECTION, lambda *_: (np.sort(before), np.sort(after)))
    bounds = result(approximate, "ks")
    assert bounds.low <= result(exact, "ks").value <= bounds.high
    assert result(exact, "ks").low is None


@pytest.mark.parametrize(("n", "m"), [(300, 20_000), (1500, 3000)])
@pytest.mark.parametrize("center", [0.5, 0.2])
def test_a_distance_at_its_limit_is_hardly_ever_shown_to_be_within_it(n: int, m: int, center: float) -> None:
    """Two steps whose distribution functions are the limit apart at one point: the worst there is."""
    draw, within = rng(n), 0
    for _ in range(400):
        before = (draw.random(m) < center).astype(float)
        after = (draw.random(n) < center + 0.1).astype(float)
        pair = Pair(*number_columns(before, after))
        within += STATISTICS["ks"].test(pair, STATISTICS["ks"].measure(pair), 0.1).less <= 0.01
    assert within <= 11  # 400 draws at 1 % and 3.5 sigma


def test_an_unchanged_night_of_a_thousand_rows_is_settled() -> None:
    settled = [verdict(number_columns(normal(20_000, 1), normal(1000, 2 + night))).outcome for night in range(40)]
    assert settled.count(Outcome.PASSED) >= 39


def test_what_a_feature_leaves_open_is_what_is_told_of_it() -> None:
    columns = number_columns(normal(20_000, 1), normal(120, 2))
    found = verdict(columns, SECTION.model_copy(update={"limits": Limits(ks=0.5, wasserstein=2.0, psi=2.0)}))
    left = [one for one in found.statistics if one.outcome is Outcome.INCONCLUSIVE]
    assert [one.statistic for one in left] == ["range"]
    assert left[0].sentence in found.sentence


def test_a_limit_on_rows_is_of_all_rows_where_few_have_a_value() -> None:
    """A hundred values among a thousand rows show that less than a hundredth of all rows is out of range."""
    before, after = normal(2000, 1), normal(100, 2).clip(-3, 3)
    sparse = verdict(number_columns(before, after, (18_000, 900)))
    dense = verdict(number_columns(before, after))
    assert result(sparse, "range").outcome is Outcome.PASSED
    assert result(dense, "range").outcome is Outcome.INCONCLUSIVE
