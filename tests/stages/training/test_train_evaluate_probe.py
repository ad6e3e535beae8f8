"""The three training stages on a stored snapshot, with a real training process, real scoring and real blobs."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.adapters.lightgbm.small_world import STAMP, columns_of

from gauntlet.adapters.memory.registry import MemoryRegistry
from gauntlet.adapters.trainer_lightgbm import LightGBMTrainer
from gauntlet.core.digest import sha256_file
from gauntlet.core.errors import DataRejected, InfrastructureError, IntegrityError, SpecError, TrainingFailed
from gauntlet.core.profile import Profile
from gauntlet.core.records.data import SplitManifest
from gauntlet.core.records.evaluation import EvaluationRef, ProbeReport
from gauntlet.core.records.model import GoldenSet, ModelSidecar, TrainedModel
from gauntlet.stages.evaluate import evaluate
from gauntlet.stages.probe import probe
from gauntlet.stages.train import train

if TYPE_CHECKING:
    from tests.stages.training.conftest import Night

MakeNight = Callable[..., "Night"]
TESTS = ("load", "infer", "output_valid", "batch", "latency")
SCENARIOS = ("missing_model_file", "wrong_feature_names", "missing_features", "nan_inputs", "predict_before_load")


def read(night: Night, evaluation: EvaluationRef) -> pa.Table:
    return pq.read_table(night.services.blobs.fetch(evaluation.uri, evaluation.sha256))


def test_a_night_trains_evaluates_and_probes(night: MakeNight) -> None:
    world = night(calibration="sigmoid", threshold="f1", in_child=True)
    run, trained = world.trained("n1")
    folder = world.services.blobs.fetch_folder(trained.release.uri, trained.release.digest)
    names = {path.name for path in folder.iterdir()}
    assert names == {"model.txt", "sidecar.json", "golden.json", "profile.json", "manifest.json"}
    assert sha256_file(folder / "manifest.json") == trained.release.digest
    sidecar = ModelSidecar.model_validate_json((folder / "sidecar.json").read_bytes())
    assert sidecar.version_id == f"v_20260301T020000Z_{sidecar.tree_digest[:8]}" == trained.release.version_id
    assert sidecar.trained_through == STAMP.replace(day=25, month=2)
    assert trained.profile_digest == sha256_file(folder / "profile.json")
    evaluation, report = evaluate(world.services, run), probe(world.services, run)
    assert (evaluation.candidate, evaluation.champion) == (trained.release.digest, None)
    assert evaluation.candidate_threshold == sidecar.threshold
    assert {check.name for check in report.checks} == {*TESTS, *SCENARIOS}
    assert all(check.passed for check in report.checks), report.checks
    assert report.candidate_latency is not None
    assert report.champion_latency is None
    assert report.model_bytes == (folder / "model.txt").stat().st_size


def test_the_profile_holds_features_and_scores_but_no_row(night: MakeNight) -> None:
    world = night(calibration="sigmoid")
    run, trained = world.trained("n1")
    folder = world.services.blobs.fetch_folder(trained.release.uri, trained.release.digest)
    profile = Profile.from_bytes((folder / "profile.json").read_bytes())
    assert set(profile.columns) == {feature.name for feature in _sidecar(folder).features}
    assert set(profile.importances) == set(profile.columns)
    scores = profile.scores
    assert scores is not None
    split = world.services.records.get(run.key, SplitManifest)
    parts = pq.read_table(world.services.blobs.fetch(split.uri, split.sha256)).column("part").to_pylist()
    assert scores.rows == parts.count("calibration")
    assert 0 < scores.minimum < scores.moments.mean < scores.maximum < 1
    registry = world.services.registry
    assert isinstance(registry, MemoryRegistry)
    training = registry.runs[trained.mlflow_run_id].artifacts["training"]
    assert "training.json" in training


def test_a_profile_weighs_features_as_the_spec_asks(night: MakeNight) -> None:
    profiles = {}
    for importance in ("gain", "shap"):
        world = night()
        drift = world.specs.spec.drift.model_copy(update={"importance": importance})
        world.specs.spec = world.specs.spec.model_copy(update={"drift": drift})
        _, trained = world.trained(importance)
        folder = world.services.blobs.fetch_folder(trained.release.uri, trained.release.digest)
        profiles[importance] = Profile.from_bytes((folder / "profile.json").read_bytes())
        assert profiles[importance].about["importance"] == importance
    gain, shap = (profile.weights() for profile in profiles.values())
    assert gain != shap
    assert max(gain, key=gain.__getitem__) == max(shap, key=shap.__getitem__) == "x"
    assert all(0 <= share <= 1 for share in shap.values())


def _sidecar(folder: Path) -> ModelSidecar:
    return ModelSidecar.model_validate_json((folder / "sidecar.json").read_bytes())


def test_what_the_registry_is_told(night: MakeNight) -> None:
    world = night()
    run, trained = world.trained("n1")
    registry = world.services.registry
    assert isinstance(registry, MemoryRegistry)
    logged = registry.runs[trained.mlflow_run_id]
    evaluate(world.services, run)
    assert logged.key == run.key
    assert logged.status == "FINISHED"
    assert logged.datasets == [(trained.dataset, "training")]
    assert {"feature_importance.png", "split.json", "training.json"} <= set(logged.artifacts["training"])
    assert {"profile.json", "model.txt"} <= set(logged.artifacts["release"])
    assert logged.params["num_leaves"] == "7"
    assert {"train.roc_auc", "validation.roc_auc", "holdout.roc_auc", "rows.holdout"} <= logged.metrics.keys()
    assert len(logged.tags["gauntlet.git_sha"]) == 40
    assert len(logged.tags["gauntlet.lock_sha256"]) == 64


def test_a_second_try_gives_the_same_records_and_no_second_effect(night: MakeNight) -> None:
    world = night()
    run, trained = world.trained("n1")
    evaluation, report = evaluate(world.services, run), probe(world.services, run)
    entries = len(world.services.audit.entries())

    class Never:
        def train(self, *_: object) -> None:
            raise AssertionError("trained again")

    again = world.using(trainer=Never())
    assert train(again, run) == trained
    assert evaluate(again, run) == evaluation
    assert probe(again, run) == report
    assert len(world.services.audit.entries()) == entries


def test_a_run_that_lost_its_record_arrives_at_the_same_release(night: MakeNight) -> None:
    world = night(threads=2)
    columns = columns_of(3_000)
    first = train(world.services, world.open("n1", columns))
    second_world = night(threads=2)
    second = train(second_world.services, second_world.open("n1", columns))
    assert second.release == first.release


def test_candidate_and_champion_are_scored_on_the_same_rows(night: MakeNight) -> None:
    world = night(threshold=0.4)
    _, old = world.trained("n1", seed=1)
    champion = world.crown(old)
    run, new = world.trained("n2", seed=2)
    evaluation = evaluate(world.services, run)
    table = read(world, evaluation)
    assert evaluation.champion == champion.release_digest
    assert evaluation.champion_threshold == pytest.approx(0.4)
    assert table.num_rows == evaluation.rows == 450
    label = table.column("label").to_numpy()
    assert evaluation.positives == label.sum()
    for name, release in (("candidate_score", new.release), ("champion_score", old.release)):
        scorer = world.services.scorers.load(world.services.blobs.fetch_folder(release.uri, release.digest))
        assert np.array_equal(table.column(name).to_numpy(), scorer.score_table(table))
    train_label = columns_of(3_000, seed=2)["y"][:1_650]
    assert np.allclose(table.column("naive_score").to_numpy(), train_label.mean())
    assert {"row_key", "event_time", "sex", "gain", "kind", "net income"} <= set(table.column_names)
    report = probe(world.services, run)
    assert report.champion == champion.release_digest
    assert report.champion_latency is not None


def test_the_champion_changing_makes_a_new_evaluation(night: MakeNight) -> None:
    world = night()
    run, trained = world.trained("n1")
    before = evaluate(world.services, run)
    world.crown(trained)
    after = evaluate(world.services, run)
    assert (before.champion, after.champion) == (None, trained.release.digest)
    assert world.services.records.get(run.key, EvaluationRef) == after


@pytest.mark.parametrize("task", ["regression", "multiclass"])
def test_other_tasks(night: MakeNight, task: str) -> None:
    world = night(task)
    classes = ("low", "mid", "top") if task == "multiclass" else None
    columns = columns_of(3_000, task)
    run = world.open("n1", columns, classes=classes)
    trained = train(world.services, run)
    table = read(world, evaluate(world.services, run))
    assert all(check.passed for check in probe(world.services, run).checks)
    if task == "regression":
        assert np.allclose(table.column("naive_score").to_numpy(), columns["y"][:1_650].mean())
        assert trained.metrics["validation.r2"] > 0.5
    else:
        naive = [table.column(f"naive_score_{code}")[0].as_py() for code in range(3)]
        assert np.allclose(naive, np.bincount(columns["y"][:1_650]) / 1_650)
        scores = np.stack([table.column(f"candidate_score_{code}").to_numpy() for code in range(3)], axis=1)
        assert np.allclose(scores.sum(axis=1), 1)


def test_a_refused_training_is_told_to_the_registry_and_leaves_no_record(night: MakeNight) -> None:
    world = night()
    columns = columns_of(2_000)
    columns["y"] = np.zeros(2_000, np.int8)
    run = world.open("n1", columns)
    with pytest.raises(TrainingFailed, match="one class only"):
        train(world.services, run)
    registry = world.services.registry
    assert isinstance(registry, MemoryRegistry)
    (logged,) = registry.runs.values()
    assert logged.status == "FAILED"
    assert "one class only" in logged.tags["gauntlet.failure"]
    assert world.services.records.find(run.key, TrainedModel) is None
    assert list(world.services.scratch.iterdir()) == []


def test_a_dead_training_process_is_a_refusal_that_names_the_signal(night: MakeNight) -> None:
    world = night()
    dying = LightGBMTrainer(("/bin/sh", "-c", "kill -ABRT $$"))
    with pytest.raises(TrainingFailed, match="SIGABRT"):
        train(world.using(trainer=dying), world.open("n1", columns_of(1_000)))


def test_a_registry_that_is_down_is_found_before_training(night: MakeNight) -> None:
    world = night()

    class Down(MemoryRegistry):
        def open_run(self, *_: object) -> str:
            raise InfrastructureError("MLflow at http://127.0.0.1:1 is down")

    class Never:
        def train(self, *_: object) -> None:
            raise AssertionError("trained without anybody to tell")

    with pytest.raises(InfrastructureError):
        train(world.using(registry=Down(), trainer=Never()), world.open("n1", columns_of(1_000)))


def test_a_changed_spec_stops_the_run(night: MakeNight) -> None:
    world = night()
    run = world.open("n1", columns_of(1_000))
    world.specs.spec = night(rounds=31).specs.spec
    with pytest.raises(SpecError, match="start a new run"):
        train(world.services, run)


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("stage", [evaluate, probe])
def test_a_damaged_release_is_never_scored(night: MakeNight, stage: Callable[..., object]) -> None:
    world = night()
    run, trained = world.trained("n1", rows=1_500)
    damage(Path(trained.release.uri.removeprefix("file://")) / "model.txt")
    with pytest.raises(IntegrityError, match=r"model\.txt"):
        stage(world.services, run)


def test_a_champion_whose_feature_is_gone_is_named(night: MakeNight) -> None:
    world = night()
    _, old = world.trained("n1", rows=1_500)
    world.crown(old)
    columns = columns_of(1_500)
    spec = world.specs.spec
    features = spec.source.features.model_copy(update={"numeric": ("x", "steps")})
    world.specs.spec = spec.model_copy(update={"source": spec.source.model_copy(update={"features": features})})
    run = world.open("n2", {name: values for name, values in columns.items() if name != "net income"})
    train(world.services, run)
    with pytest.raises(DataRejected, match=r"champion v_.*net income"):
        evaluate(world.services, run)


def test_golden_rows_reach_nulls_unseen_categories_and_extremes(night: MakeNight) -> None:
    world = night()
    _, trained = world.trained("n1")
    folder = world.services.blobs.fetch_folder(trained.release.uri, trained.release.digest)
    golden = GoldenSet.model_validate_json((folder / "golden.json").read_bytes())
    sidecar = json.loads((folder / "sidecar.json").read_bytes())
    low = next(feature["minimum"] for feature in sidecar["features"] if feature["name"] == "net income")
    assert any(row["x"] is None for row in golden.rows)
    assert any(row["kind"] not in {"a", "b", "c", None} for row in golden.rows)
    assert any(row["net income"] == low for row in golden.rows)
    kind = next(feature for feature in sidecar["features"] if feature["name"] == "kind")
    assert kind["categories"] == ["a", "b", "c"], "a category with two rows counts as unseen"


def test_the_report_is_stored(night: MakeNight) -> None:
    world = night()
    run, _ = world.trained("n1", rows=1_500)
    assert world.services.records.find(run.key, ProbeReport) is None
    report = probe(world.services, run)
    assert world.services.records.get(run.key, ProbeReport) == report
    assert isinstance(world.services.records.get(run.key, TrainedModel).trained_at, datetime)
