"""A rehearsed rollback: the real way back, measured, and nobody meets another version."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.faults.world import MODEL, World

from gauntlet.core.errors import DrillFailed, InfrastructureError
from gauntlet.core.outcome import Outcome
from gauntlet.core.records.ledger import DrillReport
from gauntlet.core.specs.recovery import RecoverySection
from gauntlet.stages.drill import drill
from gauntlet.stages.history import history
from gauntlet.stages.line import EVERY, set_line
from gauntlet.stages.rollback import rollback
from gauntlet.views.recoveries import recoveries
from gauntlet.views.trends import trend

GOLDEN = {"rows": [{"income": 1.0}, {"income": 2.0}], "scores": [0.1, 0.2], "tolerance": 1e-9}


class Drilled(World):
    """A world whose releases have golden rows, and whose server answers them as it is told."""

    answers = [0.1, 0.2]

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.specs.spec = replace(self.specs.spec, recovery=RecoverySection())
        self.server.predict = lambda model, rows, version_id: self.answers[: len(rows)]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Drilled:
    from gauntlet.core.records.model import GoldenSet
    from gauntlet.stages import drill as module

    made = Drilled(tmp_path)
    golden = GoldenSet.model_validate_json(json.dumps(GOLDEN))
    monkeypatch.setattr(module, "read_golden", lambda services, version: golden)
    return made


def two(world: World) -> None:
    world.champion("a")
    world.champion("b")


def test_a_drill_goes_the_whole_way_and_changes_the_epoch_alone(world: Drilled) -> None:
    two(world)
    before = world.services.routing.read(MODEL)
    champion, reigns = world.services.ledger.champion(MODEL), history(world.services, MODEL)
    report = drill(world.services, MODEL, request="scheduled__1")
    after = world.services.routing.read(MODEL)
    assert report.outcome is Outcome.PASSED
    assert (report.champion.version_id, report.target.version_id, report.servers) == ("id-b", "id-a", 2)
    assert 0 < report.seconds < 5
    assert after == before.model_copy(update={"epoch": before.epoch + 1})
    assert {one.epoch for one in world.server.reports(MODEL)} == {after.epoch}
    assert world.services.ledger.champion(MODEL) == champion
    assert history(world.services, MODEL) == reigns
    assert world.services.ledger.intent(MODEL) is None


def test_the_same_request_is_one_drill(world: Drilled) -> None:
    two(world)
    assert drill(world.services, MODEL, request="1") == drill(world.services, MODEL, request="1")
    assert len(world.services.records.newest(MODEL, DrillReport, 9)) == 1


def test_a_first_champion_has_nothing_to_rehearse(world: Drilled) -> None:
    assert drill(world.services, MODEL, request="0").outcome is Outcome.INCONCLUSIVE
    world.champion("a")
    report = drill(world.services, MODEL, request="1")
    assert report.outcome is Outcome.INCONCLUSIVE
    assert report.seconds is None


@pytest.mark.parametrize(("answers", "how"), [([0.1, 0.2001], "0.0001 >"), ([0.1], "inf >")])
def test_a_version_that_answers_otherwise_than_it_was_trained_fails_the_drill(world, answers, how) -> None:
    two(world)
    world.answers = answers
    with pytest.raises(DrillFailed, match="golden answers differ by"):
        drill(world.services, MODEL, request="1")
    stored = world.services.records.get(f"{MODEL}/1", DrillReport)
    assert stored.outcome is Outcome.FAILED
    assert how in stored.reason
    with pytest.raises(DrillFailed):
        drill(world.services, MODEL, request="1")


def test_a_damaged_way_back_fails_the_drill_and_traffic_stays(world: Drilled) -> None:
    two(world)
    previous = world.services.routing.read(MODEL).previous
    world.services = replace(world.services, blobs=Damaged(world.blobs, previous.release_uri))
    with pytest.raises(DrillFailed, match=r"nothing to return to: v1 \(id-a\): a byte is wrong"):
        drill(world.services, MODEL, request="1")
    assert world.stable() == "id-b"


class Damaged:
    def __init__(self, blobs, uri: str) -> None:
        self.blobs, self.uri = blobs, uri

    def fetch_folder(self, uri: str, digest: str):
        from gauntlet.core.errors import IntegrityError

        if uri == self.uri:
            raise IntegrityError("a byte is wrong")
        return self.blobs.fetch_folder(uri, digest)


def test_too_slow_is_failed(world: Drilled) -> None:
    two(world)
    world.specs.spec = replace(world.specs.spec, recovery=RecoverySection(within="0.01ms"))
    with pytest.raises(DrillFailed, match=r" s > 1e-05 s"):
        drill(world.services, MODEL, request="1")


def test_a_server_that_is_down_is_measured_when_it_is_back(world: Drilled) -> None:
    two(world)
    world.server.down = True
    with pytest.raises(InfrastructureError):
        drill(world.services, MODEL, request="1")
    world.server.down = False
    assert drill(world.services, MODEL, request="1").outcome is Outcome.PASSED


def test_drills_and_rollbacks_are_told_together(world: Drilled) -> None:
    two(world)
    world.clock.moment = datetime(2026, 3, 6, 9, tzinfo=UTC)
    set_line(world.services, EVERY, stopped=True, by="ann", reason="a drill is no deployment")
    drill(world.services, MODEL, request="1")
    rollback(world.services, MODEL, reason="complaints", actor="ann")
    told = recoveries(world.services, MODEL)
    assert [(one.kind, one.servers, one.outcome) for one in told] == [
        ("rollback", 2, Outcome.PASSED),
        ("drill", 2, Outcome.PASSED),
    ]
    assert all(one.seconds > 0 for one in told)
    marks = [(mark.kind, mark.version) for mark in trend(world.services, MODEL).marks if mark.kind != "promotion"]
    assert marks == [("drill", 2), ("rollback", 2)]
