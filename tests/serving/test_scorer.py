"""The fast path is bit-identical to ``Booster.predict``, and its rows to the encoding of training."""

from __future__ import annotations

import math
import threading
from typing import Any

import lightgbm
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.serving.servers import CATEGORIES, Trained, feature_list

from gauntlet.core.encoding import compile_row
from gauntlet.core.records.model import Feature, FeatureKind
from gauntlet.core.specs.serving import InputPolicy
from gauntlet.native.lightgbm import Booster, RowScorer, ScoringError
from gauntlet.serving.inputs import Encoder, InputRejected, Irregular, RequestDecoder

LENIENT = InputPolicy(missing="count", null="count", wrong_type="count", nan="count")
FEATURES = feature_list(4)


@pytest.fixture(scope="module")
def scorer(trained: Trained) -> Any:
    booster = Booster(trained.booster.model_to_string().encode())
    row_scorer = RowScorer(booster)
    yield row_scorer
    row_scorer.close()
    booster.close()


@given(
    st.lists(
        st.lists(
            st.one_of(st.floats(width=64), st.sampled_from([0.0, -0.0, 1e-35, -1e-35, math.inf])),
            min_size=6,
            max_size=6,
        ),
        min_size=1,
        max_size=20,
    )
)
@settings(max_examples=80, deadline=None)
def test_any_row_scores_as_booster_predict(scorer: RowScorer, trained: Trained, rows: list[list[float]]) -> None:
    expected = trained.booster.predict(np.array(rows)).tolist()
    assert [scorer.score(row) for row in rows] == expected


def test_rows_at_and_around_every_split_threshold(scorer: RowScorer, trained: Trained) -> None:
    trees = trained.booster.trees_to_dataframe()
    base = np.nan_to_num(trained.matrix[0])
    rows = []
    for feature, threshold in zip(trees["split_feature"], trees["threshold"], strict=True):
        if not isinstance(feature, str) or not feature.startswith("x"):
            continue
        for value in (
            float(threshold),
            math.nextafter(float(threshold), math.inf),
            math.nextafter(float(threshold), -math.inf),
        ):
            row = base.copy()
            row[int(feature[1:])] = value
            rows.append(row)
    matrix = np.array(rows)
    assert len(matrix) > 50
    assert [scorer.score(row) for row in matrix.tolist()] == trained.booster.predict(matrix).tolist()


def test_the_vector_is_what_was_scored(scorer: RowScorer) -> None:
    row = [1.0, math.nan, -0.0, 4.0, 1.0, 2.0]
    scorer.score(row)
    assert np.array_equal(np.frombuffer(scorer.vector()), row, equal_nan=True)


def test_threads_with_a_scorer_each_do_not_disturb_one_another(trained: Trained) -> None:
    booster = Booster(trained.booster.model_to_string().encode())
    expected = trained.booster.predict(trained.matrix).tolist()
    rows = trained.matrix.tolist()
    wrong: list[int] = []

    def run() -> None:
        mine = RowScorer(booster)
        for _ in range(5):
            wrong.extend(i for i, row in enumerate(rows) if mine.score(row) != expected[i])
        mine.close()

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    booster.close()
    assert wrong == []


def test_a_text_lightgbm_refuses_is_an_error_not_a_crash() -> None:
    with pytest.raises(ScoringError, match="LightGBM"):
        Booster(b"no model at all")


def test_the_package_itself_is_not_needed() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from gauntlet.native.lightgbm import library; library();"
        "import gauntlet.serving.worker, gauntlet.serving.main, gauntlet.serving.supervisor;"
        "heavy = {'lightgbm', 'pandas', 'scipy', 'sklearn', 'mlflow', 'numpy', 'pyarrow'} & set(sys.modules);"
        "print(sorted(heavy))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONPATH": "include"}
    )
    assert done.stdout.strip() == "[]"


# ---- rows ------------------------------------------------------------------------------------------

