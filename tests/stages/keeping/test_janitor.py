"""What killed tasks leave is finished or removed, and never touched while it may be at work."""

from __future__ import annotations

import os
from datetime import timedelta

import pytest
from tests.faults.points import Killed
from tests.faults.steps import settled
from tests.faults.world import MODEL

from gauntlet.core.outcome import Outcome
from gauntlet.core.ports import Unfinished
from gauntlet.core.records.retention import JanitorReport
from gauntlet.stages.janitor import PATIENCE, tidy
from gauntlet.stages.promote import promote
from gauntlet.stages.register import register_challenger


def test_nothing_to_do_leaves_no_trace(world):
    world.champion("a")
    entries = len(world.services.audit.entries())
    report = tidy(world.services, MODEL)
    assert (report.outcome, report.reason) == (Outcome.PASSED, "nothing was left half done")
    assert len(world.services.audit.entries()) == entries


def killed_in_promotion(world):
    world.champion("a")
    source = world.trained("night-b", "b")
    register_challenger(world.services, source)
    run = world.ramped("canary-b", source)
    prepare, down = world.server.prepare, Killed("while the servers load")
    world.server.prepare = lambda *_: (_ for _ in ()).throw(down)
    with pytest.raises(Killed):
        promote(world.services, run)
    world.server.prepare = prepare
    assert world.services.ledger.intent(MODEL) is not None


def test_an_intent_that_waits_is_finished(world):
    killed_in_promotion(world)
    world.clock.moment += timedelta(minutes=11)
    report = tidy(world.services, MODEL)
    assert world.services.ledger.intent(MODEL) is None
    assert world.stable() == "id-b"
    assert "promotion canary-b" in report.done[0]
    assert settled(world) == []


def test_an_intent_at_work_is_left_alone(world):
    killed_in_promotion(world)
    tidy(world.services, MODEL)
    assert world.services.ledger.intent(MODEL) is not None


def test_an_intent_that_cannot_be_finished_is_named(world):
    killed_in_promotion(world)
    world.clock.moment += timedelta(minutes=11)
    world.server.down = True
    report = tidy(world.services, MODEL)
    assert report.outcome is Outcome.ERROR
    assert "the model server does not answer" in report.left[0]


def test_a_run_nobody_closed_is_closed(world):
    world.registry.open_run(MODEL, f"{MODEL}/night-x", {})
    report = tidy(world.services, MODEL)
    assert world.registry.document.read()["runs"] == {f"{MODEL}/night-x": "FAILED"}
    assert "closed as failed: its task was cut short" in report.done[0]
    assert world.services.records.get(f"{MODEL}/janitor", JanitorReport) == report


def test_a_run_whose_training_is_recorded_has_not_failed(world):
    run = world.trained("night-a", "a")
    world.registry.open_run(MODEL, run.key, {})
    content = world.registry.document.read()
    content["runs"][run.key] = "RUNNING"
    world.registry.document.write(content)
    tidy(world.services, MODEL)
    assert world.registry.document.read()["runs"][run.key] == "FINISHED"


def test_a_registry_that_does_not_answer_is_named(world):
    world.registry.down = True
    report = tidy(world.services, MODEL)
    assert report.outcome is Outcome.ERROR
    assert report.left == ("the registry: the registry does not answer",)


@pytest.fixture
def half_made(world):
    """A registry that has half a version of a release, and remembers what was discarded."""
    gone = []

    def left(digest):
        item = Unfinished("version", "7", "", digest, world.clock.now())
        world.registry.unfinished = lambda model, before: [item] if item not in gone else []
        world.registry.discard = lambda model, what: gone.append(what)
        return item

    return left, gone


def test_half_a_version_that_no_decision_wants_is_removed(world, half_made):
    left, gone = half_made
    item = left(world.release("x").digest)
    report = tidy(world.services, MODEL)
    assert gone == [item]
    assert "removed: no decision lets it be a version" in report.done[0]


def test_half_a_version_that_passed_its_gates_is_finished(world, half_made):
    run = world.trained("night-a", "a")
    # Killed after the decision was stored and before the ledger had it: what a promotion decision alone leaves.
    decision = register_challenger(world.services, run).model_copy(update={"version": None})
    from gauntlet.core.records.model import RegisteredVersion

    records = world.services.records
    find = records.find
    records.find = lambda key, kind, name="": None if kind is RegisteredVersion else find(key, kind, name)
    records.put(run.key, decision)
    left, gone = half_made
    left(decision.candidate)
    report = tidy(world.services, MODEL)
    assert gone == []
    assert "finished as version 1" in report.done[0]


def test_old_scratch_is_removed_and_new_is_not(world):
    scratch = world.services.scratch
    old, new = scratch / "train-old", scratch / "train-new"
    for folder in (old, new):
        (folder / "release").mkdir(parents=True)
    then = (world.clock.now() - PATIENCE - timedelta(minutes=1)).timestamp()
    os.utime(old, (then, then))
    report = tidy(world.services, MODEL)
    assert not old.exists()
    assert new.exists()
    assert "train-old in the scratch folder" in report.done[0]
