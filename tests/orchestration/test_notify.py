"""What a notice of Airflow says, and to whom it goes."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from tests.faults.world import MODEL, World

from gauntlet import pipeline
from gauntlet.core.errors import InfrastructureError
from gauntlet.stages.tell import tell

pytestmark = [pytest.mark.airflow, pytest.mark.filterwarnings("ignore")]


def notifier(**said: Any) -> Any:
    from gauntlet.orchestration.notify import TellOwner

    return TellOwner(MODEL, **said)


def test_a_failure_whose_task_is_not_known_links_to_the_run() -> None:
    context = {"dag": SimpleNamespace(dag_id="m__retrain"), "run_id": "manual__2026-03-01T02:00:00+00:00"}
    subject, body, about = notifier().message(context | {"reason": "timed_out"})
    assert subject == "m__retrain failed"
    assert "reason: timed_out" in body
    assert "/dags/m__retrain/runs/manual__2026-03-01T02%3A00%3A00%2B00%3A00" in body
    assert about == {"dag": "m__retrain", "run": "manual__2026-03-01T02:00:00+00:00", "kind": "failed"}


def test_nothing_that_a_person_wrote_is_taken_for_a_template(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(pipeline, "tell", lambda _model, _subject, body, **_: told.append(body))
    notifier()({"dag": SimpleNamespace(dag_id="m__retrain"), "run_id": "r", "reason": "{{ conf }}"})
    assert "reason: {{ conf }}" in told[0]


def test_a_notifier_that_is_down_is_no_silent_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def down(*_: Any, **__: Any) -> None:
        raise InfrastructureError("no route")

    monkeypatch.setattr(pipeline, "tell", down)
    # Airflow logs it and counts it as a callback exception; the run's state is settled by then.
    with pytest.raises(InfrastructureError):
        notifier()({"dag": SimpleNamespace(dag_id="m__retrain"), "run_id": "r"})
    with pytest.raises(InfrastructureError):
        asyncio.run(notifier().async_notify({"dag": SimpleNamespace(dag_id="m__retrain"), "run_id": "r"}))


class Taken:
    def __init__(self, *, down: bool = False) -> None:
        self.sent: list[tuple[str, str, dict[str, str]]] = []
        self.down = down

    def send(self, subject: str, body: str, *, severity: str, labels: dict[str, str]) -> None:
        if self.down:
            raise InfrastructureError("no route")
        self.sent.append((subject, severity, dict(labels)))


def test_the_owner_is_told_and_the_audit_log_says_how_many_took_it(tmp_path) -> None:
    from dataclasses import replace

    world = World(tmp_path)
    up, down = Taken(), Taken(down=True)
    owner = SimpleNamespace(team="lending", runbook="docs/runbook.md")
    spec = SimpleNamespace(model=MODEL, owner=owner, alerts=SimpleNamespace(dashboard=None))
    owned = SimpleNamespace(get=lambda _: spec)
    services = replace(world.services, notifiers=(down, up), specs=owned)
    about = {"dag": "d", "run": "r", "kind": "failed"}
    with pytest.raises(InfrastructureError, match="not everybody was told that it failed: no route"):
        tell(services, MODEL, "it failed", "body", severity="warning", about=about)
    assert up.sent == [("it failed", "warning", {"model": MODEL, "team": "lending", **about})]
    (entry,) = [one for one in services.audit.entries(MODEL) if one.action == "notice"]
    assert (entry.subject, entry.detail["told"], entry.detail["unsent"]) == ("r", 1, "no route")
