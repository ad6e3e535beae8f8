"""Triage in the incident order and a postmortem that is filled in: from the records of an incident that happened."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.faults.world import MODEL, Spec, World

from gauntlet.core.errors import IntegrityError, MissingRecord
from gauntlet.core.outcome import Outcome
from gauntlet.core.records.incident import Remedy
from gauntlet.core.records.monitoring import Alert, Layer, LayerReport, Severity
from gauntlet.stages.postmortem import postmortem
from gauntlet.stages.rollback import rollback
from gauntlet.stages.triage import triage

HOUR = timedelta(hours=1)
KEY = "model.performance.served"


@dataclass(frozen=True)
class Owned(Spec):
    """With what an incident is told from."""

    owner: Any = field(
        default_factory=lambda: SimpleNamespace(team="lending", email="lending@example.org", runbook="docs/runbook.md")
    )
    training: Any = field(default_factory=lambda: SimpleNamespace(threshold_band=(0.1, 0.3)))


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A champion for a day, then another, whose harm is seen an hour later."""
    made = World(tmp_path)
    made.specs.spec = Owned()
    made.champion("a")
    made.clock.moment += 24 * HOUR
    look(made, made.clock.moment, 100.0)
    made.champion("b")
    made.clock.moment += HOUR
    return made


def look(world: World, at: datetime, revenue: float) -> None:
    report = LayerReport(
        model=MODEL,
        run=f"look-{at:%d%H}",
        layer=Layer.BUSINESS,
        outcome=Outcome.PASSED,
        reason="as it was",
        symptoms=(),
        values={"revenue": revenue},
        since=None,
        until=at,
        at=at,
    )
    world.services.records.put(f"{MODEL}/{report.run}", report, Layer.BUSINESS.value)


def seen(world: World, key: str = KEY, *, told: bool = True, **changes: Any) -> Alert:
    now = world.clock.moment
    alert = Alert(
        model=MODEL,
        key=key,
        layer=Layer(key.split(".")[0]),
        severity=Severity.PAGE,
        sentence=f"{key} has fallen",
        since=now,
        seen_at=now,
        looks=1,
        sent_at=now + timedelta(minutes=2) if told else None,
    ).model_copy(update=changes)
    world.services.records.put(f"{MODEL}/alerts", alert, alert.key)
    return alert


def asked(world: World, since: datetime, count: int, version: str, *, failed: int = 0, yes: float = 0.1) -> None:
    """Requests a second apart; every customer asks twice."""
    world.journal.append(
        MODEL,
        [
            {
                "request_id": f"{since:%H%M}-{number}",
                "at": since + timedelta(seconds=number),
                "version_id": version,
                "entity": f"c{number // 2}",
                "score": 0.25,
                "decision": int(number < yes * count),
                "latency_us": 2000,
                "status": "error" if number < failed else "ok",
            }
            for number in range(count)
        ],
    )


def incident(world: World) -> None:
    """The whole story: seen, rolled back ten minutes later, resolved after an hour."""
    start = world.clock.moment
    asked(world, start - 40 * timedelta(minutes=1), 200, "id-b")
    first = seen(world)
    seen(world, "product.approvals", told=False, cause=KEY)
    look(world, start + timedelta(minutes=5), 60.0)
    asked(world, start + timedelta(minutes=5), 100, "id-b", failed=4, yes=0.5)
    world.clock.moment += timedelta(minutes=10)
    rollback(world.services, MODEL, reason="worse than before", actor="ann", request="r1")
    asked(world, world.clock.moment, 50, "id-a")
    world.clock.moment += 50 * timedelta(minutes=1)
    for key, alert in world.services.records.named(f"{MODEL}/alerts", Alert).items():
        done = alert.model_copy(update={"resolved_at": world.clock.moment})
        world.services.records.put(f"{MODEL}/alerts", done, key)
    assert first.open


def cells(page: str, first: str) -> list[str]:
    """The row of a table that begins so."""
    (row,) = [line for line in page.splitlines() if line.startswith(f"| {first} |")]
    return [cell.strip() for cell in row.strip("|").split("|")][1:]


# ---- triage ------------------------------------------------------------------------------------------


def test_triage_looks_in_the_incident_order_and_changes_nothing(world: World) -> None:
    seen(world)
    before = len(world.services.audit.entries())
    found = triage(world.services, MODEL)
    assert [step.question.split()[-1] for step in found.steps] == ["agree?", "knows?", "scores?"]
    service, drift, golden = found.steps
    assert (service.outcome, golden.outcome) == (Outcome.INCONCLUSIVE, Outcome.PASSED)
    assert re.match(r"2 processes agree on epoch \d+; the monitor has not looked yet", service.answer)
    assert (drift.outcome, drift.answer) == (Outcome.INCONCLUSIVE, "there is no drift check")
    assert len(world.services.audit.entries()) == before


def test_the_promotion_before_the_symptom_is_the_suspect_and_going_back_the_first_advice(world: World) -> None:
    alert = seen(world)
    found = triage(world.services, MODEL)
    assert found.since == alert.since
    suspects = [event for event in found.timeline if event.suspect]
    assert any("promot" in event.what for event in suspects)
    assert all(event.at <= alert.since + timedelta(minutes=5) for event in suspects)
    assert [event.at for event in found.timeline] == sorted(event.at for event in found.timeline)
    assert found.advice[0].remedy is Remedy.ROLLBACK
    assert found.advice[0].dag == f"{MODEL}__rollback"


