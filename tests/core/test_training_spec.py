"""The training section: a whitelist with hints, and contradictions found before anything runs."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError
from tests.adapters.lightgbm.small_world import spec_of

from gauntlet.core.specs.training import NUMBERS, TrainingSection, is_range, parameter_complaint


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"num_leafs": 3}, "did you mean 'num_leaves'"),
        ({"eta": 0.1}, "write learning_rate"),
        ({"n_estimators": 10}, "training.rounds"),
        ({"seed": 1}, "training.seed"),
        ({"is_unbalance": True}, "class_weight: balanced"),
        ({"monotone_constraints": "1"}, "training.monotone"),
        ({"deterministic": False}, "always on"),
        ({"force_col_wise": True}, "row-wise"),
        ({"use_quantized_grad": True}, "unknown parameter"),
        ({"linear_tree": True}, "unknown parameter"),
        ({"learning_rate": 0}, "above 0"),
        ({"learning_rate": "fast"}, "a number"),
        ({"num_leaves": 1}, "at least 2"),
        ({"num_leaves": 3.5}, "whole number"),
        ({"extra_trees": 1}, "true or false"),
        ({"feature_fraction": 1.5}, "at most 1"),
        ({"metric": "accuracy"}, "valid: auc"),
        ({"bagging_fraction": 0.5}, "bagging_freq"),
        ({"pos_bagging_fraction": 0.5}, "together"),
        ({"top_rate": 0.2}, "goss"),
        ({"data_sample_strategy": "goss", "bagging_fraction": 0.5, "bagging_freq": 1}, "its own sampling"),
    ],
)
def test_parameters_that_would_only_warn_are_errors(params: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        TrainingSection.model_validate({"params": params})


@pytest.mark.parametrize("name", NUMBERS)
def test_every_whitelisted_name_is_one_that_lightgbm_knows(name: str) -> None:
    from lightgbm.basic import _ConfigAliases

    known = {key for key in _ConfigAliases._get_all_param_aliases()}
    assert name in known


@pytest.mark.parametrize("value", [0.5, 1, 7])
def test_whole_numbers_may_be_written_where_a_number_is_wanted(value: float) -> None:
    assert parameter_complaint("lambda_l2", value) is None


@pytest.mark.parametrize(
    ("space", "said"),
    [
        ({"learning_rate": [0.1]}, "range"),
        ({"learning_rate": [0.3, 0.1]}, "does not rise"),
        ({"max_bin": [15, 255]}, "binned data"),
        ({"objective": ["binary", "binary"]}, "cannot be compared"),
        ({"num_leafs": [3, 9]}, "did you mean"),
        ({"num_leaves": [1, 9]}, "at least 2"),
        ({}, "at least 1"),
    ],
)
def test_search_spaces(space: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        TrainingSection.model_validate({"search": {"trials": 3, "timeout": "1m", "space": space}})


def test_a_pair_of_numbers_is_a_range_and_a_pair_of_flags_a_choice() -> None:
    assert is_range((1, 9))
    assert not is_range((True, False))
    assert not is_range((1, 5, 9))


@pytest.mark.parametrize(
    ("task", "training", "said"),
    [
        ("regression", {"params": {"objective": "binary"}}, "not for regression"),
        ("binary", {"params": {"metric": "rmse"}}, "not for binary"),
        ("regression", {"calibration": "isotonic"}, "only a binary model"),
        ("regression", {"class_weight": "balanced"}, "no classes"),
        ("multiclass", {"params": {"scale_pos_weight": 2}}, "for binary"),
        ("multiclass", {"monotone": {"x": 1}}, "not available for multiclass"),
        ("binary", {"threshold": "profit"}, "profit_if_repaid"),
        ("binary", {"monotone": {"kind": 1}}, "kind"),
        ("binary", {"threshold": 1.5}, r"\(0, 1\)"),
        ("regression", {"threshold": 0.5}, "only a binary model"),
        ("binary", {"params": {"scale_pos_weight": 2}, "class_weight": "balanced"}, "keep one"),
    ],
)
def test_contradictions_with_the_rest_of_the_spec(task: str, training: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        spec_of(task, **training)


def test_regression_stops_early_on_its_objectives_own_metric() -> None:
    assert spec_of("regression", params={"objective": "quantile"}).training.metric("regression") == "quantile"
    assert spec_of().training.metric("binary") == "binary_logloss"
