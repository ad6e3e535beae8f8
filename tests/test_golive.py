"""A model goes live when nothing is missing: what is configured and run is looked at, what is signed grows old."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from pydantic import SecretStr

import gauntlet.golive
from gauntlet.bootstrap import build
from gauntlet.core.errors import SpecError
from gauntlet.core.outcome import Outcome
from gauntlet.core.ports import Services
from gauntlet.core.records.account import Account
from gauntlet.core.records.ledger import DrillReport
from gauntlet.core.records.monitoring import Layer, LayerReport
from gauntlet.core.records.signoff import Topic
from gauntlet.golive import PHASES, Check, checklist, ready
from gauntlet.settings import Settings
from gauntlet.stages.sign_off import sign_off

MODEL = "credit_default"
SPECS = Path(__file__).parents[1] / "include" / "models"
Look = Callable[..., dict[str, Check]]


class HandClock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.time = datetime(2026, 3, 1, 3, 0, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def running(tmp_path: Path, clock: HandClock) -> Services:
    from dataclasses import replace

    return replace(build(Settings(home=tmp_path, models=SPECS)), clock=clock)


@pytest.fixture
def look(running: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Look:
    def checks(**others: object) -> dict[str, Check]:
        current = Settings.model_validate({"home": tmp_path, "models": SPECS, **others})
        monkeypatch.setattr(gauntlet.golive, "services", lambda: running)
        monkeypatch.setattr(gauntlet.golive, "settings", lambda: current)
        return {check.check: check for check in checklist(MODEL)}

    return checks


def test_a_fresh_installation_is_not_ready_and_says_what_to_do(look: Look) -> None:
    checks = look()
    assert {check.phase for check in checks.values()} == set(PHASES)
    assert len(PHASES) == 8
    assert not ready(tuple(checks.values()))
    for check in checks.values():
        assert check.sentence, check.check
        if not check.outcome.satisfied:
            assert check.remedy, f"{check.check}: says not what to do"
    for name in ("owner", "data contract", "champion", "the server answers", "drilled", "database", "go"):
        assert checks[name].outcome is Outcome.FAILED, name


def test_no_line_is_ready_on_nothing() -> None:
    assert not ready(())


def test_settings_are_looked_at_not_believed(look: Look) -> None:
    checks = look(
        environment="production",
        database_url=SecretStr("postgresql+psycopg://gauntlet@db/gauntlet"),
        server_workers=2,
        notify=SecretStr("{}"),
        heartbeat_url=SecretStr("http://127.0.0.1:1"),
    )
    for name in (
        "environment",
        "database",
        "a process to spare",
        "somebody is told",
        "dead man's switch",
    ):
        assert checks[name].outcome is Outcome.PASSED, name
    assert checks["the server answers"].outcome is Outcome.FAILED


def test_a_runbook_has_a_section_for_every_kind_of_alert(
    look: Look, running: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert look()["runbook"].outcome is Outcome.PASSED
    monkeypatch.setattr(gauntlet.golive, "_root", lambda: tmp_path)
    assert look()["runbook"].sentence == "docs/runbook.md is not there"
    text = (SPECS.parents[1] / "docs" / "runbook.md").read_text()
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "runbook.md").write_text(text.replace("## Alert data.skew\n", "## Something else\n"))
    found = look()["runbook"]
    assert (found.outcome, found.sentence) == (Outcome.FAILED, "docs/runbook.md has no section for data.skew")


@pytest.mark.parametrize(("status", "outcome"), [(200, Outcome.PASSED), (503, Outcome.FAILED)])
def test_health_checks_are_asked(look: Look, status: int, outcome: Outcome) -> None:
    asked: list[str] = []

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status if self.path != "/livez" else 200)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            found = look(server_url=f"http://127.0.0.1:{server.server_port}")["health checks"]
        finally:
            server.shutdown()
    assert found.outcome is outcome
    assert asked[:2] == ["/livez", "/readyz"]


def test_an_admin_token_is_there_and_nobody_elses(look: Look, tmp_path: Path) -> None:
    assert look()["admin token"].outcome is Outcome.FAILED
    assert look(server_token=SecretStr("t"))["admin token"].outcome is Outcome.PASSED
    file = tmp_path / "server" / "admin.token"
    file.parent.mkdir(exist_ok=True)
    file.write_text("t")
    file.chmod(0o644)
    assert look()["admin token"].outcome is Outcome.FAILED
    file.chmod(0o600)
    assert look()["admin token"].outcome is Outcome.PASSED


def test_layers_count_while_they_are_looked_at(look: Look, running: Services, clock: HandClock) -> None:
    for layer in Layer:
        report = LayerReport(
            model=MODEL,
            run="r",
            layer=layer,
            outcome=Outcome.PASSED,
            reason="fine",
            symptoms=(),
            since=None,
            until=clock.now(),
            at=clock.now(),
        )
        running.records.put(f"{MODEL}/r", report, layer.value)
    assert look()["layers"].outcome is Outcome.PASSED
    clock.time += timedelta(hours=4)
    assert look()["layers"].sentence.startswith("not looked at lately")


def test_a_drill_counts_when_it_went_well_and_lately(look: Look, running: Services, clock: HandClock) -> None:
    def drill(outcome: Outcome) -> None:
        report = DrillReport(
            model=MODEL,
            key=f"k{outcome}",
            outcome=outcome,
            reason="as it went",
            champion=None,
            target=None,
            seconds=0.2,
            golden=0.0,
            servers=1,
            routing_epoch=1,
            at=clock.now(),
        )
        running.records.put(f"{MODEL}/drill{outcome}", report)

    drill(Outcome.FAILED)
    assert look()["drilled"].outcome is Outcome.FAILED
    drill(Outcome.PASSED)
    assert look()["drilled"].outcome is Outcome.PASSED
    clock.time += timedelta(days=15)
    assert look()["drilled"].outcome is Outcome.FAILED


def test_it_takes_two_people_to_go_and_their_word_grows_old(look: Look, running: Services, clock: HandClock) -> None:
    for name in ("anna", "anna", "Anna "):
        sign_off(running, MODEL, Topic.GO_LIVE, by=name, reason="looked at everything")
    assert look()["go"].sentence.startswith("1 of 2")
    for name in ("ben", "carl"):
        eve = Account(name="anna")
        sign_off(running, MODEL, Topic.GO_LIVE, by=name, reason="typed by one and the same", account=eve)
    assert look()["go"].sentence.startswith("1 of 2 people, for this spec: ")
    assert "carl (claimed; account anna)" in look()["go"].sentence
    sign_off(running, MODEL, Topic.GO_LIVE, by="ben", reason="looked at everything too")
    assert look()["go"].outcome is Outcome.PASSED
    clock.time += timedelta(days=200)
    assert look()["go"].outcome is Outcome.FAILED


@pytest.mark.parametrize("topic", [Topic.BACKUP, Topic.RESTORE, Topic.ALERTS, Topic.RUNBOOK])
def test_what_no_machine_can_see_is_signed(look: Look, running: Services, clock: HandClock, topic: Topic) -> None:
    assert look()[f"signed: {topic}"].outcome is Outcome.FAILED
    sign_off(running, MODEL, topic, by="anna", reason="I have seen it")
    assert look()[f"signed: {topic}"].outcome is Outcome.PASSED
    clock.time += timedelta(days=365)
    assert look()[f"signed: {topic}"].sentence.startswith("too long ago")


@pytest.mark.parametrize(("by", "reason"), [("", "a good reason"), ("anna", ""), ("anna", "ok")])
def test_a_word_needs_a_name_and_a_reason(running: Services, by: str, reason: str) -> None:
    with pytest.raises(SpecError, match="a name and a reason"):
        sign_off(running, MODEL, Topic.BACKUP, by=by, reason=reason)


def test_a_word_is_in_the_audit_log(running: Services) -> None:
    sign_off(running, MODEL, Topic.RESTORE, by="anna", reason="restored on staging")
    assert any(entry.actor == "anna" for entry in running.audit.entries(MODEL))