def test_a_server_that_does_not_answer_is_said_at_every_step_that_asks_it(world: World) -> None:
    seen(world)
    world.server.down = True
    found = triage(world.services, MODEL)
    assert [step.outcome for step in found.steps] == [Outcome.ERROR, Outcome.INCONCLUSIVE, Outcome.ERROR]
    assert Remedy.SERVICE in [advice.remedy for advice in found.advice]


def test_other_answers_than_the_golden_ones_ask_for_a_rollback(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world.server, "predict", lambda *_, **__: [0.9, 0.9])
    found = triage(world.services, MODEL)
    assert found.steps[-1].outcome is Outcome.FAILED
    assert found.advice[0].remedy is Remedy.ROLLBACK
    assert "golden" in found.advice[0].reason


def test_golden_rows_that_cannot_be_read_accuse_nobody(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object) -> Path:
        raise IntegrityError("not in this blob store")

    monkeypatch.setattr(world.blobs, "fetch_folder", gone)
    found = triage(world.services, MODEL)
    assert found.steps[-1].outcome is Outcome.ERROR
    assert "nothing to compare with: not in this blob store" in found.steps[-1].answer
    assert Remedy.ROLLBACK not in [advice.remedy for advice in found.advice]


def test_a_changed_spec_and_a_changed_source_stand_in_the_timeline(world: World) -> None:
    world.specs.spec = replace(world.specs.spec, digest="spec-2")
    after = world.run("later").model_copy(update={"run": "after", "opened_at": world.clock.moment - HOUR})
    world.services.records.put(after.key, after)
    seen(world)
    told = [event.what for event in triage(world.services, MODEL).timeline if event.suspect]
    assert any("the spec changed from spec-1 to spec-2" in what for what in told)


# ---- postmortem --------------------------------------------------------------------------------------


def test_a_postmortem_tells_what_is_recorded(world: World) -> None:
    incident(world)
    page = postmortem(world.services, MODEL, KEY)
    assert cells(page, "Model") == [f"{MODEL}, owned by lending (lending@example.org)"]
    assert cells(page, "Served by")[0].startswith("id-b, champion since ")
    assert cells(page, "Lasted") == ["60 min"]
    assert cells(page, "Detection gap (change to first symptom)") == ["60 min"]
    assert cells(page, "Until people were told") == ["120 s"] or cells(page, "Until people were told") == ["2 min"]
    assert cells(page, "Until something was changed") == ["10 min"]
    assert cells(page, "Severity") == ["page"]
    assert "The newest change before it was: " in page
    assert re.search(r"First done about it: .*worse than before \(ann\)|Then done about it: .*worse than before", page)
    assert f"**{KEY}** (page): {KEY} has fallen; gone" in page
    assert f"taken as a consequence of {KEY}" in page


def test_its_impact_is_the_journals_beside_as_long_before(world: World) -> None:
    incident(world)
    page = postmortem(world.services, MODEL, KEY)
    assert cells(page, "requests") == ["150", "200"]
    assert cells(page, "failed") == ["4 (2.67 %)", "0 (0.00 %)"]
    assert cells(page, "different entities") == ["50", "100"]
    assert cells(page, "positive decisions") == ["51 (34.93 %)", "20 (10.00 %)"]
    assert cells(page, "p99 latency in ms") == ["2", "2"]
    assert cells(page, "answered by id-b") == ["100", "200"]
    assert cells(page, "answered by id-a") == ["50", "0"]
    assert cells(page, "business: revenue") == ["60 (farthest)", "100 (median of a week)"]
    assert "incomplete" not in page


def test_its_actions_are_proposed_from_the_record(world: World) -> None:
    incident(world)
    page = postmortem(world.services, MODEL, KEY)
    actions = page.split("## Actions")[1]
    assert "docs/runbook.md#alert-modelperformance" in actions
    assert "docs/runbook.md#alert-product" in actions
    assert "try it before it is live: " in actions
    assert actions.count("| lending |") >= 3
    for gate in ("absolute_performance", "beats_naive", "smoke"):
        assert f"- {gate}: passed" in page
    assert "- Done: " in page


def test_while_it_lasts_it_says_so_and_what_nobody_knows(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.specs.spec = Owned()
    seen(world, "data.volume", told=False)
    world.journal.incomplete = True
    world.clock.moment += HOUR
    page = postmortem(world.services, MODEL, "data.volume")
    assert cells(page, "Resolved") == ["not yet"]
    assert cells(page, "Until people were told") == ["nobody was told"]
    assert cells(page, "Until something was changed") == ["nothing was changed while it lasted"]
    assert "No change is recorded shortly before it." in page
    assert "counts are at least these" in page
    assert cells(page, "requests") == ["0", "0"]
    assert "find what changed, and have it recorded" in page


def test_an_alert_that_never_was_has_no_postmortem(world: World) -> None:
    with pytest.raises(MissingRecord, match="no alert was ever raised"):
        postmortem(world.services, MODEL, KEY)
    seen(world)
    with pytest.raises(MissingRecord, match=KEY):
        postmortem(world.services, MODEL, "model.performanc")


def test_a_timeline_cannot_break_the_table(world: World) -> None:
    rollback(world.services, MODEL, reason="a | pipe\nand a line", actor="ann", request="r2")
    seen(world)
    page = postmortem(world.services, MODEL, KEY)
    rows = page.split("## Timeline")[1].split("## What made")[0].strip().splitlines()[1:]
    assert all(row.startswith("| ") and row.count("|") == 5 for row in rows if not row.startswith("|---"))
