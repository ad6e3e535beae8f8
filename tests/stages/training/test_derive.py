"""A version without training: the champion's trees with a calibration or a threshold of its own."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from tests.adapters.lightgbm.small_world import columns_of
from tests.stages.training.conftest import Night

from gauntlet.core.errors import DataRejected, IntegrityError, SpecError, TrainingFailed
from gauntlet.core.outcome import Outcome
from gauntlet.core.records.data import DatasetRef
from gauntlet.core.records.model import Derivation, DerivationKind, ModelSidecar, RegisteredVersion, TrainedModel
from gauntlet.core.records.rollout import Quarantine
from gauntlet.stages.derive import derive, trained_by
from gauntlet.stages.evaluate import evaluate
from gauntlet.stages.order_derivation import order_derivation
from gauntlet.stages.releases import quarantine_of
from gauntlet.stages.reproduce import reproduce
from gauntlet.stages.trace import trace
from gauntlet.views.explanation import explain

ROWS = 3_000
KEPT = {"calibration": "sigmoid", "threshold": 0.5, "threshold_band": (0.3, 0.7)}


def shifted(rows: int = ROWS) -> dict:
    """The same people, of whom a third of the positives have become negative: the level is off, not the order."""
    columns = columns_of(rows)
    lucky = np.random.default_rng(3).random(rows) < 0.33
    columns["y"] = np.where(lucky, 0, columns["y"]).astype(np.int8)
    return columns


@pytest.fixture
def world(night) -> Night:
    made = night(**KEPT)
    run, trained = made.trained("n1", rows=ROWS)
    made.crown(trained)
    registered(made, run, trained, 1)
    return made


def registered(world, run, trained, version):
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


def files(world, trained):
    folder = world.services.blobs.fetch_folder(trained.release.uri, trained.release.digest)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def sidecar(world, trained):
    return ModelSidecar.model_validate_json(files(world, trained)["sidecar.json"])


def champion(world):
    return world.services.records.get("small/n1", TrainedModel)


def recalibrated(world, name="n2", columns=None):
    run = world.open(name, columns or shifted())
    order_derivation(world.services, run)
    return run, derive(world.services, run)


def moved(world, to=0.4, name="n2"):
    run = world.open(name, shifted())
    order_derivation(world.services, run, to)
    return run, derive(world.services, run)


# ---- a new calibration -----------------------------------------------------------------------------


def test_a_new_calibration_brings_the_level_back_and_leaves_the_trees(world) -> None:
    run, trained = recalibrated(world)
    before, after = files(world, champion(world)), files(world, trained)
    assert after["model.txt"] == before["model.txt"]
    assert trained.release.tree_digest == champion(world).release.tree_digest
    assert trained.release.version_id != champion(world).release.version_id
    evaluate(world.services, run)
    scorer = world.services.scorers.load(world.services.blobs.fetch_folder(trained.release.uri, trained.release.digest))
    old = world.services.scorers.load(
        world.services.blobs.fetch_folder(champion(world).release.uri, champion(world).release.digest)
    )
    table = read(world, run)
    label = np.asarray(shifted()["y"])[-450:]
    assert abs(scorer.score_table(table).mean() - label.mean()) < 0.04
    assert abs(old.score_table(table).mean() - label.mean()) > 0.08
    assert np.array_equal(scorer.score_table(table, raw=True), old.score_table(table, raw=True))


def read(world, run):
    from gauntlet.stages.snapshot import read_snapshot

    return read_snapshot(world.services, world.services.records.get(run.key, DatasetRef)).slice(ROWS - 450)


def test_the_profile_of_features_stays_and_that_of_scores_is_on_the_new_scale(world) -> None:
    _, trained = recalibrated(world)
    before, after = (json.loads(files(world, one)["profile.json"]) for one in (champion(world), trained))
    assert before["columns"] == after["columns"]
    assert before["scores"] != after["scores"]


def test_rows_that_the_trees_were_grown_on_do_not_calibrate_them(world) -> None:
    columns = shifted()
    # 200 rows of the validation part, on which boosting was stopped, are in the calibration part now.
    columns["row_key"] = np.roll(columns["row_key"], 200)
    run, trained = recalibrated(world, columns=columns)
    fact = world.services.records.get(run.key, Derivation)
    assert (fact.rows, fact.excluded) == (100, 200)
    assert trained.metrics.keys() == champion(world).metrics.keys()


def test_too_few_unseen_rows_are_refused_and_the_registry_run_says_so(world) -> None:
    columns = shifted()
    columns["row_key"] = np.roll(columns["row_key"], ROWS // 2)
    run = world.open("n2", columns)
    order_derivation(world.services, run)
    with pytest.raises(TrainingFailed, match="calibration needs 50 rows"):
        derive(world.services, run)
    assert world.services.records.find(run.key, TrainedModel) is None


def test_without_the_old_snapshot_only_later_rows_calibrate(world) -> None:
    run = world.open("n2", shifted())
    order_derivation(world.services, run)
    old = world.services.records.get("small/n1", DatasetRef)

    class Gone:
        def __getattr__(self, name):
            return getattr(world.services.blobs, name)

        def fetch(self, uri, sha256):
            if sha256 == old.sha256:
                raise IntegrityError(f"{uri}: deleted")
            return world.services.blobs.fetch(uri, sha256)

    # All rows of the small world are of 1970, its training of 2026: nothing is later than that.
    with pytest.raises(TrainingFailed, match="its part has 0 rows"):
        derive(replace(world.services, blobs=Gone()), run)


# ---- another threshold -----------------------------------------------------------------------------


def test_another_threshold_changes_the_decision_and_nothing_else(world) -> None:
    run, trained = moved(world, 0.4)
    before, after = files(world, champion(world)), files(world, trained)
    assert {name for name in after if after[name] != before[name]} == {"sidecar.json", "manifest.json"}
    own = sidecar(world, trained)
    assert own.threshold == pytest.approx(0.4)
    assert own.model_copy(update={"threshold": 0.5, "version_id": "x"}) == sidecar(world, champion(world)).model_copy(
        update={"version_id": "x"}
    )
    assert evaluate(world.services, run).candidate_threshold == pytest.approx(0.4)


@pytest.mark.parametrize("to", [0.29999, 0.71, 1.5, -1.0, float("nan")])
def test_a_threshold_outside_the_band_is_refused(world, to: float) -> None:
    with pytest.raises(SpecError, match=r"outside training.threshold_band, 0.3 to 0.7"):
        order_derivation(world.services, world.open("n2", shifted()), to)


def test_a_threshold_without_a_band_or_as_it_is_is_refused(world) -> None:
    run = world.open("n2", shifted())
    with pytest.raises(DataRejected, match=r"has the threshold 0.5 already"):
        order_derivation(world.services, run, 0.5)
    section = world.specs.spec.training.model_copy(update={"threshold_band": None})
    world.specs.spec = world.specs.spec.model_copy(update={"training": section})
    with pytest.raises(SpecError, match="threshold_band is not set"):
        order_derivation(world.services, run, 0.4)


def test_no_calibration_no_champion_no_order(night) -> None:
    bare = night(calibration="none")
    with pytest.raises(DataRejected, match="no champion"):
        order_derivation(bare.services, bare.open("n0", columns_of(ROWS)))
    _, trained = bare.trained("n1", rows=ROWS)
    bare.crown(trained)
    with pytest.raises(SpecError, match=r"training.calibration is none"):
        order_derivation(bare.services, bare.open("n2", shifted()))


# ---- what is remembered ----------------------------------------------------------------------------


def test_a_second_try_gives_the_same_version_and_one_fact(world) -> None:
    run, trained = recalibrated(world)
    assert derive(world.services, run) == trained
    assert len(world.services.records.newest("small", Derivation, limit=10)) == 1


def test_the_story_says_that_it_is_derived_and_from_what(world) -> None:
    run, _ = moved(world, 0.4)
    told = [step.text for step in trace(world.services, run.run) if step.kind == "derived"]
    source = champion(world).release.version_id
    assert told == [f"derived from {source}, same trees: threshold set to 0.4: on schedule (airflow)"]


def test_derived_of_derived_knows_who_trained_the_trees(world) -> None:
    _, first = recalibrated(world)
    world.crown(first)
    run, second = moved(world, 0.6, "n3")
    key, own = trained_by(world.services, "small", second.release.digest)
    assert (key, own) == ("small/n1", second)
    fact = world.services.records.get(run.key, Derivation)
    assert (fact.kind, fact.trees, fact.source) == (DerivationKind.THRESHOLD, "small/n1", first.release.digest)
    assert sidecar(world, second).calibration == sidecar(world, first).calibration


@pytest.mark.parametrize("make", [recalibrated, moved])
def test_a_derived_version_is_reproduced_by_its_trees_and_its_own(world, make) -> None:
    run, trained = make(world)
    registered(world, run, trained, 2)
    report = reproduce(world.services, "small", "v2")
    assert report.outcome is Outcome.PASSED
    assert (report.run, report.retrained) == ("n1", trained.release.tree_digest)
    assert "derived from" in report.reason


def test_a_calibration_that_does_not_come_out_again_is_no_reproduction(world) -> None:
    run, trained = recalibrated(world)
    registered(world, run, trained, 2)
    other = world.open("elsewhere", columns_of(ROWS))
    world.services.records.put(run.key, world.services.records.get(other.key, DatasetRef))
    report = reproduce(world.services, "small", "v2")
    assert report.outcome is Outcome.FAILED
    assert "another calibration came out" in report.reason


def test_a_quarantined_derived_version_does_not_bar_the_way_back_to_its_source(world) -> None:
    run, trained = moved(world, 0.4)
    registered(world, run, trained, 2)
    source = champion(world).release
    withdraw(world, trained.release)
    assert quarantine_of(world.services, "small", source.digest, source.tree_digest) is None
    assert quarantine_of(world.services, "small", trained.release.digest, trained.release.tree_digest) is not None
    # The same trees with the same threshold are the same thing, whenever they were put together.
    _, again = moved(world, 0.4, "n3")
    assert quarantine_of(world.services, "small", again.release.digest, again.release.tree_digest) is not None


def withdraw(world, release):
    fact = Quarantine(
        model="small",
        release_digest=release.digest,
        version_id=release.version_id,
        version=2,
        rollout=None,
        reason="harm",
        at=world.services.clock.now(),
    )
    world.services.records.put("small/x", fact, release.digest)


def test_the_explanation_says_that_a_version_is_derived(world) -> None:
    run, _ = moved(world, 0.4)
    told = {line.topic: line.text for line in explain(world.services, run.run).sentences}
    assert told["derived"].startswith("derived from v_")
    assert "threshold set to 0.4" in told["derived"]
