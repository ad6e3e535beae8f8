"""Which version answered when, and the way from anything to everything."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace

import pytest
from tests.faults.world import MODEL, START, World

from gauntlet.adapters.memory.journal import MemoryJournal
from gauntlet.core.errors import MissingRecord
from gauntlet.core.records.model import ModelSidecar, RegisteredVersion
from gauntlet.core.records.rollout import PPM
from gauntlet.stages.history import history
from gauntlet.stages.register import register_challenger
from gauntlet.stages.rollback import rollback
from gauntlet.stages.trace import trace


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def reigns(world, at=None):
    return [(reign.role, reign.version, reign.weight_ppm) for reign in history(world.services, MODEL, at)]


def test_nobody_answered_before_the_first_champion(world):
    assert reigns(world) == []
    world.champion("a")
    assert reigns(world, START) == []


def test_reigns_follow_each_other_without_a_gap(world):
    for content in "abc":
        world.champion(content)
    rollback(world.services, MODEL, reason="complaints", actor="ann")
    told = history(world.services, MODEL)
    assert [reign.version for reign in told] == [1, 2, 3, 2]
    assert [reign.until for reign in told] == [*(reign.since for reign in told[1:]), None]
    assert told[-1].reason == "complaints"


def test_every_moment_has_its_answer(world):
    world.champion("a")
    alone = world.clock.now()
    source = world.trained("night-b", "b")
    register_challenger(world.services, source)
    world.ramped("canary-b", source, weight_ppm=PPM // 20)
    shared = world.clock.now()
    assert reigns(world, alone) == [("champion", 1, PPM)]
    assert reigns(world, shared) == [("champion", 1, PPM - PPM // 20), ("canary", 2, PPM // 20)]
    assert reigns(world, START + timedelta(days=2)) == [("champion", 1, PPM)]  # the lease has run out


def test_the_moment_of_a_change_belongs_to_the_new_one(world):
    world.champion("a")
    world.champion("b")
    change = world.services.ledger.routings(MODEL)[-1]
    assert reigns(world, change.at) == [("champion", 2, PPM)]
    assert reigns(world, change.at - timedelta(microseconds=1))[0][:2] == ("canary", 2)


def kinds(steps):
    return [step.kind for step in steps]


@pytest.mark.parametrize("subject", ["2", "v2", "id-b", "night-b", f"{MODEL}/night-b"])
def test_all_names_of_a_version_lead_to_its_run(world, subject):
    world.champion("a")
    world.champion("b")
    steps = trace(world.services, subject)
    assert steps[0].subject == f"{MODEL}/night-b"
    assert kinds(steps)[:6] == ["run", "model", "gate", "gate", "gate", "decision"]
    assert [step.subject for step in steps if step.kind == "state"] == [
        "registered",
        "validated",
        "approved",
        "canary at 100 %",
        "promoting",
        "champion",
    ]
    assert [step.subject for step in steps if step.kind == "promotion"] == ["v2"]


def test_a_canary_run_leads_to_its_source(world):
    world.champion("a")
    steps = trace(world.services, "canary-a")
    assert "from run night-a" in next(step.text for step in steps if step.kind == "rollout")


def test_a_prediction_leads_to_its_version(world):
    world.champion("a")
    journal = MemoryJournal()
    journal.append(
        MODEL, [{"request_id": "r-1", "at": world.clock.now(), "version_id": "id-a", "arm": "stable", "score": 0.25}]
    )
    services = replace(world.services, journal=journal)
    steps = trace(services, "r-1")
    assert kinds(steps)[:2] == ["prediction", "run"]
    assert "id-a answered 0.25" in steps[0].text
    with pytest.raises(MissingRecord, match="nothing is known of 'r-2'"):
        trace(services, "r-2")


def test_a_decision_of_the_exploration_reserve_is_told_as_one(world):
    journal = MemoryJournal()
    drawn = {"request_id": "r-1", "version_id": "v", "score": 0.25, "decision": 1, "explored": 1, "propensity": 0.005}
    journal.append(MODEL, [drawn | {"at": world.clock.now()}])
    (step,) = trace(replace(world.services, journal=journal), "r-1")
    assert step.text.endswith("the exploration reserve decided 1, with a probability of 0.005")


ANSWERED = {"request_id": "r-1", "arm": "stable", "version_id": "id-a", "score": 0.25, "decision": 0}


@pytest.mark.parametrize(("threshold", "said"), [(0.3, "decided 1 instead of 0"), (0.5, "decided 0 as well")])
def test_a_prediction_tells_what_the_other_version_would_have_decided(world, tmp_path, threshold, said):
    register_challenger(world.services, world.trained("night-b", "b"))
    (registered,) = world.services.records.newest(MODEL, RegisteredVersion, limit=5)
    folder = tmp_path / "release"
    folder.mkdir()
    sidecar = ModelSidecar(
        model=MODEL,
        version_id=registered.version_id,
        task="binary",
        objective="binary",
        features=(),
        classes=None,
        threshold=threshold,
        calibration=None,
        best_iteration=1,
        tree_digest="t",
        model_sha256="m",
        trained_through=None,
    )
    (folder / "sidecar.json").write_text(sidecar.model_dump_json())
    journal = MemoryJournal()
    other = {"other_version_id": registered.version_id, "other_score": 0.4}
    journal.append(MODEL, [ANSWERED | other | {"at": world.clock.now()}])
    blobs = SimpleNamespace(fetch_folder=lambda uri, digest: folder)
    steps = trace(replace(world.services, journal=journal, blobs=blobs), "r-1")
    (step,) = [one for one in steps if one.kind == "counterfactual"]
    assert step.text == f"{registered.version_id} would have answered 0.4 and {said}, at threshold {threshold:g}"


def test_a_score_is_told_without_a_threshold_and_nothing_without_a_score(world):
    journal = MemoryJournal()
    at = {"at": world.clock.now()}
    journal.append(MODEL, [ANSWERED | at | {"other_version_id": "gone", "other_score": 0.4}])
    journal.append(MODEL, [ANSWERED | at | {"request_id": "r-2", "other_version_id": "x", "other_score": float("nan")}])
    services = replace(world.services, journal=journal)
    told = [one.text for one in trace(services, "r-1") if one.kind == "counterfactual"]
    assert told == ["gone would have answered 0.4"]
    assert [one.kind for one in trace(services, "r-2")] == ["prediction"]
