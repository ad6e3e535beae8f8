"""Golden rows: chosen by seed, reaching the edges, compared row by row."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gauntlet.core.encoding import compile_row
from gauntlet.core.golden import UNSEEN, Row, choose_golden, compare_golden, make_golden, plain_row
from gauntlet.core.records.model import Feature, FeatureKind, GoldenSet

FEATURES = (
    Feature(name="n", kind=FeatureKind.NUMERIC, nullable=True, minimum=-1.0, maximum=9.0),
    Feature(name="m", kind=FeatureKind.NUMERIC, nullable=False, minimum=0.0, maximum=1.0),
    Feature(name="b", kind=FeatureKind.BOOLEAN, nullable=False, minimum=0.0, maximum=1.0),
    Feature(name="c", kind=FeatureKind.CATEGORICAL, nullable=True, categories=("1", "x")),
)
ROWS: list[Row] = [{"n": float(i), "m": i / 99, "b": i % 2 == 0, "c": "x" if i % 3 else "1"} for i in range(100)]


def test_the_same_seed_chooses_the_same_rows() -> None:
    assert choose_golden(ROWS, FEATURES, 7) == choose_golden(ROWS, FEATURES, 7)
    assert choose_golden(ROWS, FEATURES, 7) != choose_golden(ROWS, FEATURES, 8)


def test_edges_are_reached_and_no_row_comes_twice() -> None:
    chosen = choose_golden(ROWS, FEATURES, 7)
    assert any(row["n"] is None and row["c"] is None for row in chosen)
    assert any(row["c"] == UNSEEN for row in chosen)
    assert {(-1.0, 0.0), (9.0, 1.0)} <= {(row["n"], row["m"]) for row in chosen}
    assert all(row["m"] is not None and row["b"] is not None for row in chosen), "never null in training"
    assert len({tuple(row.values()) for row in chosen}) == len(chosen)


@pytest.mark.parametrize("rows", [1, 2, 31])
def test_few_rows_are_enough(rows: int) -> None:
    assert len(choose_golden(ROWS[:rows], FEATURES, 7)) >= rows


@given(
    st.fixed_dictionaries({
        "n": st.none() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False),
        "m": st.floats(allow_nan=False, allow_infinity=False),
        "b": st.none() | st.booleans() | st.sampled_from([0, 1]),
        "c": st.none() | st.sampled_from(["x", "1", "y"]) | st.sampled_from([1, 1.0]),
    })
)
def test_a_plain_row_encodes_as_the_raw_one_also_after_a_trip_through_json(row: dict[str, Any]) -> None:
    encode = compile_row(FEATURES)
    golden = GoldenSet(rows=(plain_row(row, FEATURES),), scores=(0.5,), tolerance=0)
    back = GoldenSet.model_validate_json(golden.model_dump_json()).rows[0]
    assert repr(encode(back)) == repr(encode(row))


def test_an_infinity_becomes_what_json_can_hold() -> None:
    row = {"n": math.inf, "m": -math.inf, "b": True, "c": "x"}
    assert plain_row(row, FEATURES) == {"n": 9.0, "m": 0.0, "b": True, "c": "x"}


def golden(scores: Sequence[float] = (0.1, 0.2, 0.3)) -> GoldenSet:
    return make_golden(ROWS[: len(scores)], lambda _: [[score] for score in scores])


def test_equal_scores_do_not_differ() -> None:
    assert compare_golden(golden(), [0.1, 0.2, 0.3]) is None


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        ([0.1, 0.2, 0.30001], "golden row 2"),
        ([0.1, math.nan, 0.3], "golden row 1"),
        ([math.inf, 0.2, 0.3], "golden row 0"),
        ([0.1, 0.2], "2 scores for 3"),
    ],
)
def test_what_differs_is_named(scores: list[float], said: str) -> None:
    assert said in str(compare_golden(golden(), scores))


def test_no_rows_is_a_difference() -> None:
    assert compare_golden(GoldenSet(rows=(), scores=(), tolerance=0), []) is not None


def test_of_several_classes_the_decided_one_is_the_score() -> None:
    made = make_golden(ROWS[:2], lambda _: [[0.2, 0.8], [0.6, 0.4]])
    assert made.scores == (0.8, 0.6)
    assert made.class_scores == ((0.2, 0.8), (0.6, 0.4))
    assert golden().class_scores is None
