"""Encoding: a row alone and its column give the same floats, and learning looks at training rows only."""

from __future__ import annotations

import datetime as dt
import math
import subprocess
import sys
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gauntlet.core.encoding import (
    category_text,
    compile_row,
    count_categories,
    encode_column,
    encode_table,
    in_range,
    kinds,
    learn_feature,
)
from gauntlet.core.errors import DataRejected
from gauntlet.core.records.model import Feature, FeatureKind
from gauntlet.core.specs.source import FeatureColumns

NUMBER = Feature(name="n", kind=FeatureKind.NUMERIC, nullable=True)
FLAG = Feature(name="b", kind=FeatureKind.BOOLEAN, nullable=True)
WORD = Feature(name="c", kind=FeatureKind.CATEGORICAL, nullable=True, categories=("", "1", "a", "true", "é"))

numbers = st.none() | st.floats(width=64) | st.sampled_from([0.0, -0.0, math.inf, -math.inf, math.nan, 5e-324, 1e308])
integers = st.none() | st.integers(-(2**63), 2**63 - 1)
words = st.none() | st.sampled_from(["", "1", "a", "true", "é", "unseen"]) | st.text(max_size=3)


def rows_equal_column(feature: Feature, values: list[Any], kind: pa.DataType) -> None:
    column = pa.chunked_array([pa.array(values[:2], kind), pa.array(values[2:], kind)])
    together = encode_column(feature, column)
    encode = compile_row([feature])
    alone = [encode({feature.name: value})[0] for value in column.to_pylist()]
    assert together.tobytes() == np.array(alone, np.float64).tobytes() or np.array_equal(
        together, np.array(alone), equal_nan=True
    )
    # array_equal takes -0.0 for 0.0; LightGBM does too, but nothing here may lose the sign.
    assert np.array_equal(np.signbit(together[~np.isnan(together)]), np.signbit(np.array(alone)[~np.isnan(alone)]))


@given(st.lists(numbers))
def test_floats(values: list[float | None]) -> None:
    rows_equal_column(NUMBER, values, pa.float64())


@given(st.lists(integers))
def test_whole_numbers_beyond_float64(values: list[int | None]) -> None:
    rows_equal_column(NUMBER, values, pa.int64())


@given(st.lists(st.none() | st.decimals(-1_000_000, 1_000_000, places=4)))
def test_decimals(values: list[Decimal | None]) -> None:
    rows_equal_column(NUMBER, values, pa.decimal128(20, 4))


@given(st.lists(st.none() | st.floats(width=32)))
def test_single_precision(values: list[float | None]) -> None:
    rows_equal_column(NUMBER, values, pa.float32())


@given(st.lists(st.none() | st.booleans()))
def test_booleans(values: list[bool | None]) -> None:
    rows_equal_column(FLAG, values, pa.bool_())
    rows_equal_column(FLAG, [None if value is None else int(value) for value in values], pa.int8())


@given(st.lists(words))
def test_words(values: list[str | None]) -> None:
    rows_equal_column(WORD, values, pa.string())
    rows_equal_column(WORD, values, pa.dictionary(pa.int32(), pa.string()))


@given(st.lists(st.none() | st.integers(-5, 5)))
def test_whole_numbers_as_categories(values: list[int | None]) -> None:
    rows_equal_column(WORD, values, pa.int16())
    rows_equal_column(WORD, [None if value is None else float(value) for value in values], pa.float64())


def test_dates_as_categories_are_their_iso_text() -> None:
    feature = WORD.model_copy(update={"categories": ("2026-03-01",)})
    column = pa.array([dt.date(2026, 3, 1), dt.date(2026, 3, 2), None])
    assert np.array_equal(encode_column(feature, column), [0.0, math.nan, math.nan], equal_nan=True)
    assert compile_row([feature])({"c": "2026-03-01"}) == [0.0]


@pytest.mark.parametrize(("value", "text"), [(3, "3"), (3.0, "3"), ("3", "3"), (True, "true"), (0.5, "0.5")])
def test_one_category_has_one_text(value: object, text: str) -> None:
    assert category_text(value) == text


def test_a_number_that_is_text_is_refused_by_name_both_ways() -> None:
    with pytest.raises(DataRejected, match="'n'"):
        compile_row([NUMBER])({"n": "12"})
    with pytest.raises(DataRejected, match=r"'n'.*string"):
        encode_column(NUMBER, pa.array(["12"]))


def test_a_flag_that_is_neither_is_refused_both_ways() -> None:
    with pytest.raises(DataRejected, match="'b'"):
        compile_row([FLAG])({"b": 2})
    with pytest.raises(DataRejected, match=r"'b'.*row 1"):
        encode_column(FLAG, pa.array([0, 2]))


def test_columns_are_found_by_name_in_any_order_and_extra_ones_ignored() -> None:
    table = pa.table({"extra": ["x"], "c": ["a"], "n": [1.5]})
    assert encode_table([NUMBER, WORD], table).tolist() == [[1.5, 2.0]]
    assert compile_row([NUMBER, WORD])({"c": "a", "extra": "x", "n": 1.5}) == [1.5, 2.0]


def test_a_missing_feature_is_named_both_ways() -> None:
    with pytest.raises(DataRejected, match="'c' is missing"):
        encode_table([NUMBER, WORD], pa.table({"n": [1.0]}))
    with pytest.raises(DataRejected, match="'c' is missing"):
        compile_row([NUMBER, WORD])({"n": 1.0})


def test_rare_categories_are_left_out_and_nulls_noticed() -> None:
    column = pa.chunked_array([["b"] * 3 + ["a"] * 2, ["a", "rare", None]])
    feature = learn_feature("c", FeatureKind.CATEGORICAL, column, 3)
    assert feature.categories == ("a", "b")
    assert feature.nullable
    assert np.isnan(encode_column(feature, pa.array(["rare"]))).all()


def test_counts_add_up_over_spellings() -> None:
    counts, nulls = count_categories(pa.chunked_array([pa.array([1.0, 1.0, math.nan, None, 2.5])]))
    assert (counts, nulls) == ({"1": 2, "2.5": 1}, 2)


def test_ranges_are_of_finite_values() -> None:
    feature = learn_feature("n", FeatureKind.NUMERIC, pa.chunked_array([[1.0, math.inf, -2.0]]), 1)
    assert (feature.minimum, feature.maximum, feature.nullable) == (-2.0, 1.0, False)
    assert in_range(feature, 0.0)
    assert not in_range(feature, 1.5)
    assert in_range(feature, math.nan)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (FeatureKind.NUMERIC, pa.array([None, None], pa.float64())),
        (FeatureKind.BOOLEAN, pa.array([None], pa.bool_())),
        (FeatureKind.CATEGORICAL, pa.array([None, "a"])),
    ],
)
def test_a_feature_without_any_value_is_refused(kind: FeatureKind, values: pa.Array) -> None:
    with pytest.raises(DataRejected, match="'f'"):
        learn_feature("f", kind, pa.chunked_array([values]), 2)


def test_model_order_is_numeric_boolean_categorical() -> None:
    found = kinds(FeatureColumns(categorical=("c",), numeric=("n", "m"), boolean=("b",)))
    assert list(found) == ["n", "m", "b", "c"]


def test_the_row_path_imports_nothing_heavy() -> None:
    code = (
        "import sys; from gauntlet.core.encoding import compile_row; from gauntlet.core.records.model import Feature;"
        "f = Feature(name='n', kind='numeric', nullable=True); compile_row([f])({'n': 1});"
        "sys.exit(', '.join({'numpy', 'pandas', 'pyarrow', 'scipy'} & sys.modules.keys()) or None)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
