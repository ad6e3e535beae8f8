"""The structural validator: real models pass, and damage is found before LightGBM meets it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from contextlib import suppress

import lightgbm as lgb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gauntlet.core.digest import sha256_bytes
from gauntlet.core.errors import IntegrityError
from gauntlet.core.model_text import feature_names, text_name, tree_digest, validate_model_text
from gauntlet.core.records.model import Feature, FeatureKind, ModelSidecar, Task

NAMES = ("a", "net income, é", "kind")


def train(params: dict[str, object], rounds: int = 5, *, constant: bool = False) -> bytes:
    rng = np.random.default_rng(0)
    matrix = np.c_[rng.normal(size=(800, 2)), rng.integers(0, 40, 800)]
    matrix[::17, 0] = np.nan
    if constant:
        matrix[:, 1] = 0.0
    label = (matrix[:, 2] % 2 + rng.normal(size=800) > 0.6).astype(float)
    if params["objective"] == "multiclass":
        label = rng.integers(0, 3, 800).astype(float)
    fixed = {"verbosity": -1, "deterministic": True, "force_row_wise": True, "min_data_in_leaf": 5, "num_threads": 1}
    data = lgb.Dataset(matrix, label, categorical_feature=[2], feature_name=[text_name(name) for name in NAMES])
    return str(lgb.train({**fixed, **params}, data, rounds).model_to_string()).encode()


MODEL = train({"objective": "binary"})


def sidecar(**changes: object) -> ModelSidecar:
    kinds = (FeatureKind.NUMERIC, FeatureKind.NUMERIC, FeatureKind.CATEGORICAL)
    fields: dict[str, object] = {
        "model": "m",
        "version_id": "v",
        "task": Task.BINARY,
        "objective": "binary",
        "features": tuple(Feature(name=n, kind=k, nullable=True) for n, k in zip(NAMES, kinds, strict=True)),
        "classes": None,
        "threshold": None,
        "calibration": None,
        "best_iteration": 5,
        "tree_digest": tree_digest(MODEL),
        "model_sha256": sha256_bytes(MODEL),
        "trained_through": None,
    }
    return ModelSidecar.model_validate({**fields, **changes})


@pytest.mark.parametrize(
    "params",
    [
        {"objective": "binary"},
        {"objective": "regression"},
        {"objective": "quantile", "alpha": 0.9},
        {"objective": "poisson"},
        {"objective": "multiclass", "num_class": 3},
        {"objective": "binary", "monotone_constraints": [1, 0, 0]},
        {"objective": "binary", "data_sample_strategy": "goss"},
        {"objective": "binary", "max_cat_to_onehot": 64},
        {"objective": "regression", "min_data_in_leaf": 700},
        {"objective": "binary", "num_leaves": 127, "min_data_in_leaf": 1},
    ],
    ids=str,
)
def test_what_lightgbm_writes_is_accepted(params: dict[str, object]) -> None:
    validate_model_text(train(params))
    validate_model_text(train(params, constant=True))


def test_a_split_of_any_number_against_missing_has_an_infinite_threshold() -> None:
    rng = np.random.default_rng(0)
    matrix = np.where(rng.random((500, 1)) < 0.5, 1.0, np.nan)
    label = np.isnan(matrix[:, 0]).astype(float)
    text = lgb.train({"objective": "binary", "verbosity": -1, "num_threads": 1}, lgb.Dataset(matrix, label), 2)
    validate_model_text(str(text.model_to_string()).encode())


def test_names_survive() -> None:
    assert feature_names(MODEL) == NAMES


@given(st.text(min_size=1, max_size=8))
def test_any_name_can_be_held(name: str) -> None:
    try:
        name.encode()
    except UnicodeEncodeError:
        return
    held = text_name(name)
    assert re.fullmatch(r"[!-~]+", held)
    assert not set(held) & set('",:[]{}')


def test_the_digest_is_of_the_trees_not_of_the_threads() -> None:
    other = MODEL.replace(b"[num_threads: 1]", b"[num_threads: 8]")
    assert other != MODEL
    assert tree_digest(other) == tree_digest(MODEL)
    assert tree_digest(train({"objective": "binary", "learning_rate": 0.2})) != tree_digest(MODEL)


def test_every_truncation_is_found() -> None:
    end = MODEL.index(b"end of parameters") + len(b"end of parameters")
    for cut in [*range(0, end, 97), end - 1, end]:
        with pytest.raises(IntegrityError):
            validate_model_text(MODEL[:cut])


def replaced(pattern: str, by: str | Callable[[re.Match[str]], str]) -> bytes:
    text, count = re.subn(pattern, by, MODEL.decode(), count=1)
    assert count == 1
    return text.encode()


def longer(match: re.Match[str]) -> str:
    return match[0] + " 1"


@pytest.mark.parametrize(
    ("pattern", "by", "found"),
    [
        (r"version=v4", "version=v3", "version"),
        (r"max_feature_idx=2", "max_feature_idx=3", "features"),
        (r"num_class=1", "num_class=2", "num_class"),
        (r"feature_names=a ", "feature_names=kind ", "names"),
        (r"tree_sizes=\d+", "tree_sizes=99", "tree_sizes"),
        (r"num_leaves=\d+", "num_leaves=0", "num_leaves"),
        (r"num_leaves=\d+", "num_leaves=30", "values, not"),
        (r"split_feature=\d+", "split_feature=9", "feature 9 of 3"),
        (r"split_feature=\d+", "split_feature=-", "no integer"),
        (r"threshold=\S+", "threshold=nan", "no field"),
        (r"leaf_value=\S+", "leaf_value=inf", "not finite"),
        (r"leaf_value=\S+", "leaf_value=1..2", "no number"),
        (r"left_child=\S+", "left_child=77", "child"),
        (r"left_child=\S+", "left_child=0", "child 0"),
        (r"right_child=\S+", "right_child=-99", "leaf"),
        (r"decision_type=\d+", "decision_type=3", "decision_type"),
        (r"num_cat=\d+", "num_cat=9", "num_cat"),
        (r"is_linear=0", "is_linear=1", "linear"),
        (r"shrinkage=1", "shrinkage=", "shrinkage"),
        (r"leaf_count=[\d ]+", longer, "leaf_count"),
        (r"end of trees", "end of treez", "end"),
        (r"num_leaves=", "num_leavez=", "num_leaves"),
    ],
)
def test_broken_structure_is_named(pattern: str, by: str | Callable[[re.Match[str]], str], found: str) -> None:
    text = replaced(pattern, by)
    # Tree sizes are made to fit again, so that it is the damage that is found and not its length.
    if "tree_sizes" not in pattern:
        blocks = re.split(r"(?=^Tree=\d+$)", text.decode().partition("end of tree")[0], flags=re.MULTILINE)[1:]
        sizes = " ".join(str(len(block)) for block in blocks)
        text = re.sub(r"tree_sizes=[\d ]+", f"tree_sizes={sizes}", text.decode(), count=1).encode()
    with pytest.raises(IntegrityError, match=re.escape(found)):
        validate_model_text(text)


@settings(max_examples=150, derandomize=True, deadline=None)
@given(st.integers(0, MODEL.index(b"\nparameters") - 1), st.integers(0, 7))
def test_a_flipped_bit_is_found_or_leaves_a_wellformed_model(place: int, bit: int) -> None:
    damaged = bytearray(MODEL)
    damaged[place] ^= 1 << bit
    try:
        validate_model_text(bytes(damaged))
    except IntegrityError:
        return
    # A digit that became another digit is for the digest to find; LightGBM must then survive the text.
    assert tree_digest(bytes(damaged)) != tree_digest(MODEL)
    with pytest.raises(IntegrityError):
        validate_model_text(bytes(damaged), sidecar())
    with suppress(lgb.basic.LightGBMError):
        lgb.Booster(model_str=bytes(damaged).decode()).predict(np.zeros((1, 3)))


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"best_iteration": 4}, "iterations"),
        ({"objective": "regression"}, "objective"),
        ({"tree_digest": "0" * 64}, "digest"),
        ({"task": Task.MULTICLASS, "classes": ("x", "y"), "objective": "binary"}, "num_class"),
        ({"features": tuple(reversed(sidecar().features))}, "feature_names"),
        ({"features": sidecar().features[:2]}, "feature_names"),
        ({"features": (*sidecar().features[:2], sidecar().features[2].model_copy(update={"kind": "numeric"}))}, "kind"),
    ],
)
def test_another_models_sidecar_is_found(changes: dict[str, object], found: str) -> None:
    validate_model_text(MODEL, sidecar())
    with pytest.raises(IntegrityError, match=found):
        validate_model_text(MODEL, sidecar(**changes))


@pytest.mark.parametrize("junk", [b"", b"tree\n", b"\x80\x04", MODEL.replace(b"a", b"\xe9", 1), b"{}"])
def test_junk_is_refused(junk: bytes) -> None:
    with pytest.raises(IntegrityError):
        validate_model_text(junk)


def test_it_is_fast() -> None:
    text = train({"objective": "binary", "num_leaves": 31, "min_data_in_leaf": 1}, 100)
    validate_model_text(text)
    best = min(_seconds(text) for _ in range(5))
    assert best < 0.1


def _seconds(text: bytes) -> float:
    started = time.process_time()
    validate_model_text(text)
    return time.process_time() - started