NUMBER = st.one_of(st.none(), st.floats(-6, 6), st.integers(-6, 6))
RAW = st.fixed_dictionaries({
    **{f"x{i}": NUMBER for i in range(4)},
    "member": st.one_of(st.none(), st.booleans(), st.sampled_from([0, 1])),
    "home colour": st.one_of(st.none(), st.sampled_from([*CATEGORIES, "octarine"]), st.integers(0, 3), st.booleans()),
})


@given(RAW)
def test_rows_are_encoded_as_in_training(row: dict[str, Any]) -> None:
    got = Encoder(FEATURES, LENIENT).checked(row, [])
    assert np.array_equal(got, compile_row(FEATURES)(row), equal_nan=True)


@given(RAW)
def test_the_strict_way_gives_what_the_checked_way_gives_or_declines(row: dict[str, Any]) -> None:
    import msgspec

    encoder = Encoder(FEATURES, InputPolicy())
    decoder = RequestDecoder([encoder], "customer", ignore_extra=False)
    try:
        request = decoder.decode(msgspec.json.encode({"row": row}))
        got = encoder.strict(decoder.values(request.row), in_range=True)
    except (msgspec.ValidationError, Irregular):
        return
    deviations: list[tuple[str, str]] = []
    assert np.array_equal(got, encoder.checked(row, deviations), equal_nan=True)
    assert deviations == []
    assert decoder.plain(request.row) == row


def test_a_healthy_row_takes_the_strict_way(trained: Trained) -> None:
    import msgspec

    encoder = Encoder(trained.features, InputPolicy())
    decoder = RequestDecoder([encoder], "customer", ignore_extra=False)
    for row in trained.rows[:50]:
        request = decoder.decode(msgspec.json.encode({"row": {**row, "customer": 7}}))
        assert decoder.entity(request.row) == 7
        assert len(encoder.strict(decoder.values(request.row), in_range=True)) == len(trained.features)


@pytest.mark.parametrize("kind", ["missing", "extra", "null", "unseen_category", "wrong_type", "nan", "out_of_range"])
def test_each_kind_is_rejected_or_counted_as_the_policy_says(kind: str) -> None:
    row: dict[str, Any] = {"x0": 1.0, "x1": None, "x2": 2.0, "x3": 3.0, "member": True, "home colour": "red"}
    change: dict[str, dict[str, Any]] = {
        "missing": {},
        "extra": {"more": 1},
        "null": {"x0": None},
        "unseen_category": {"home colour": "octarine"},
        "wrong_type": {"x0": "one"},
        "nan": {"x0": math.nan},
        "out_of_range": {"x0": 7.0},
    }
    changed = {**row, **change[kind]}
    if kind == "missing":
        del changed["x0"]
    with pytest.raises(InputRejected) as caught:
        Encoder(FEATURES, InputPolicy().model_copy(update={kind: "reject"})).checked(changed, [])
    assert caught.value.kind == kind
    deviations: list[tuple[str, str]] = []
    Encoder(FEATURES, InputPolicy().model_copy(update={kind: "count"})).checked(changed, deviations)
    assert [found for _, found in deviations] == [kind]


def test_versions_that_disagree_on_a_type_are_both_answered_correctly() -> None:
    import msgspec

    first = [Feature(name="a", kind=FeatureKind.NUMERIC, nullable=False)]
    second = [Feature(name="a", kind=FeatureKind.CATEGORICAL, nullable=False, categories=("1", "2"))]
    encoders = [Encoder(features, InputPolicy()) for features in (first, second)]
    decoder = RequestDecoder(encoders, None, ignore_extra=False)
    row = decoder.decode(msgspec.json.encode({"row": {"a": 2}})).row
    for number, encoder in enumerate(encoders):
        with pytest.raises((Irregular, TypeError)):
            encoder.strict(decoder.values(row, number), in_range=decoder.ranged[number])
        assert encoder.checked(decoder.plain(row), []) == [2.0 if number == 0 else 1.0]


def test_lightgbm_is_the_version_the_binding_was_written_for() -> None:
    assert lightgbm.__version__.startswith("4.")
