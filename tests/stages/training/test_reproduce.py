"""A version is trained again from what is recorded of it, in a child process, and gives the same trees."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.adapters.lightgbm.small_world import columns_of

from gauntlet.adapters.trainer_lightgbm import LightGBMTrainer
from gauntlet.core.digest import sha256_file
from gauntlet.core.errors import IntegrityError, MissingRecord
from gauntlet.core.outcome import Outcome
from gauntlet.core.records.data import DatasetRef
from gauntlet.core.records.model import RegisteredVersion
from gauntlet.core.records.reproduction import ReproduceReport, SpecDocument, TrainingOrigin
from gauntlet.core.reproduce import text_differences
from gauntlet.stages.reproduce import reproduce

BAGGING = {"params": {"num_leaves": 7, "bagging_fraction": 0.7, "bagging_freq": 1, "min_data_in_leaf": 20}}


def registered(world, run, trained, version=1):
    world.services.records.put(
        run.key,
        RegisteredVersion(
            model=run.model,
            version=version,
            version_id=trained.release.version_id,
            release=trained.release,
            mlflow_run_id=trained.mlflow_run_id,
        ),
    )


@pytest.fixture
def made(night):
    world = night(**BAGGING)
    run, trained = world.trained("n1")
    registered(world, run, trained)
    return world, run, trained


def test_a_child_process_gives_the_same_trees(made):
    world, run, trained = made
    services = world.using(trainer=LightGBMTrainer())
    report = reproduce(services, run.model, "v1")
    assert (report.outcome, report.retrained) == (Outcome.PASSED, trained.release.tree_digest)
    assert services.records.get(f"{run.model}/reproduce", ReproduceReport, trained.release.version_id) == report


def test_another_number_of_threads_gives_the_same_trees(made):
    world, run, _ = made

    class OneThread:
        def train(self, spec, job, folder):
            one = spec.model_copy(update={"training": spec.training.model_copy(update={"threads": 1})})
            return world.services.trainer.train(one, job, folder)

    report = reproduce(world.using(trainer=OneThread()), run.model, "1")
    assert report.outcome is Outcome.PASSED


def test_the_spec_of_then_counts_not_todays(made):
    world, run, _ = made
    world.specs.spec = replace_training(world.specs.spec, rounds=3)
    assert reproduce(world.services, run.model, "1").outcome is Outcome.PASSED


def replace_training(spec, **changes):
    return spec.model_copy(update={"training": spec.training.model_copy(update=changes)})


def test_other_parameters_are_named_when_the_trees_differ(made):
    world, run, _ = made

    class Different:
        def train(self, spec, job, folder):
            params = {**spec.training.params, "num_leaves": 9}
            return world.services.trainer.train(replace_training(spec, params=params), job, folder)

    known = world.services.records.get(run.key, TrainingOrigin)
    world.services.records.put(run.key, TrainingOrigin(facts={**known.facts, "lightgbm": "3.0"}))
    report = reproduce(world.using(trainer=Different()), run.model, "1")
    assert report.outcome is Outcome.FAILED
    assert any(text.startswith("lightgbm was 3.0, is ") for text in report.differences)
    assert "parameter: '[num_leaves: 7]' was recorded, '[num_leaves: 9]' came out" in report.differences
    assert "the first tree that differs is number 0" in report.differences


def test_a_changed_snapshot_is_found_before_anything_is_trained(made):
    world, run, _ = made
    dataset = world.services.records.get(run.key, DatasetRef)
    path = world.services.blobs.fetch(dataset.uri, dataset.sha256)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(IntegrityError, match="the bytes have changed"):
        reproduce(world.services, run.model, "1")


def test_an_unknown_version_and_a_spec_that_was_never_kept(made):
    world, run, _ = made
    with pytest.raises(MissingRecord, match="has no version '8'"):
        reproduce(world.services, run.model, "8")
    world.specs.spec = replace_training(world.specs.spec, rounds=3)
    services = replace(world.services, records=Without(world.services.records, SpecDocument))
    with pytest.raises(MissingRecord, match="the spec has changed since"):
        reproduce(services, run.model, "1")


class Without:
    """Records of an installation that never kept one kind."""

    def __init__(self, records, kind):
        self._records, self._kind = records, kind

    def __getattr__(self, name):
        return getattr(self._records, name)

    def find(self, run_key, kind, name=""):
        return None if kind is self._kind else self._records.find(run_key, kind, name)


def test_equal_texts_do_not_differ_and_extra_trees_are_counted(made):
    world, _, trained = made
    folder = world.services.blobs.fetch_folder(trained.release.uri, trained.release.digest)
    text = (folder / "model.txt").read_bytes()
    assert sha256_file(folder / "model.txt")
    assert text_differences(text, text) == []
    shorter = text.replace(b"\nTree=1\n", b"\nGone=1\n", 1)
    assert any("trees were recorded" in sentence for sentence in text_differences(text, shorter))


def test_two_runs_on_the_same_rows_of_the_same_time_give_one_release(night):
    """What identifies a version is its content: a run deleted and started anew finds the version that is there."""
    world = night()
    columns = columns_of(2_000, "binary", 3)
    from gauntlet.stages.train import train

    first = train(world.services, world.open("n1", columns))
    second = train(world.services, world.open("n2", columns))
    assert first.release == second.release
