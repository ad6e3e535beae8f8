"""Training: the same trees every time, exact values, refusals with reasons, and death without company."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.adapters.lightgbm.conftest import train_here
from tests.adapters.lightgbm.small_world import SHARES, columns_of, job_in, spec_of

from gauntlet.adapters import training_child, training_rows
from gauntlet.adapters.snapshot_rows import SnapshotRows
from gauntlet.adapters.trainer_lightgbm import LightGBMTrainer
from gauntlet.core.encoding import compile_row, encode_table
from gauntlet.core.errors import DataRejected, InfrastructureError, IntegrityError, TrainingFailed
from gauntlet.core.model_text import tree_digest
from gauntlet.core.records.model import FeatureKind, GoldenSet, TrainingSummary

Columns = dict[str, Any]
ROWS = 2_000


def fit(folder: Path, columns: Columns | None = None, task: str = "binary", **training: Any) -> TrainingSummary:
    columns = columns or columns_of(ROWS, task)
    return train_here(spec_of(task, **training), job_in(folder, columns, task), folder / "release")


def part_rows(name: str, rows: int = ROWS) -> slice:
    bounds = [0, *(min(int(np.ceil(share * rows)), rows) for _, share in SHARES)]
    place = [part for part, _ in SHARES].index(name)
    return slice(bounds[place], bounds[place + 1])


# ---- the same trees --------------------------------------------------------------------------------


def test_the_same_bytes_at_one_and_two_threads_and_in_another_process(tmp_path: Path) -> None:
    training: dict[str, Any] = {
        "params": {"bagging_fraction": 0.7, "bagging_freq": 1, "feature_fraction": 0.6, "num_leaves": 15}
    }
    one, two = fit(tmp_path / "1", threads=1, **training), fit(tmp_path / "2", threads=2, **training)
    columns = columns_of(ROWS)
    other = LightGBMTrainer().train(
        spec_of(threads=2, **training), job_in(tmp_path / "3", columns), tmp_path / "3" / "release"
    )
    assert one.sidecar == two.sidecar == other.sidecar
    texts = {(tmp_path / name / "release" / "model.txt").read_bytes() for name in "123"}
    assert len(texts) == 1
    golden = {(tmp_path / name / "release" / "golden.json").read_bytes() for name in "123"}
    assert len(golden) == 1


def test_another_seed_gives_other_trees(tmp_path: Path) -> None:
    params = {"feature_fraction": 0.5}
    assert (
        fit(tmp_path / "1", params=params, seed=1).sidecar.tree_digest
        != fit(tmp_path / "2", params=params, seed=2).sidecar.tree_digest
    )


def test_trees_are_those_of_lightgbm_on_the_whole_float64_matrix(tmp_path: Path) -> None:
    summary = fit(tmp_path)
    table = pq.read_table(tmp_path / "snapshot.parquet")
    matrix, label = encode_table(summary.sidecar.features, table), table.column("y").to_numpy()
    params = {**summary.params, "num_threads": 1, "verbosity": -1}
    categorical = [i for i, f in enumerate(summary.sidecar.features) if f.kind is FeatureKind.CATEGORICAL]
    names = ["x", "net%20income", "steps", "new", "kind", "place"]
    rows, stop = part_rows("train"), part_rows("validation")
    data = lgb.Dataset(matrix[rows], label[rows], categorical_feature=categorical, feature_name=names, params=params)
    valid = data.create_valid(matrix[stop], label[stop])
    booster = lgb.train(params, data, 30, valid_sets=[valid], callbacks=[lgb.early_stopping(10, verbose=False)])
    text = booster.model_to_string(num_iteration=booster.best_iteration).encode()
    assert tree_digest(text) == summary.sidecar.tree_digest


def test_values_that_only_float64_tells_apart_are_told_apart_in_training_and_serving(tmp_path: Path) -> None:
    columns = columns_of(ROWS)
    rng = np.random.default_rng(5)
    high = rng.random(ROWS) < 0.5
    columns["steps"] = np.where(high, 16_777_217, 16_777_216)  # one float32
    columns["y"] = (high ^ (rng.random(ROWS) < 0.02)).astype(np.int8)
    summary = fit(tmp_path, columns)
    assert summary.metrics["validation.roc_auc"] > 0.95
    row = {"x": 0.0, "net income": 1.0, "new": False, "kind": "a", "place": "north"}
    encode = compile_row(summary.sidecar.features)
    booster = lgb.Booster(model_file=str(tmp_path / "release" / "model.txt"))
    low, top = booster.predict(np.array([encode({**row, "steps": 16_777_216 + step}) for step in (0, 1)]))
    assert top > low + 0.5


def test_no_row_of_calibration_or_holdout_shapes_the_trees(tmp_path: Path) -> None:
    columns = columns_of(ROWS)
    search = {"trials": 3, "timeout": "1m", "space": {"num_leaves": [3, 15], "learning_rate": [0.05, 0.5]}}
    before = fit(tmp_path / "1", columns, search=search)
    rest = slice(part_rows("calibration").start, ROWS)
    columns = {name: np.array(values) if name in ("y", "x") else values for name, values in columns.items()}
    columns["y"][rest] = 1 - columns["y"][rest]
    columns["x"] = pa.array(np.r_[np.nan_to_num(columns["x"].astype(float))[: rest.start], np.zeros(ROWS - rest.start)])
    columns["x"] = pa.concat_arrays([columns_of(ROWS)["x"][: rest.start], columns["x"][rest.start :]])
    after = fit(tmp_path / "2", columns, search=search)
    assert after.sidecar.tree_digest == before.sidecar.tree_digest
    assert after.trials == before.trials
    assert after.metrics["calibration.roc_auc"] < 0.5 < before.metrics["calibration.roc_auc"]


# ---- what is asked for is done ---------------------------------------------------------------------


def test_the_search_keeps_the_best_of_its_trials(tmp_path: Path) -> None:
    search = {"trials": 4, "timeout": "1m", "space": {"num_leaves": [3, 5, 15], "lambda_l2": [0.0, 10.0]}}
    summary = fit(tmp_path, search=search)
    assert len(summary.trials) == 4
    values = [trial.value for trial in summary.trials if trial.value is not None]
    best = min(summary.trials, key=lambda trial: trial.value if trial.value is not None else np.inf)
    assert {name: summary.params[name] for name in best.params} == best.params
    assert min(summary.curve) == pytest.approx(min(values))


@pytest.mark.parametrize("task", ["binary", "regression", "multiclass"])
def test_contributions_are_what_features_move_the_raw_score_by(tmp_path: Path, task: str) -> None:
    columns = columns_of(ROWS, task)
    spec = spec_of(task)
    asked = spec.model_copy(update={"drift": spec.drift.model_copy(update={"importance": "shap"})})
    summary = train_here(asked, job_in(tmp_path, columns, task), tmp_path / "release")
    shap = {one.feature: one.shap for one in summary.importances}
    booster = lgb.Booster(model_file=tmp_path / "release" / "model.txt")
    table = pq.read_table(tmp_path / "snapshot.parquet")
    rows = encode_table(summary.sidecar.features, table)[part_rows("train")]
    # Of what every feature adds, added up over features, is the raw score: so no mean of absolutes is less than it.
    raw = booster.predict(rows, raw_score=True).reshape(len(rows), -1)
    assert all(value is not None and value >= 0 for value in shap.values())
    assert sum(value or 0.0 for value in shap.values()) >= 0.99 * np.abs(raw - raw.mean(axis=0)).mean()
    # By the definition, for one feature: what is left of its effect on a score when the others are taken off.
    told = booster.predict(rows, pred_contrib=True).reshape(len(rows), -1, len(shap) + 1)
    assert told.sum(axis=2) == pytest.approx(raw, abs=1e-9)
    assert shap["x"] == pytest.approx(np.abs(told[:, :, 0]).mean(), rel=1e-12)
    assert (shap["x"] or 0.0) > 5 * (shap["place"] or 0.0)


def test_contributions_are_measured_only_where_the_spec_asks(tmp_path: Path) -> None:
    assert {one.shap for one in fit(tmp_path).importances} == {None}


def test_early_stopping_keeps_the_best_iteration_only(tmp_path: Path) -> None:
    summary = fit(tmp_path, params={"num_leaves": 31, "learning_rate": 0.5, "min_data_in_leaf": 5}, rounds=200)
    assert summary.sidecar.best_iteration == int(np.argmin(summary.curve)) + 1 < 200
    assert len(summary.curve) == summary.sidecar.best_iteration + 10
    booster = lgb.Booster(model_file=str(tmp_path / "release" / "model.txt"))
    assert booster.num_trees() == summary.sidecar.best_iteration


def test_monotone_constraints_hold(tmp_path: Path) -> None:
    columns = columns_of(ROWS)
    fit(tmp_path, columns, monotone={"steps": -1})
    booster = lgb.Booster(model_file=str(tmp_path / "release" / "model.txt"))
    matrix = np.zeros((9, 6))
    matrix[:, 2] = np.arange(9)
    assert (np.diff(booster.predict(matrix)) <= 0).all()


def test_balanced_classes_weigh_the_same(tmp_path: Path) -> None:
    columns = columns_of(ROWS)
    columns["y"] = ((columns["y"] == 1) & (np.arange(ROWS) % 4 == 0)).astype(np.int8)
    plain, balanced = fit(tmp_path / "1", columns), fit(tmp_path / "2", columns, class_weight="balanced")
    scores = []
    for name in "12":
        golden = GoldenSet.model_validate_json((tmp_path / name / "release" / "golden.json").read_bytes())
        scores.append(np.mean(golden.scores))
    assert scores[1] > 2 * scores[0]
    assert balanced.metrics["validation.log_loss"] > plain.metrics["validation.log_loss"]


def test_weights_count_as_repeated_rows(tmp_path: Path) -> None:
    columns = columns_of(ROWS)
    weights = np.random.default_rng(0).integers(1, 4, ROWS)
    repeat = {
        name: pa.array(values).take(pa.array(np.repeat(np.arange(ROWS), weights))) for name, values in columns.items()
    }
    spec = spec_of("regression", params={"min_data_in_leaf": 0, "num_leaves": 7, "min_sum_hessian_in_leaf": 50.0})
    source = spec.source.model_copy(update={"columns": spec.source.columns.model_copy(update={"weight": "w"})})
    weighted = train_here(
        spec.model_copy(update={"source": source}),
        job_in(tmp_path / "1", {**columns, "w": weights.astype(float)}),
        tmp_path / "1" / "release",
    )
    repeated = train_here(spec, job_in(tmp_path / "2", repeat), tmp_path / "2" / "release")
    # The parts' bounds move a little with repetition; what is learned does not.
    assert weighted.metrics["train.rmse"] == pytest.approx(repeated.metrics["train.rmse"], rel=0.05)


@pytest.mark.parametrize(("threshold", "basis"), [("f1", "f1 on calibration"), ("profit", "profit on calibration")])
def test_the_threshold_is_chosen_on_the_calibration_part(tmp_path: Path, threshold: str, basis: str) -> None:
    profit = {"gain": "gain", "loss": "cost"}
    summary = fit(tmp_path, calibration="isotonic", threshold=threshold, profit=profit)
    assert summary.threshold_basis == basis
    assert summary.sidecar.threshold is not None
    if threshold == "profit":
        # Lending earns 100 or costs 300: worth it below a default probability of one quarter.
        assert 0.1 < summary.sidecar.threshold < 0.45


# ---- refusals --------------------------------------------------------------------------------------


def with_value(name: str, value: Any, part: str = "train") -> Callable[[Columns], Columns]:
    def change(columns: Columns) -> Columns:
        values = np.array(columns[name], dtype=float)
        values[part_rows(part).start + 3] = value
        return {**columns, name: values}

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (with_value("y", np.nan), "train label.*NaN.*row 3"),
        (with_value("y", np.inf, "validation"), "validation label.*infinite"),
        (with_value("y", 2.0), "no class, the first 2"),
        (with_value("y", 0.5, "calibration"), "calibration label.*no class"),
        (lambda columns: {**columns, "y": np.ones(ROWS)}, "one class only"),
        (lambda columns: {**columns, "y": pa.array(["yes"] * ROWS)}, "must hold numbers"),
        (lambda columns: {**columns, "x": pa.nulls(ROWS, pa.float64())}, "'x' has no value"),
        (lambda columns: {**columns, "x": pa.array(["1"] * ROWS)}, "'x' has type string"),
        (lambda columns: {**columns, "new": np.full(ROWS, 7)}, "boolean feature 'new'"),
        (lambda columns: {**columns, "place": pa.array([f"p{i}" for i in range(ROWS)])}, "'place'.*min_category_rows"),
        (lambda columns: {n: v for n, v in columns.items() if n != "steps"}, "no column 'steps'"),
        (lambda columns: {**columns, **{n: np.zeros(ROWS) for n in ("x", "net income", "steps")}}, None),
    ],
)
def test_bad_input_is_refused_before_lightgbm_sees_it(
    tmp_path: Path, change: Callable[[Columns], Columns], said: str | None
) -> None:
    columns = change(columns_of(ROWS))
    if said is None:
        assert fit(tmp_path, columns).sidecar.best_iteration > 0
        return
    with pytest.raises((TrainingFailed, DataRejected), match=said):
        fit(tmp_path, columns)
    assert not (tmp_path / "release" / "model.txt").exists()


@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf])
def test_weights_that_are_none_are_refused(tmp_path: Path, value: float) -> None:
    columns = with_value("w", value)({**columns_of(ROWS), "w": np.ones(ROWS)})
    spec = spec_of()
    source = spec.source.model_copy(update={"columns": spec.source.columns.model_copy(update={"weight": "w"})})
    with pytest.raises(TrainingFailed, match="train weight column 'w'"):
        train_here(spec.model_copy(update={"source": source}), job_in(tmp_path, columns), tmp_path / "release")


def test_targets_an_objective_cannot_take_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingFailed, match="not for objective 'gamma'"):
        fit(tmp_path, task="regression", params={"objective": "gamma"})


def test_features_that_say_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingFailed, match="no split was found"):
        fit(tmp_path, params={"min_data_in_leaf": 1_900})


def test_a_split_of_another_snapshot_is_refused(tmp_path: Path) -> None:
    job = job_in(tmp_path, columns_of(ROWS))
    pq.write_table(pa.table({"part": ["train"] * 5}), job.split)
    with pytest.raises(IntegrityError, match="do not belong together"):
        train_here(spec_of(), job, tmp_path / "release")


def test_a_damaged_page_is_found_while_reading(tmp_path: Path) -> None:
    job = job_in(tmp_path, columns_of(ROWS))
    metadata = pq.read_metadata(job.snapshot)
    chunk = next(c for c in map(metadata.row_group(0).column, range(metadata.num_columns)) if c.path_in_schema == "x")
    content = bytearray(job.snapshot.read_bytes())
    content[chunk.data_page_offset + chunk.total_compressed_size // 2] ^= 8
    job.snapshot.write_bytes(bytes(content))
    with pytest.raises(IntegrityError, match=r"snapshot\.parquet: damaged"):
        train_here(spec_of(), job, tmp_path / "release")


# ---- death without company -------------------------------------------------------------------------


ABORTS = """
import lightgbm as lgb, numpy as np
rng = np.random.default_rng(0)
matrix = np.c_[rng.normal(size=2000), rng.integers(0, 3, 2000)]
label = ((matrix[:, 1] == 0) ^ (rng.random(2000) < 0.1)).astype(float)
# A monotone constraint on a categorical feature: LightGBM 4.7 ends the process.
params = {"objective": "binary", "verbosity": -1, "monotone_constraints": [0, 1]}
lgb.train(params, lgb.Dataset(matrix, label, categorical_feature=[1]), 20)
"""


def test_lightgbm_aborting_on_its_input_is_a_refusal_with_a_cause(tmp_path: Path) -> None:
    trainer = LightGBMTrainer((sys.executable, "-c", ABORTS))
    with pytest.raises(TrainingFailed, match=r"died of SIGABRT.*LightGBM aborts on input"):
        trainer.train(spec_of(), job_in(tmp_path, columns_of(200)), tmp_path / "release")
    assert not (tmp_path / "release" / "model.txt").exists()


@pytest.mark.parametrize(
    ("signal_name", "error"), [("SEGV", TrainingFailed), ("KILL", TrainingFailed), ("TERM", InfrastructureError)]
)
def test_a_signal_is_named(tmp_path: Path, signal_name: str, error: type[Exception]) -> None:
    trainer = LightGBMTrainer(("/bin/sh", "-c", f"kill -{signal_name} $$"))
    with pytest.raises(error, match=f"SIG{signal_name}"):
        trainer.train(spec_of(), job_in(tmp_path, columns_of(200)), tmp_path / "release")


def test_time_and_memory_are_limited(tmp_path: Path) -> None:
    job = job_in(tmp_path, columns_of(200))
    with pytest.raises(TrainingFailed, match=r"did not finish within 0\.3 s"):
        LightGBMTrainer().train(spec_of(timeout="300ms"), job, tmp_path / "release")
    with pytest.raises(TrainingFailed, match="more than the 20 MB"):
        LightGBMTrainer().train(spec_of(memory_mb=20), job, tmp_path / "release")


def test_a_refusal_in_the_child_arrives_as_what_it_was(tmp_path: Path) -> None:
    columns = {**columns_of(200), "y": np.zeros(200)}
    with pytest.raises(TrainingFailed, match=r"^small: train label.*one class only"):
        LightGBMTrainer().train(spec_of(), job_in(tmp_path, columns), tmp_path / "release")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("training-")] == []


# ---- reading ---------------------------------------------------------------------------------------


def test_rows_can_be_read_forward_again_and_across_batches(tmp_path: Path) -> None:
    summary = fit(tmp_path)
    features = summary.sidecar.features
    table = pq.read_table(tmp_path / "snapshot.parquet")
    whole = encode_table(features, table)
    mask = np.random.default_rng(0).random(ROWS) < 0.4
    rows = training_rows.EncodedRows(SnapshotRows(tmp_path / "snapshot.parquet", mask, ("kind", "place")), features)
    expected = whole[mask]
    assert len(rows) == len(expected)
    places: list[Any] = [0, 7, len(rows) - 1, slice(3, 700), slice(0, len(rows)), [1, 500], 2]
    for place in places:
        assert np.array_equal(rows[place], expected[place], equal_nan=True)


def test_the_job_file_says_all_that_is_asked(tmp_path: Path) -> None:
    from gauntlet.adapters.trainer_lightgbm import describe

    spec, job = spec_of(calibration="isotonic"), job_in(tmp_path, columns_of(200))
    (tmp_path / "job.json").write_text(json.dumps(describe(spec, job, tmp_path / "release")))
    read = training_child.Job.read(tmp_path / "job.json")
    assert read.spec == spec
    assert (read.stamp, read.trained_through, read.threads) == (job.stamp, job.trained_through, 1)
