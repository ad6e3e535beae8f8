"""Freeze and stop-the-line at promotion and rollback, through the real stages."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.faults.world import MODEL, World

from gauntlet.adapters.calendar_ics import IcsCalendars
from gauntlet.core.errors import DeploymentHeld, PromotionRefused, SpecError
from gauntlet.core.outcome import Outcome
from gauntlet.core.records.freeze import FreezeOverride, LineStop
from gauntlet.core.specs.freeze import FreezeSection
from gauntlet.stages.hold import holding, override_freeze
from gauntlet.stages.line import EVERY, set_line, stopped
from gauntlet.stages.promote import promote
from gauntlet.stages.register import register_challenger
from gauntlet.stages.rollback import rollback

FRIDAY = datetime(2026, 3, 6, 9, tzinfo=UTC)
WHY = "payments fail with the old one"


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    made.champion("a")
    return made


def ready(world: World):
    source = world.trained("night-b", "b")
    register_challenger(world.services, source)
    return world.ramped("canary-b", source)


def frozen(world: World, **freeze) -> None:
    world.specs.spec = replace(world.specs.spec, freeze=FreezeSection(**freeze))
    world.clock.moment = FRIDAY


def test_training_goes_on_and_promotion_waits(world: World) -> None:
    frozen(world)
    run = ready(world)  # trains, judges and registers on the frozen day
    for _ in range(2):
        with pytest.raises(DeploymentHeld, match="no deployments on Fridays; until 2026-03-07 00:00 UTC; it waits"):
            promote(world.services, run)
    assert world.stable() == "id-a"
    assert world.services.ledger.intent(MODEL) is None
    assert world.services.routing.read(MODEL).canary.version_id == "id-b"
    world.clock.moment = datetime(2026, 3, 7, tzinfo=UTC)
    assert promote(world.services, run).candidate.version_id == "id-b"


def test_what_would_be_refused_is_refused_and_does_not_wait(world: World) -> None:
    frozen(world)
    run = ready(world)
    world.specs.spec = replace(world.specs.spec, gates=replace(world.specs.spec.gates, names=("latency",)))
    with pytest.raises(PromotionRefused):
        promote(world.services, run)


def test_a_rollback_is_allowed_in_a_freeze_and_on_a_stopped_line(world: World) -> None:
    world.champion("b")
    frozen(world)
    set_line(world.services, EVERY, stopped=True, by="ann", reason="incident 7")
    assert rollback(world.services, MODEL, reason="complaints", actor="ann").restored.version_id == "id-a"
    assert world.stable() == "id-a"


def test_one_person_does_not_lift_a_freeze_and_two_do(world: World) -> None:
    frozen(world)
    run = ready(world)
    assert override_freeze(world.services, MODEL, by="ann", reason=WHY) == ()
    assert override_freeze(world.services, MODEL, by=" Ann", reason=WHY) == ()
    with pytest.raises(DeploymentHeld):
        promote(world.services, run)
    assert {word.by for word in override_freeze(world.services, MODEL, by="bob", reason=WHY)} == {"Ann", "bob"}
    promote(world.services, run)
    assert world.stable() == "id-b"
    audited = [entry for entry in world.services.audit.entries(MODEL) if entry.action.endswith("FreezeOverride")]
    assert [entry.actor for entry in audited] == ["ann", "Ann", "bob"]


@pytest.mark.parametrize(("by", "reason"), [("", WHY), ("ann", "because"), ("ann", "          ")])
def test_an_override_needs_a_name_and_a_reason(world: World, by: str, reason: str) -> None:
    with pytest.raises(SpecError, match="say who you are and why"):
        override_freeze(world.services, MODEL, by=by, reason=reason)
    assert world.services.records.newest(MODEL, FreezeOverride) == []


def test_a_stopped_line_holds_a_promotion_until_it_runs_again(world: World) -> None:
    run = ready(world)
    set_line(world.services, MODEL, stopped=True, by="ann", reason="incident 7")
    set_line(world.services, MODEL, stopped=True, by="bob", reason="me too")
    assert stopped(world.services, MODEL) == "ann: incident 7"
    with pytest.raises(DeploymentHeld, match="the line is stopped by ann: incident 7"):
        promote(world.services, run)
    set_line(world.services, MODEL, stopped=False, by="bob", reason="solved")
    promote(world.services, run)
    assert [(word.by, word.stopped) for word in reversed(world.services.records.newest(MODEL, LineStop, 9))] == [
        ("bob", False)
    ]
    entries = [entry for entry in world.services.audit.entries(MODEL) if entry.action.endswith("LineStop")]
    assert [entry.actor for entry in entries] == ["ann", "bob"]


def test_every_line_and_ones_own_are_two_flags(world: World) -> None:
    set_line(world.services, EVERY, stopped=True, by="ann", reason="all of it")
    set_line(world.services, MODEL, stopped=False, by="bob", reason="mine runs")
    assert stopped(world.services, MODEL) == "ann: all of it"
    with pytest.raises(SpecError, match="say who you are and why"):
        set_line(world.services, EVERY, stopped=False, by="ann", reason=" ")


# ---- the calendar file -----------------------------------------------------------------------------

ICS = """BEGIN:VCALENDAR
VERSION:2.0
PRODID:test
BEGIN:VEVENT
UID:1
SUMMARY:Quarter end
DTSTART;VALUE=DATE:20260330
DTEND;VALUE=DATE:20260402
END:VEVENT
BEGIN:VEVENT
UID:2
SUMMARY:Weekly reports
DTSTART;TZID=Europe/Berlin:20260303T080000
DTEND;TZID=Europe/Berlin:20260303T100000
RRULE:FREQ=WEEKLY
EXDATE;TZID=Europe/Berlin:20260317T080000
END:VEVENT
BEGIN:VEVENT
UID:3
SUMMARY:Called off
STATUS:CANCELLED
DTSTART:20260304T000000Z
DTEND:20260305T000000Z
END:VEVENT
END:VCALENDAR
"""


def with_calendar(world: World, folder: Path, text: str | None = ICS) -> None:
    if text is not None:
        (folder / "freeze.ics").write_text(text)
    world.services = replace(world.services, calendars=IcsCalendars(folder))
    world.specs.spec = replace(
        world.specs.spec,
        freeze=FreezeSection(weekdays=(), calendar="freeze.ics", timezone="Europe/Berlin"),
        schedule=SimpleNamespace(timezone="UTC"),
    )


@pytest.mark.parametrize(
    ("moment", "reason", "until"),
    [
        ("2026-03-03 07:00", "Weekly reports", "2026-03-03 09:00"),  # 08:00 in Berlin
        ("2026-03-03 09:00", None, None),
        ("2026-03-10 08:59", "Weekly reports", "2026-03-10 09:00"),
        ("2026-03-17 07:30", None, None),  # left out
        ("2026-03-04 12:00", None, None),  # cancelled
        ("2026-03-29 22:00", "Quarter end", "2026-04-01 22:00"),  # midnight in Berlin, in summer time
        ("2026-03-29 21:59", None, None),
        ("2026-04-07 06:30", "Weekly reports", "2026-04-07 08:00"),  # the same local hour, after the clocks changed
    ],
)
def test_events_hold_in_their_own_time_zone(world: World, tmp_path: Path, moment: str, reason, until) -> None:
    with_calendar(world, tmp_path)
    world.clock.moment = datetime.fromisoformat(moment).replace(tzinfo=UTC)
    hold = holding(world.services, MODEL)
    if reason is None:
        assert hold is None
    else:
        assert hold.reason.startswith(reason)
        assert hold.until == datetime.fromisoformat(until).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [None, "", "not a calendar", ICS[: len(ICS) // 2], ICS.replace("20260330", "2026033x"), "BEGIN:VEVENT\nEND:VEVENT"],
)
def test_a_calendar_that_cannot_be_read_holds(world: World, tmp_path: Path, text: str | None) -> None:
    """Not known to be open is not open."""
    with_calendar(world, tmp_path, text)
    hold = holding(world.services, MODEL)
    assert hold.reason.startswith("the freeze calendar cannot be read: calendar ")
    assert "freeze.ics" in hold.reason
    assert not hold.known


@pytest.mark.parametrize(
    ("arrange", "outcome", "said"),
    [
        (lambda world, folder: None, Outcome.PASSED, "open"),
        (
            lambda world, folder: frozen(world),
            Outcome.PASSED,
            "waiting, as they should: no deployments on Fridays; until",
        ),
        (lambda world, folder: with_calendar(world, folder, None), Outcome.FAILED, "cannot be read"),
        (
            lambda world, folder: set_line(world.services, MODEL, stopped=True, by="ann", reason="incident 7"),
            Outcome.INCONCLUSIVE,
            "the line is stopped by ann: incident 7",
        ),
    ],
)
def test_doctor_says_whether_deployments_are_open(world: World, tmp_path: Path, monkeypatch, arrange, outcome, said):
    from gauntlet import doctor

    arrange(world, tmp_path)
    monkeypatch.setattr(doctor, "services", lambda: world.services)
    found = doctor._deployments(MODEL)
    assert found[0] is outcome
    assert said in found[1]
