"""The exit codes of a look: 0 only where everything that was asked was looked at and is well."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from gauntlet import bootstrap, pipeline
from gauntlet.cli.app import app
from gauntlet.core.errors import LayerUnhealthy
from gauntlet.core.outcome import Outcome
from gauntlet.core.records.incident import Advice, Remedy, Step, Triage
from gauntlet.core.records.monitoring import Alert, Layer, LayerReport, Severity, Symptom
from gauntlet.core.specs.monitoring import MonitoringSection

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
WATCHED = {"clicks": {"sql": "SELECT 1 AS value"}}
BAD = (Outcome.FAILED, Outcome.ERROR)


def report(layer: Layer, outcome: Outcome) -> LayerReport:
    symptom = Symptom(key=f"{layer}.x", layer=layer, severity=Severity.PAGE, outcome=outcome, sentence="x is high")
    return LayerReport(
        model="m",
        run="r",
        layer=layer,
        outcome=outcome,
        reason=f"{layer} {outcome}",
        symptoms=(symptom,) if outcome in BAD else (),
        since=None,
        until=NOW,
        at=NOW,
    )


def monitored(monkeypatch: pytest.MonkeyPatch, section: MonitoringSection, *arguments: str, **found: Outcome) -> int:
    """The exit code of ``gauntlet monitor`` after these outcomes; a layer that is not named passed."""

    def look(run: object, layer: str) -> LayerReport:
        told = report(Layer(layer), found.get(layer, Outcome.PASSED))
        if told.outcome in BAD:
            raise LayerUnhealthy(told.reason)
        return told

    records = SimpleNamespace(get=lambda key, kind, name: report(Layer(name), found[name]))
    specs = SimpleNamespace(get=lambda _: SimpleNamespace(monitoring=section), names=lambda: ("m",))
    monkeypatch.setattr(bootstrap, "services", lambda: SimpleNamespace(specs=specs, records=records))
    monkeypatch.setattr(pipeline, "open_run", lambda *_, **__: SimpleNamespace(key="m/r"))
    monkeypatch.setattr(pipeline, "look", look)
    return CliRunner().invoke(app, ["monitor", "m", *arguments]).exit_code


@pytest.mark.parametrize("arguments", [(), ("--json",)])
@pytest.mark.parametrize("layer", list(Layer))
def test_a_layer_that_is_not_well_or_could_not_be_judged_is_no_0(monkeypatch, layer: Layer, arguments) -> None:
    section = MonitoringSection.model_validate({"product": WATCHED, "business": WATCHED})
    assert monitored(monkeypatch, section, *arguments) == 0
    for outcome in (Outcome.INCONCLUSIVE, Outcome.ERROR, Outcome.FAILED):
        assert monitored(monkeypatch, section, *arguments, **{layer.value: outcome}) == 1, outcome


def test_what_the_spec_does_not_ask_for_is_not_missed(monkeypatch) -> None:
    nothing = {"product": Outcome.INCONCLUSIVE, "business": Outcome.INCONCLUSIVE}
    assert monitored(monkeypatch, MonitoringSection(), **nothing) == 0
    assert monitored(monkeypatch, MonitoringSection(), **nothing, service=Outcome.INCONCLUSIVE) == 1
    business = MonitoringSection.model_validate({"business": WATCHED})
    assert monitored(monkeypatch, business, **nothing) == 1


def looked(monkeypatch: pytest.MonkeyPatch, *outcomes: Outcome, alert: bool = False) -> int:
    """The exit code of ``gauntlet triage`` after these answers."""
    alerts = [Alert(model="m", key="data.x", layer=Layer.DATA, severity=Severity.WARNING, sentence="x", since=NOW,
                    seen_at=NOW, looks=1)]  # fmt: skip
    found = Triage(
        model="m",
        at=NOW,
        since=NOW if alert else None,
        alerts=tuple(alerts if alert else ()),
        steps=tuple(Step(question="Well?", outcome=outcome, answer="so") for outcome in outcomes),
        timeline=(),
        advice=(Advice(remedy=Remedy.NOTHING, reason="no alert is open", command=None),),
    )
    specs = SimpleNamespace(names=lambda: ("m",))
    monkeypatch.setattr(bootstrap, "services", lambda: SimpleNamespace(specs=specs))
    monkeypatch.setattr("gauntlet.stages.triage.triage", lambda *_: found)
    return CliRunner().invoke(app, ["triage", "m"]).exit_code


def test_triage_ends_with_0_only_when_nothing_is_open_and_every_question_was_answered_well(monkeypatch) -> None:
    assert looked(monkeypatch, Outcome.PASSED, Outcome.PASSED) == 0
    assert looked(monkeypatch, Outcome.PASSED, Outcome.PASSED, alert=True) == 1
    for outcome in (Outcome.INCONCLUSIVE, Outcome.ERROR, Outcome.FAILED):
        assert looked(monkeypatch, Outcome.PASSED, outcome) == 1, outcome
