"""Ranks from a profile are those from rows, and what goes with what comes back from JSON as it was."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from gauntlet.core.column_labels import Labels
from gauntlet.core.column_numbers import numbers
from gauntlet.core.moments import Base, components, ranks
from gauntlet.core.rank_base import RankBase, ranks_of_labels, ranks_of_numbers

SQUEEZED = 2 * math.sqrt(3) * 2.5e-4
"""A rank is off by half a piece at most."""


def shapes(rng: np.random.Generator, rows: int) -> dict[str, np.ndarray]:
    return {
        "normal": rng.normal(size=rows),
        "heavy": rng.standard_cauchy(rows) ** 3,
        "counts": rng.poisson(2.0, rows).astype(float),
        "zeros": np.where(rng.random(rows) < 0.8, 0.0, rng.lognormal(3, 1, rows)),
        "rounded": np.round(rng.lognormal(8, 0.5, rows), -2),
        "constant": np.full(rows, 4.0),
        "infinite": np.where(rng.random(rows) < 0.1, np.inf, rng.normal(size=rows)),
        "holes": np.where(rng.random(rows) < 0.2, np.nan, rng.normal(size=rows)),
    }


@pytest.mark.parametrize("name", list(shapes(np.random.default_rng(0), 10)))
def test_ranks_from_a_profile_are_those_from_its_rows(name: str) -> None:
    known, asked = (shapes(np.random.default_rng(seed), rows)[name] for seed, rows in ((1, 30_000), (2, 3000)))
    # What is infinite shares the last piece with all that lies beyond the axis.
    beyond = [1e300, -1e300] if name != "infinite" else []
    asked = np.append(asked, [np.nan, np.inf, -np.inf, 0.0, -0.0, *beyond])
    told = ranks_of_numbers(numbers(known, "float").counted(known), asked)
    wanted = ranks(asked, np.sort(known[~np.isnan(known)]))
    assert told == pytest.approx(wanted, abs=SQUEEZED + 1e-9)


def test_a_profile_of_nothing_ranks_nothing() -> None:
    empty = numbers(np.empty(0), "float")
    assert not ranks_of_numbers(empty, np.array([1.0, np.nan])).any()
    assert ranks_of_labels(Labels.blank("string"), np.array([0, -1]), ["a"]).tolist() == [0.0, 0.0]


def test_categories_rank_by_how_frequent_they_are_and_unknown_ones_last() -> None:
    names = ["a", "b", "c", "d"]
    codes = np.repeat([2, 0, 3, 1], [50, 30, 15, 5])
    column = Labels.blank("string").counted(codes, names)
    asked = np.array([2, 0, 3, 1, 4, 5, -1])
    found = ranks_of_labels(column, asked, [*names, "new", None])
    places = np.array([0.0, 1.0, 2.0, 3.0, 4.0])
    wanted = ranks(places, np.repeat(places[:4], [50, 30, 15, 5]))
    assert found == pytest.approx([*wanted, 0.0, 0.0])
    # What a stored profile no longer names shares the last place with what it never saw.
    trimmed = column.trimmed(kept=2)
    last = ranks_of_labels(trimmed, np.array([3, 1, 4]), [*names, "new"])
    assert len(set(last.tolist())) == 1
    assert last[0] == pytest.approx(math.sqrt(3) * (2 * 0.9 - 1))


def test_it_comes_back_from_json_and_says_the_same_as_the_rows() -> None:
    rng = np.random.default_rng(3)
    common = rng.normal(size=20_000)
    before = [np.exp(0.8 * common + 0.6 * rng.normal(size=20_000)) for _ in range(20)]
    after = [rng.permutation(column[:4000]) for column in before]
    columns = [numbers(values, "float").counted(values) for values in before]
    names, weights = [f"x{i}" for i in range(20)], [1 / (1 + i) for i in range(20)]

    def ranked(values: list[np.ndarray]) -> list[np.ndarray]:
        return [ranks_of_numbers(column, one) for column, one in zip(columns, values, strict=True)]

    found = RankBase.of(names, weights, ranked(before))
    assert found is not None
    text = json.dumps(found.to_json())
    assert len(text) < 200_000
    again = RankBase.from_json(json.loads(text)).moved(ranked(after))
    direct = found.moved(ranked(after))
    assert again is not None
    assert direct is not None
    assert again.means == direct.means
    assert again.together == direct.together
    sorts = [np.sort(values) for values in before]
    of_rows = Base.of(components(names, weights, [ranks(v, s) for v, s in zip(before, sorts, strict=True)]))
    assert of_rows is not None
    rows = of_rows.moved(components(names, weights, [ranks(v, s) for v, s in zip(after, sorts, strict=True)]))
    assert rows is not None
    assert again.shift == pytest.approx(rows.shift, abs=2e-3)
    assert again.largest(0.02)[1] == rows.largest(0.02)[1] == "x0 with x1"


def test_nothing_with_a_spread_is_no_base() -> None:
    assert RankBase.of([], [], []) is None
    assert RankBase.of(["x"], [1.0], [np.zeros(50)]) is None
